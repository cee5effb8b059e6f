// Pooling over windows of 2×2 and its gradients.
#pragma once
#include "vectors.hpp"

namespace {

void pool(const Pool &p, const Threads &threads) {
  const size_t height = p.height / 2, width = p.width / 2, line = p.width * kBlock;
  parallel(threads, p.blocks * height, [&](size_t i) {
    const size_t block = i / height, y = i % height;
    const float *x = p.x + (block * p.height + 2 * y) * line;
    float *out = p.pooled + (block * height + y) * width * kBlock;
    for (size_t at = 0; at < width * kBlock; at += kLanes) {
      const float *corner = x + at / kBlock * 2 * kBlock + at % kBlock;
      const Vector a = load(corner), b = load(corner + kBlock), c = load(corner + line),
                   d = load(corner + line + kBlock);
      store(out + at, p.pooling == Pooling::kMaximum ? maximum(maximum(a, b), maximum(c, d)) : 0.25f * (a + b + c + d));
    }
  });
}

// Equal maxima of a window share its gradient. Values in no window, in an odd last row or column, get 0.
void pool_gradient(const PoolGradient &p, const Threads &threads) {
  const size_t height = p.height / 2, width = p.width / 2, line = p.width * kBlock;
  const bool past_cache = goes_past_cache(p.y, p.blocks * p.height * line);
  parallel(threads, p.blocks * ceil_div(p.height, 2), [&](size_t i) {
    const size_t rows = ceil_div(p.height, 2), block = i / rows, row = i % rows;
    const size_t offset = (block * p.height + 2 * row) * line;
    float *y = p.y + offset;
    if (row == height) return fill_zero(y, line);
    const float *x = p.x ? p.x + offset : nullptr;
    const float *gradients = p.gradient + (block * height + row) * width * kBlock;
    for (size_t at = 0; at < width * kBlock; at += kLanes) {
      const size_t corner = at / kBlock * 2 * kBlock + at % kBlock;
      const size_t corners[4] = {corner, corner + kBlock, corner + line, corner + line + kBlock};
      const Vector gradient = load(gradients + at), zero = Vector{}, one = broadcast(1.f);
      Vector shares[4];
      if (p.pooling == Pooling::kMaximum) {
        UNROLL(4)
        for (size_t k = 0; k < 4; k++) shares[k] = load(x + corners[k]);
        const Vector largest = maximum(maximum(shares[0], shares[1]), maximum(shares[2], shares[3]));
        Vector count = zero;
        UNROLL(4)
        for (size_t k = 0; k < 4; k++) {
          shares[k] = shares[k] == largest ? one : zero;
          count += shares[k];
        }
        Vector share = gradient / count;
        if (p.relu) share = where_positive(largest, share);
        UNROLL(4)
        for (size_t k = 0; k < 4; k++) shares[k] *= share;
      } else {
        const Vector share = 0.25f * gradient;
        UNROLL(4)
        for (size_t k = 0; k < 4; k++) shares[k] = p.relu ? where_positive(load(x + corners[k]), share) : share;
      }
      UNROLL(4)
      for (size_t k = 0; k < 4; k++)
        store_result(y + corners[k], shares[k], past_cache);
    }
    if (p.width % 2) {
      fill_zero(y + line - kBlock, kBlock);
      fill_zero(y + 2 * line - kBlock, kBlock);
    }
  });
}

}  // namespace
