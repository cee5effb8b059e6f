// The change between plain and blocked tensors.
#pragma once
#include "vectors.hpp"

namespace {

// Positions that a thread converts at once: 128 KB of a block.
constexpr size_t kReordered = 2048;

// Copies between plain [channels, positions] and blocked [blocks, positions, 16] tensors.
template <bool ToBlocked> void reorder(const Reorder &r, const Threads &threads) {
  const size_t parts = ceil_div(r.positions, kReordered);
  parallel(threads, ceil_div(r.channels, kBlock) * parts, [&](size_t i) {
    const size_t block = i / parts, start = i % parts * kReordered, end = smaller(r.positions, start + kReordered);
    const float *from = r.from + block * kBlock * r.positions;
    float *to = r.to + block * kBlock * r.positions;
    const size_t channels = smaller(kBlock, r.channels - block * kBlock);
    size_t t = start;
    if (channels == kBlock)
      for (; t + kLanes <= end; t += kLanes)
        for (size_t lane = 0; lane < kBlock; lane += kLanes) {
          Vector rows[kLanes];
          UNROLL(16)
          for (size_t k = 0; k < kLanes; k++)
            rows[k] = load(ToBlocked ? from + (lane + k) * r.positions + t : from + (t + k) * kBlock + lane);
          transpose(rows);
          UNROLL(16)
          for (size_t k = 0; k < kLanes; k++)
            store(ToBlocked ? to + (t + k) * kBlock + lane : to + (lane + k) * r.positions + t, rows[k]);
        }
    for (; t < end; t++)
      for (size_t k = 0; k < (ToBlocked ? kBlock : channels); k++)
        if (ToBlocked)
          to[t * kBlock + k] = k < channels ? from[k * r.positions + t] : 0;
        else
          to[k * r.positions + t] = from[t * kBlock + k];
  });
}

}  // namespace
