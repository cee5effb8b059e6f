// 3×3 convolutions by Winograd's F(4×4, 3×3), with everything that follows a convolution fused.
//
// The method, its interpolation points and the transform of the kernel are those of graphs/winograd.py. A tile is 4×4
// results, computed from 6×6 inputs. The 36 values of all transformed tiles are 36 matrix products.
#pragma once
#include "products.hpp"

namespace {

// Inputs of a tile along one axis, results of it, values of a transformed tile.
constexpr size_t kTile = 6, kResults = 4, kPoints = kTile * kTile;

// Bᵀ d, with the results `out_stride` apart. A flipped kernel has the same transform in another order (graphs/winograd.py), and
// the order and the signs are in the transforms of the data.
template <bool Flipped> INLINE void transform_input(const Vector *d, Vector *out, size_t out_stride) {
  const Vector d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3], d4 = d[4], d5 = d[5];
  Vector *o0 = out, *o1 = out + out_stride, *o2 = out + 2 * out_stride, *o3 = out + 3 * out_stride,
         *o4 = out + 4 * out_stride, *o5 = out + 5 * out_stride;
  if (Flipped) {
    *o0 = 2.f * d3 - d1 - d5 + 1.5f * (d4 - d2);
    *o1 = d4 - d1 - 2.5f * d2 - 0.5f * d3;
    *o2 = d4 + d1 + 0.5f * d2 - 2.5f * d3;
    *o3 = d4 - d2 + 0.5f * (d3 - d1);
    *o4 = d4 - d2 + 2.f * (d1 - d3);
    *o5 = d0 + d4 - 2.f * d2 + 1.5f * (d1 - d3);
  } else {
    *o0 = d0 + d4 - 2.f * d2 + 1.5f * (d3 - d1);
    *o1 = d4 - d1 + 0.5f * d2 + 2.5f * d3;
    *o2 = d4 + d1 - 2.5f * d2 + 0.5f * d3;
    *o3 = d4 - d2 + 2.f * (d3 - d1);
    *o4 = d4 - d2 + 0.5f * (d1 - d3);
    *o5 = d5 + d1 - 2.f * d3 + 1.5f * (d4 - d2);
  }
}

// Aᵀ m.
template <bool Flipped> INLINE void transform_output(const Vector *m, Vector *out, size_t out_stride) {
  const Vector m0 = m[0], m1 = m[1], m2 = m[2], m3 = m[3], m4 = m[4], m5 = m[5];
  const Vector sum = m1 + m2, difference = m1 - m2;
  Vector *y0 = out, *y1 = out + out_stride, *y2 = out + 2 * out_stride, *y3 = out + 3 * out_stride;
  if (Flipped) {
    *y0 = m5 - sum - 0.25f * m3 - 4.f * m4;
    *y1 = 2.f * m4 - 0.5f * m3 - difference;
    *y2 = -sum - m3 - m4;
    *y3 = 0.5f * m4 - 2.f * m3 - difference - m0;
  } else {
    *y0 = m0 + sum + m3 + m4;
    *y1 = difference + 0.5f * m3 - 2.f * m4;
    *y2 = sum + 0.25f * m3 + 4.f * m4;
    *y3 = difference + 0.125f * m3 - 8.f * m4 + m5;
  }
}

// How a convolution is divided: the tiles of a chunk, and whether all threads work on one chunk together.
//
// With few channels, a thread takes a small chunk from the input to the result, and its transformed tiles stay near it:
// those of 64 channels take 0.9 MB of the L2 cache. With many channels the weights do not fit there, and are read from
// farther away for each chunk. So chunks are larger, to use each weight more often, and all threads work on one chunk:
// first the inputs, then, for one group of outputs after the other, products and results.
struct Division {
  size_t rows, columns, tiles;  // tiles of the image
  size_t chunk;                 // tiles of a chunk
  bool together;
  size_t group;                  // blocks of outputs whose products there is memory for
  size_t slots;                  // chunks at work at once
  size_t input_size, output_size;  // floats of the transformed tiles of one chunk for one of the 36 products
};

// Channels from which the threads work together; tiles of a small and of a large chunk; blocks of outputs of a group.
// Measured on Zen 5 (1 MB of L2 cache). A small chunk is whole steps of every product kernel: 48 = 4·12 = 8·6 = 24·2.
constexpr size_t kTogether = 256, kSmallChunk = 48, kLargeChunk = 256, kGroup = 8;

// Floats added to each part of scratch memory: three cache lines. Parts whose sizes are multiples of a large power of two
// would all begin in the same set of the cache, and evict each other.
constexpr size_t kGap = 48;

