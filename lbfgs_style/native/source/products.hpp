// Matrix products of blocked features: the kernel in registers, 1×1 convolutions, Gram matrices.
#pragma once
#include "vectors.hpp"

namespace {

// One step of a product y = W x: `Panels` blocks of 16 rows of W, `Tiles` columns of x, `blocks` blocks of 16 inner
// indices. The sums stay in registers; for each inner index, the registers of a column of W are loaded once, and each value
// of x is broadcast once for all rows.
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

// The last columns, fewer than kProductColumns. Their number is a template argument: only then do the sums stay in registers.
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
  for (; t + kProductColumns <= n; t += kProductColumns)
    product_step<Panels, kProductColumns, Add>(x + t * kBlock, stride_x, weights, y + t * kBlock, stride_y, blocks);
  Rest<Panels, kProductColumns - 1, Add>::run(n - t, x + t * kBlock, stride_x, weights, y + t * kBlock, stride_y, blocks);
}

// Blocks of inner indices of one pass: their weights for kPanels blocks of rows, 32 KB with AVX-512 (else 16), stay in
// the L1 cache while all columns pass.
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
INLINE void write_results(const Epilogue &e, const float *products, float *y, size_t block, size_t positions, size_t start,
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
      store_result(y + at, v, past_cache);
    }
  }
}

// --- 1×1 convolutions

// Positions that a thread takes at once: their products are still in the cache when the epilogue reads them.
constexpr size_t kPointPositions = kProductColumns * 8;

// Copies the rows of block `o` of a matrix into a panel [inner, 16], with zeros beyond its channels.
INLINE void pack_panel(const Matrix &m, size_t o, size_t inner, float *panel) {
  fill_zero(panel, inner * kBlock);
  const size_t rows = m.transposed ? m.columns : m.rows, columns = m.transposed ? m.rows : m.columns;
  const size_t n = smaller(kBlock, rows - o * kBlock);
  for (size_t i = 0; i < columns; i++)
    for (size_t k = 0; k < n; k++)
      panel[i * kBlock + k] =
          m.transposed ? m.values[i * m.columns + o * kBlock + k] : m.values[(o * kBlock + k) * m.columns + i];
}

// The panels of a matrix for blocks of rows and inner indices.
struct Panels {
  const float *values;
  size_t rows, inner;  // blocks

  const float *operator()(size_t o) const { return values + o * inner * kBlock * kBlock; }
  // y [rows, n, 16] = the matrix times n positions of x [inner, stride, 16].
  INLINE void multiply(const float *x, size_t stride, float *y, size_t n) const {
    product(x, stride, *this, y, n, inner, 0, rows, n);
  }
};

// Floats of the panels of a matrix, in blocks of rows and columns.
INLINE size_t panels_size(size_t rows, size_t columns) { return rows * columns * kBlock * kBlock; }

INLINE Panels pack(const Matrix &m, size_t rows, size_t inner, float *panels, const Threads &threads) {
  parallel(threads, rows, [&](size_t o) {
    pack_panel(m, o, inner * kBlock, panels + o * inner * kBlock * kBlock);
  });
  return {panels, rows, inner};
}

size_t point_convolution_scratch(const PointConvolution &c, size_t threads) {
  return panels_size(c.outputs, c.inputs) + threads * c.outputs * kPointPositions * kBlock;
}

void point_convolution(const PointConvolution &c, float *scratch, const Threads &threads) {
  const size_t positions = c.height * c.width;
  const Panels panels = pack(c.matrix, c.outputs, c.inputs, scratch, threads);
  float *all_products = scratch + panels_size(c.outputs, c.inputs);
  const bool past_cache = goes_past_cache(c.y, c.outputs * positions * kBlock);
  parallel_slots(threads, ceil_div(positions, kPointPositions), [&](size_t slot, size_t part) {
    const size_t start = part * kPointPositions, n = smaller(kPointPositions, positions - start);
    float *products = all_products + slot * c.outputs * kPointPositions * kBlock;
    panels.multiply(c.x + start * kBlock, positions, products, n);
    for (size_t o = 0; o < c.outputs; o++)
      write_results(c.epilogue, products + o * n * kBlock, c.y, o, positions, start, n, past_cache);
  });
}

