// Matrix products of blocked features: the kernel in registers, 1×1 convolutions, Gram matrices.
#pragma once
#include "vectors.hpp"

namespace {

// One step of a product y = W x: `Panels` blocks of 16 rows of W, `Tiles` columns of x, some inner indices.
//
// x is [blocks, stride_x, 16], y is [blocks, stride_y, 16]. weights[i] is [inner indices, 16]: for each inner index
// the 16 values of W in its rows. With `Add`, the products are added to y.
template <size_t Panels, size_t Tiles, bool Add>
INLINE void product_step(const float *x, size_t stride_x, const float *const *weights, float *y, size_t stride_y,
                         size_t blocks) {
  constexpr size_t kRows = Panels * kRegisters;
  Vector sums[kRows][Tiles];
  UNROLL(8)
  for (size_t r = 0; r < kRows; r++) {
    const float *row = y + r / kRegisters * stride_y * kBlock + r % kRegisters * kLanes;
    UNROLL(16)
    for (size_t t = 0; t < Tiles; t++) sums[r][t] = Add ? load(row + t * kBlock) : Vector{};
  }
  const float *first = weights[0], *second = weights[Panels - 1];
  for (size_t block = 0; block < blocks; block++, x += stride_x * kBlock)
    UNROLL(4)
    for (size_t k = 0; k < kBlock; k++, first += kBlock, second += kBlock) {
      Vector w[kRows];
      UNROLL(8)
      for (size_t r = 0; r < kRows; r++)
        w[r] = load((r < kRegisters ? first : second) + r % kRegisters * kLanes);
      UNROLL(16)
      for (size_t t = 0; t < Tiles; t++) {
        Vector value = broadcast(x[t * kBlock + k]);
        UNROLL(8)
        for (size_t r = 0; r < kRows; r++) sums[r][t] += w[r] * value;
      }
    }
  UNROLL(8)
  for (size_t r = 0; r < kRows; r++) {
    float *row = y + r / kRegisters * stride_y * kBlock + r % kRegisters * kLanes;
    UNROLL(16)
    for (size_t t = 0; t < Tiles; t++) store(row + t * kBlock, sums[r][t]);
  }
}

// The last columns, fewer than kTiles.
template <size_t Panels, size_t Tiles, bool Add> struct Rest {
  static INLINE void run(size_t n, const float *x, size_t stride_x, const float *const *weights, float *y,
                         size_t stride_y, size_t blocks) {
    if (n == Tiles)
      product_step<Panels, Tiles, Add>(x, stride_x, weights, y, stride_y, blocks);
    else
      Rest<Panels, Tiles - 1, Add>::run(n, x, stride_x, weights, y, stride_y, blocks);
  }
};
template <size_t Panels, bool Add> struct Rest<Panels, 0, Add> {
  static INLINE void run(size_t, const float *, size_t, const float *const *, float *, size_t, size_t) {}
};

// y = W x, or y += W x, for n columns and `Panels` blocks of rows.
template <size_t Panels, bool Add>
__attribute__((noinline)) void product_rows(const float *x, size_t stride_x, const float *const *weights, float *y,
                                            size_t stride_y, size_t blocks, size_t n) {
  size_t t = 0;
  for (; t + kTiles <= n; t += kTiles)
    product_step<Panels, kTiles, Add>(x + t * kBlock, stride_x, weights, y + t * kBlock, stride_y, blocks);
  Rest<Panels, kTiles - 1, Add>::run(n - t, x + t * kBlock, stride_x, weights, y + t * kBlock, stride_y, blocks);
}

// Blocks of inner indices of one pass: their weights for kPanels blocks of rows, 32 KB with AVX-512, stay in the first
// cache while all columns pass.
constexpr size_t kInnerBlocks = 16;

// y = W x for n columns and `Panels` blocks of rows.
template <size_t Panels>
INLINE void product_panels(const float *x, size_t stride_x, const float *const *weights, float *y, size_t stride_y,
                           size_t blocks, size_t n) {
  product_rows<Panels, false>(x, stride_x, weights, y, stride_y, smaller(kInnerBlocks, blocks), n);
  for (size_t done = kInnerBlocks; done < blocks; done += kInnerBlocks) {
    const float *rest[Panels];
    for (size_t i = 0; i < Panels; i++) rest[i] = weights[i] + done * kBlock * kBlock;
    product_rows<Panels, true>(x + done * stride_x * kBlock, stride_x, rest, y, stride_y,
                               smaller(kInnerBlocks, blocks - done), n);
  }
}

// y = W x for n columns and the blocks of rows [first, last); panel(o) returns the weights of block o, [inner, 16].
//
// Rows are the outer loop: their weights stay in the cache while all columns pass.
template <class Panel>
INLINE void product(const float *x, size_t stride_x, const Panel &panel, float *y, size_t stride_y, size_t blocks,
                    size_t first, size_t last, size_t n) {
  size_t o = first;
  for (; o + kPanels <= last; o += kPanels) {
    const float *weights[kPanels];
    for (size_t i = 0; i < kPanels; i++) weights[i] = panel(o + i);
    product_panels<kPanels>(x, stride_x, weights, y + o * stride_y * kBlock, stride_y, blocks, n);
  }
  for (; o < last; o++) {
    const float *weights[1] = {panel(o)};
    product_panels<1>(x, stride_x, weights, y + o * stride_y * kBlock, stride_y, blocks, n);
  }
}

// Writes n positions of block `block` from `products` [n, 16], with an epilogue, from position `start` of `positions`.
INLINE void finish(const Epilogue &e, const float *products, float *y, size_t block, size_t positions, size_t start,
                   size_t n, bool past_cache) {
  const size_t offset = (block * positions + start) * kBlock;
  for (size_t r = 0; r < kRegisters; r++) {
    const size_t lane = r * kLanes;
    const Vector bias = e.bias ? load(e.bias + block * kBlock + lane) : Vector{};
    for (size_t t = 0; t < n; t++) {
      const size_t at = offset + t * kBlock + lane;
      Vector v = load(products + t * kBlock + lane) + bias;
      if (e.scale) v *= broadcast(e.scale[start + t]);
      if (e.add) v += load(e.add + at);
      if (e.mask) v = where_positive(load(e.mask + at), v);
      if (e.relu) v = rectified(v);
      if (past_cache)
        store_past_cache(y + at, v);
      else
        store(y + at, v);
    }
  }
}

// --- 1×1 convolutions

// Positions that a thread takes at once: their products are still in the cache when the epilogue reads them.
constexpr size_t kPointPositions = kTiles * 8;

INLINE size_t panels_size(const PointConvolution &c) { return c.inputs * c.outputs * kBlock * kBlock; }
INLINE size_t products_size(const PointConvolution &c) { return c.outputs * kPointPositions * kBlock; }

size_t point_convolution_scratch(const PointConvolution &c, size_t threads) {
  return panels_size(c) + threads * products_size(c);
}

// Copies the matrix into panels [blocks of outputs, inputs, 16], with zeros beyond its channels.
INLINE void pack_matrix(const PointConvolution &c, size_t o, float *panel) {
  const size_t inner = c.inputs * kBlock;
  fill_zero(panel, inner * kBlock);
  const size_t outputs = c.transposed ? c.columns : c.rows, inputs = c.transposed ? c.rows : c.columns;
  const size_t n = smaller(kBlock, outputs - o * kBlock);
  for (size_t i = 0; i < inputs; i++)
    for (size_t k = 0; k < n; k++)
      panel[i * kBlock + k] = c.transposed ? c.weights[i * c.columns + o * kBlock + k]
                                           : c.weights[(o * kBlock + k) * c.columns + i];
}

void point_convolution(const PointConvolution &c, float *scratch, const Threads &threads) {
  const size_t positions = c.height * c.width, inner = c.inputs * kBlock;
  float *all_products = scratch + panels_size(c);
  const bool past_cache = goes_past_cache(c.y, c.outputs * positions * kBlock);
  parallel(threads, c.outputs, [&](size_t o) { pack_matrix(c, o, scratch + o * inner * kBlock); });
  parallel_slots(threads, ceil_div(positions, kPointPositions), [&](size_t slot, size_t part) {
    const size_t start = part * kPointPositions, n = smaller(kPointPositions, positions - start);
    float *products = all_products + slot * products_size(c);
    const auto panel = [&](size_t o) { return scratch + o * inner * kBlock; };
    product(c.x + start * kBlock, positions, panel, products, n, c.inputs, 0, c.outputs, n);
    for (size_t o = 0; o < c.outputs; o++)
      finish(c.epilogue, products + o * n * kBlock, c.y, o, positions, start, n, past_cache);
  });
}

// --- Gram matrices

// Positions are summed in parts: each has its own sums, so that the result depends on no number of threads.
constexpr size_t kGramParts = 16, kLeastPart = 256;

INLINE size_t gram_parts(const Gram &g) {
  return smaller(kGramParts, larger(1, g.positions / kLeastPart));
}

// Positions whose features stay in the second cache while all pairs of blocks pass: 64 KB, in float32.
INLINE size_t gram_chunk(const Gram &g) { return g.blocks <= 4 ? 256 : g.blocks <= 8 ? 128 : 64; }

size_t gram_scratch(const Gram &g, size_t) {
  const size_t one = g.blocks * kBlock;
  return gram_parts(g) * (one * one + one + kBlock * gram_chunk(g));
}

// Adds to sums [16, 16] the products of `Rows` channels of z, from channel `row` on, with the 16 of x.
template <size_t Blocks, size_t Rows>
INLINE void gram_step(const float *x, size_t stride, const float *z, size_t n, float *sums, size_t row) {
  constexpr size_t kColumns = Blocks * kRegisters;
  Vector products[kColumns][Rows];
  UNROLL(8)
  for (size_t c = 0; c < kColumns; c++)
    UNROLL(16)
    for (size_t r = 0; r < Rows; r++) products[c][r] = Vector{};
  for (size_t t = 0; t < n; t++) {
    Vector columns[kColumns];
    UNROLL(8)
    for (size_t c = 0; c < kColumns; c++)
      columns[c] = load(x + (c / kRegisters * stride + t) * kBlock + c % kRegisters * kLanes);
    UNROLL(16)
    for (size_t r = 0; r < Rows; r++) {
      const Vector value = broadcast(z[t * kBlock + row + r]);
      UNROLL(8)
      for (size_t c = 0; c < kColumns; c++) products[c][r] += columns[c] * value;
    }
  }
  UNROLL(8)
  for (size_t c = 0; c < kColumns; c++)
    UNROLL(16)
    for (size_t r = 0; r < Rows; r++) {
      float *at = sums + c / kRegisters * kBlock * kBlock + (row + r) * kBlock + c % kRegisters * kLanes;
      store(at, load(at) + products[c][r]);
    }
}

// Rows of a step: as many as there are registers for.
constexpr size_t kGramRows = kLanes == 16 ? 8 : kTiles == 6 ? 4 : 2;

void gram(const Gram &g, float *scratch, const Threads &threads) {
  const size_t parts = gram_parts(g), chunk = gram_chunk(g), channels = g.blocks * kBlock;
  const size_t area = kBlock * kBlock, products = channels * channels;
  const size_t one = products + channels + kBlock * chunk;  // floats of a part: products, sums, weighted block
  parallel(threads, parts, [&](size_t part) {
    float *sums = scratch + part * one, *totals = sums + products, *weighted = totals + channels;
    fill_zero(sums, products + channels);
    const size_t end = g.positions * (part + 1) / parts;
    for (size_t start = g.positions * part / parts; start < end; start += chunk) {
      const size_t n = smaller(chunk, end - start);
      for (size_t j = 0; j < g.blocks; j++) {
        const float *x = g.x + start * kBlock, *z = x + j * g.positions * kBlock;
        if (g.weights) {
          for (size_t t = 0; t < n; t++)
            for (size_t r = 0; r < kBlock; r += kLanes)
              store(weighted + t * kBlock + r, load(z + t * kBlock + r) * broadcast(g.weights[start + t]));
          z = weighted;
        }
        if (g.sums)
          for (size_t r = 0; r < kBlock; r += kLanes) {
            Vector total = Vector{};
            for (size_t t = 0; t < n; t++) total += load(z + t * kBlock + r);
            store(totals + j * kBlock + r, load(totals + j * kBlock + r) + total);
          }
        // The matrix is symmetric: blocks of columns up to that of the rows.
        float *row_sums = sums + j * g.blocks * area;
        size_t i = 0;
        for (; i + kPanels <= j + 1; i += kPanels)
          for (size_t row = 0; row < kBlock; row += kGramRows)
            gram_step<kPanels, kGramRows>(x + i * g.positions * kBlock, g.positions, z, n, row_sums + i * area,
                                          row);
        for (; i <= j; i++)
          for (size_t row = 0; row < kBlock; row += kGramRows)
            gram_step<1, kGramRows>(x + i * g.positions * kBlock, g.positions, z, n, row_sums + i * area, row);
      }
    }
  });
  parallel(threads, g.blocks, [&](size_t j) {
    const size_t rows = smaller(kBlock, g.channels - j * kBlock);
    for (size_t i = 0; i <= j; i++) {
      const size_t columns = smaller(kBlock, g.channels - i * kBlock);
      for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
          float sum = 0;
          for (size_t part = 0; part < parts; part++)
            sum += scratch[part * one + (j * g.blocks + i) * area + r * kBlock + c];
          g.products[(j * kBlock + r) * g.channels + i * kBlock + c] = sum;
          g.products[(i * kBlock + c) * g.channels + j * kBlock + r] = sum;
        }
    }
    for (size_t r = 0; g.sums && r < rows; r++) {
      float sum = 0;
      for (size_t part = 0; part < parts; part++) sum += scratch[part * one + products + j * kBlock + r];
      g.sums[j * kBlock + r] = sum;
    }
  });
}

}  // namespace