INLINE Division divide(const Convolution &c, size_t threads) {
  Division d;
  d.rows = ceil_div(c.height, kResults), d.columns = ceil_div(c.width, kResults), d.tiles = d.rows * d.columns;
  const size_t channels = larger(c.inputs, c.outputs) * kBlock;
  d.together = channels >= kTogether;
  d.chunk = smaller(d.tiles, d.together ? kLargeChunk : smaller(kSmallChunk, larger(kProductColumns, ceil_div(d.tiles, threads))));
  d.slots = d.together ? 1 : smaller(threads, ceil_div(d.tiles, d.chunk));
  d.group = d.together ? smaller(kGroup, c.outputs) : c.outputs;
  d.input_size = d.chunk * c.inputs * kBlock + kGap;
  d.output_size = d.chunk * d.group * kBlock + kGap;
  return d;
}

// Floats of the flipped weights: of all panels, or, where threads work together, of the panels that each works on.
INLINE size_t flipped_size(const Convolution &c, const Division &d, size_t threads) {
  if (!c.flipped) return 0;
  const size_t panel = c.inputs * kBlock * kBlock;
  return d.together ? threads * kPanels * panel : kPoints * c.outputs * panel;
}

size_t convolution_scratch(const Convolution &c, size_t threads) {
  const Division d = divide(c, threads);
  return d.slots * kPoints * (d.input_size + d.output_size) + flipped_size(c, d, threads);
}

// Columns ahead that the transform of the inputs prefetches: four tiles.
constexpr size_t kAhead = 4 * kResults;

// Transforms block `block` of the inputs of tiles [start, start + n) into v [36, blocks, chunk, 16].
template <bool Flipped>
void transform_inputs(const Convolution &c, const Division &d, size_t block, size_t start, size_t n, float *v) {
  const float *x = c.x + block * c.height * c.width * kBlock;
  for (size_t t = 0; t < n; t++) {
    const size_t tile = start + t, row = tile / d.columns * kResults, column = tile % d.columns * kResults;
    float *out = v + (block * d.chunk + t) * kBlock;
    const bool inside = row >= 1 && column >= 1 && row + 5 <= c.height && column + 5 <= c.width;
    for (size_t r = 0; r < kBlock; r += kLanes) {
      Vector half[kPoints], whole[kTile];
      for (size_t j = 0; j < kTile; j++) {
        Vector values[kTile];
        if (inside) {
          const float *p = x + ((row - 1) * c.width + column - 1 + j) * kBlock + r;
          UNROLL(6)
          for (size_t i = 0; i < kTile; i++) {
            values[i] = load(p + i * c.width * kBlock);
            if (r == 0 && j < kResults) __builtin_prefetch(p + (i * c.width + kAhead) * kBlock);
          }
        } else {
          const size_t at = column + j;  // one more than the column
          for (size_t i = 0; i < kTile; i++)
            values[i] = row + i >= 1 && row + i <= c.height && at >= 1 && at <= c.width
                            ? load(x + ((row + i - 1) * c.width + at - 1) * kBlock + r)
                            : Vector{};
        }
        transform_input<Flipped>(values, half + j, kTile);
      }
      UNROLL(6)
      for (size_t i = 0; i < kTile; i++) {
        transform_input<Flipped>(half + i * kTile, whole, 1);
        UNROLL(6)
        for (size_t j = 0; j < kTile; j++) store(out + (i * kTile + j) * d.input_size + r, whole[j]);
      }
    }
  }
}

// Transforms the products of block `block` of the results and writes the results with everything that follows. m [36, ·,
// chunk, 16] begins at that block.
template <bool Flipped>
void transform_outputs(const Convolution &c, const Division &d, size_t block, size_t start, size_t n, const float *m) {
  const Epilogue &e = c.epilogue;
  const size_t plane = c.height * c.width * kBlock, pooled_width = c.width / 2, pooled_height = c.height / 2;
  float *y = c.y + block * plane;
  float *pooled = c.pooled ? c.pooled + block * pooled_height * pooled_width * kBlock : nullptr;
  const float *add = e.add ? e.add + block * plane : nullptr, *mask = e.mask ? e.mask + block * plane : nullptr;
  const bool past_cache = goes_past_cache(c.y, c.outputs * plane);
  for (size_t t = 0; t < n; t++) {
    const size_t tile = start + t, row = tile / d.columns * kResults, column = tile % d.columns * kResults;
    const size_t rows = smaller(kResults, c.height - row), columns = smaller(kResults, c.width - column);
    const float *in = m + t * kBlock;
    for (size_t r = 0; r < kBlock; r += kLanes) {
      const Vector bias = e.bias ? load(e.bias + block * kBlock + r) : Vector{};
      Vector half[kResults * kTile], results[kResults * kResults];
      UNROLL(6)
      for (size_t j = 0; j < kTile; j++) {
        Vector values[kTile];
        UNROLL(6)
        for (size_t i = 0; i < kTile; i++) values[i] = load(in + (i * kTile + j) * d.output_size + r);
        transform_output<Flipped>(values, half + j, kTile);
      }
      UNROLL(4)
      for (size_t i = 0; i < kResults; i++) transform_output<Flipped>(half + i * kTile, results + i * kResults, 1);
      const bool whole = rows == kResults && columns == kResults;
      UNROLL(4)
      for (size_t i = 0; i < kResults; i++)
        UNROLL(4)
        for (size_t j = 0; j < kResults; j++) {
          if (!whole && (i >= rows || j >= columns)) continue;
          const size_t at = ((row + i) * c.width + column + j) * kBlock + r;
          Vector v = results[i * kResults + j] + bias;
          if (add) v += load(add + at);
          if (mask) v = where_positive(load(mask + at), v);
          if (e.relu) v = rectified(v);
          results[i * kResults + j] = v;
          store_result(y + at, v, past_cache);
        }
      if (pooled)
        for (size_t i = 0; i + 1 < rows; i += 2)
          for (size_t j = 0; j + 1 < columns; j += 2) {
            const Vector *v = results + i * kResults + j;
            const Vector value = c.pooling == Pooling::kMaximum
                                     ? maximum(maximum(v[0], v[1]), maximum(v[kResults], v[kResults + 1]))
                                     : 0.25f * (v[0] + v[1] + v[kResults] + v[kResults + 1]);
            store(pooled + ((row + i) / 2 * pooled_width + (column + j) / 2) * kBlock + r, value);
          }
    }
  }
}