// Floats that a thread needs: the features between the two convolutions, their gradient, and the products.
INLINE size_t pair_slot_size(const PointPair &p) {
  return (2 * p.hidden + larger(p.inputs, p.outputs)) * kPointPositions * kBlock;
}

size_t point_pair_scratch(const PointPair &p, size_t threads) {
  return panels_size(p.hidden, p.inputs) + panels_size(p.hidden, p.outputs) +
         (p.gradient ? panels_size(p.inputs, p.hidden) : 0) + threads * pair_slot_size(p);
}

void point_pair(const PointPair &p, float *scratch, const Threads &threads) {
  const size_t positions = p.height * p.width, results = p.gradient ? p.inputs : p.outputs;
  float *free = scratch;
  const auto packed = [&](Matrix m, bool transposed, size_t rows, size_t inner) {
    m.transposed = transposed;
    const Panels panels = pack(m, rows, inner, free, threads);
    free += panels_size(rows, inner);
    return panels;
  };
  const bool backward = p.gradient != nullptr;
  const Panels first = packed(p.first, false, p.hidden, p.inputs);
  const Panels second = backward ? packed(p.second, true, p.hidden, p.outputs) : packed(p.second, false, p.outputs, p.hidden);
  const Panels last = backward ? packed(p.first, true, p.inputs, p.hidden) : second;
  const bool past_cache = goes_past_cache(p.y, results * positions * kBlock);
  parallel_slots(threads, ceil_div(positions, kPointPositions), [&](size_t slot, size_t part) {
    const size_t start = part * kPointPositions, n = smaller(kPointPositions, positions - start);
    float *hidden = free + slot * pair_slot_size(p), *slopes = hidden + p.hidden * n * kBlock,
          *products = slopes + p.hidden * n * kBlock;
    first.multiply(p.x + start * kBlock, positions, hidden, n);
    if (backward) second.multiply(p.gradient + start * kBlock, positions, slopes, n);
    for (size_t o = 0; o < p.hidden; o++)
      for (size_t r = 0; r < kBlock; r += kLanes) {
        const Vector bias = p.bias ? load(p.bias + o * kBlock + r) : Vector{};
        for (size_t t = 0; t < n; t++) {
          const size_t at = (o * n + t) * kBlock + r;
          const Vector v = load(hidden + at) + bias;
          if (backward)
            store(slopes + at, where_positive(v, load(slopes + at)));
          else
            store(hidden + at, rectified(v));
        }
      }
    last.multiply(backward ? slopes : hidden, n, products, n);
    for (size_t o = 0; o < results; o++)
      write_results(p.epilogue, products + o * n * kBlock, p.y, o, positions, start, n, past_cache);
  });
}

// --- Gram matrices

// Parts in which positions are summed, and the least positions of a part. Each part has its own sums, so that the result
// does not depend on the number of threads; more threads than parts have nothing to do.
constexpr size_t kGramParts = 16, kLeastPart = 256;

INLINE size_t gram_parts(const Gram &g) {
  return smaller(kGramParts, larger(1, g.positions / kLeastPart));
}

// Positions whose features stay in the L2 cache while all pairs of blocks pass: at most 64 KB up to 256 channels, 128 KB
// for 512.
INLINE size_t gram_chunk(const Gram &g) { return g.blocks <= 4 ? 256 : g.blocks <= 8 ? 128 : 64; }

size_t gram_scratch(const Gram &g, size_t) {
  const size_t one = g.blocks * kBlock;
  return gram_parts(g) * (one * one + one + kBlock * gram_chunk(g));
}

// Adds to sums [Blocks, 16, 16] the products of `Rows` channels of z, from channel `row` on, with those of x [Blocks,
// stride, 16], over n positions.
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

// Rows of a step: their sums take half of the registers, 16 or 8.
constexpr size_t kGramRows = kLanes == 16 ? 8 : kProductColumns == 6 ? 4 : 2;

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