// Transposes the weights of one product for block `block` of the results into a panel [inputs, 16]. The transform was
// made for the convolution whose gradient this is: its outputs are the inputs here.
INLINE void flip_panel(const Convolution &c, size_t point, size_t block, float *panel) {
  const size_t area = kBlock * kBlock;
  const float *from = c.weights + (point * c.inputs * c.outputs + block) * area;
  for (size_t i = 0; i < c.inputs; i++) transpose_block(from + i * c.outputs * area, panel + i * area);
}

template <bool Flipped> void convolve(const Convolution &c, float *scratch, const Threads &threads) {
  const Division d = divide(c, threads.count);
  const size_t panel_size = c.inputs * kBlock * kBlock, slot_size = kPoints * (d.input_size + d.output_size);
  float *flipped = scratch + d.slots * slot_size;
  if (d.together) {
    float *v = scratch, *m = v + kPoints * d.input_size;
    // Each of the 36 products is one piece of work, or, for more than 9 threads, several: so all get about the same.
    const size_t pieces = smaller(ceil_div(d.group, kPanels), ceil_div(4 * threads.count, kPoints));
    const size_t piece = ceil_div(ceil_div(d.group, pieces), kPanels) * kPanels;
    for (size_t start = 0; start < d.tiles; start += d.chunk) {
      const size_t n = smaller(d.chunk, d.tiles - start);
      parallel(threads, c.inputs, [&](size_t block) { transform_inputs<Flipped>(c, d, block, start, n, v); });
      for (size_t group = 0; group < c.outputs; group += d.group) {
        const size_t size = smaller(d.group, c.outputs - group);
        parallel_slots(threads, kPoints * pieces, [&](size_t slot, size_t work) {
          const size_t point = work / pieces, first = work % pieces * piece, last = smaller(size, first + piece);
          float *panels = flipped + slot * kPanels * panel_size;
          const auto panel = [&](size_t o) {
            if (!Flipped) return c.weights + (point * c.outputs + group + o) * panel_size;
            float *own = panels + (o - first) % kPanels * panel_size;
            flip_panel(c, point, group + o, own);
            return static_cast<const float *>(own);
          };
          product(v + point * d.input_size, d.chunk, panel, m + point * d.output_size, d.chunk, c.inputs, first, last,
                  n);
        });
        parallel(threads, size, [&](size_t o) {
          transform_outputs<Flipped>(c, d, group + o, start, n, m + o * d.chunk * kBlock);
        });
      }
    }
    return;
  }
  if (Flipped)
    parallel(threads, kPoints, [&](size_t point) {
      for (size_t o = 0; o < c.outputs; o++) flip_panel(c, point, o, flipped + (point * c.outputs + o) * panel_size);
    });
  const float *weights = Flipped ? flipped : c.weights;
  parallel_slots(threads, ceil_div(d.tiles, d.chunk), [&](size_t slot, size_t chunk) {
    float *v = scratch + slot * slot_size, *m = v + kPoints * d.input_size;
    const size_t start = chunk * d.chunk, n = smaller(d.chunk, d.tiles - start);
    for (size_t block = 0; block < c.inputs; block++) transform_inputs<Flipped>(c, d, block, start, n, v);
    for (size_t point = 0; point < kPoints; point++) {
      const auto panel = [&](size_t o) { return weights + (point * c.outputs + o) * panel_size; };
      product(v + point * d.input_size, d.chunk, panel, m + point * d.output_size, d.chunk, c.inputs, 0, c.outputs, n);
    }
    for (size_t block = 0; block < c.outputs; block++)
      transform_outputs<Flipped>(c, d, block, start, n, m + block * d.chunk * kBlock);
  });
}

void convolution(const Convolution &c, float *scratch, const Threads &threads) {
  if (c.flipped)
    convolve<true>(c, scratch, threads);
  else
    convolve<false>(c, scratch, threads);
}

}  // namespace
