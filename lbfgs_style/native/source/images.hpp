// The first convolution of a network, from a plain image to blocked features, and its gradient.
#pragma once
#include "products.hpp"

namespace {

// Weights of a 3×3 kernel.
constexpr size_t kTaps = 9;

// Positions of a row that are computed at once: 8 independent registers of sums, because a multiply-add has to wait for
// the one before it on the same register.
constexpr size_t kColumns = 8;

// Parts of the rows, which threads take in turn: up to 8 for each, so that all end at about the same time, but not more,
// because the gradient computes two additional rows for each part.
INLINE size_t image_parts(size_t height, size_t threads) { return smaller(height, threads * 8); }

size_t image_convolution_scratch(const ImageConvolution &c, size_t threads) {
  const size_t inner = kTaps * c.channels, outputs = c.outputs * kBlock;
  return (inner + 1) * outputs + smaller(threads, image_parts(c.height, threads)) * 3 * c.channels * (c.width + 2);
}

void image_convolution(const ImageConvolution &c, float *scratch, const Threads &threads) {
  // Kernel [channels, 3, 3, outputs] and bias, with zeros beyond the last output.
  const size_t inner = kTaps * c.channels, outputs = c.outputs * kBlock, lines = 3 * c.channels;
  float *kernel = scratch, *bias = kernel + inner * outputs, *all_rows = bias + outputs;
  fill_zero(kernel, (inner + 1) * outputs);
  for (size_t o = 0; o < c.kernel_outputs; o++) {
    for (size_t i = 0; i < inner; i++) kernel[i * outputs + o] = c.kernel[o * inner + i];
    if (c.bias) bias[o] = c.bias[o];
  }
  const size_t parts = image_parts(c.height, threads.count), line = c.width + 2;
  const bool past_cache = goes_past_cache(c.y, outputs * c.height * c.width);
  parallel_slots(threads, parts, [&](size_t slot, size_t part) {
    // The three rows that a row of results sees, with a zero before and behind: [channels, 3, width + 2].
    float *rows = all_rows + slot * lines * line;
    for (size_t y = c.height * part / parts; y < c.height * (part + 1) / parts; y++) {
      for (size_t channel = 0; channel < c.channels; channel++)
        for (size_t k = 0; k < 3; k++) {
          float *row = rows + (channel * 3 + k) * line;
          row[0] = row[line - 1] = 0;
          if (y + k < 1 || y + k > c.height)
            fill_zero(row + 1, c.width);
          else
            copy(row + 1, c.image + (channel * c.height + y + k - 1) * c.width, c.width);
        }
      for (size_t block = 0; block < c.outputs; block++)
        for (size_t r = 0; r < kBlock; r += kLanes) {
          const size_t lane = block * kBlock + r;
          float *out = c.y + (block * c.height + y) * c.width * kBlock + r;
          const Vector start = load(bias + lane);
          size_t x = 0;
          for (; x + kColumns <= c.width; x += kColumns) {
            Vector sums[kColumns];
            UNROLL(8)
            for (size_t i = 0; i < kColumns; i++) sums[i] = start;
            for (size_t n = 0; n < lines; n++) {
              const float *row = rows + n * line + x;
              UNROLL(3)
              for (size_t k = 0; k < 3; k++) {
                const Vector weight = load(kernel + (n * 3 + k) * outputs + lane);
                UNROLL(8)
                for (size_t i = 0; i < kColumns; i++) sums[i] += weight * broadcast(row[i + k]);
              }
            }
            UNROLL(8)
            for (size_t i = 0; i < kColumns; i++) {
              const Vector v = c.relu ? rectified(sums[i]) : sums[i];
              store_result(out + (x + i) * kBlock, v, past_cache);
            }
          }
          for (; x < c.width; x++) {
            Vector sum = start;
            for (size_t n = 0; n < lines; n++)
              for (size_t k = 0; k < 3; k++)
                sum += load(kernel + (n * 3 + k) * outputs + lane) * broadcast(rows[n * line + x + k]);
            store(out + x * kBlock, c.relu ? rectified(sum) : sum);
          }
        }
    }
  });
}

// The gradient multiplies the features first, which gives each pixel 9 products for each channel of the image, and
// then adds up those that belong together. As a convolution it would read 9 times as many features.

// The channels of a pixel, at most 4; those beyond are products of the next tap, and not used.
typedef float Pixel __attribute__((vector_size(16), may_alias, aligned(4)));

// Blocks of the products of a position, which are in the order tap·channels + channel. Even from the last tap, 4 products
// can be read: blocks are larger than the taps need.
INLINE size_t product_blocks(size_t channels) { return ceil_div(kTaps * channels, kBlock); }

// Floats of one thread: three rows of products, position by position with a zero one before and behind, and one
// row of products in blocks.
INLINE size_t gradient_row_size(const ImageGradient &g) {
  return product_blocks(g.channels) * kBlock * (3 * (g.width + 2) + g.width);
}

size_t image_gradient_scratch(const ImageGradient &g, size_t threads) {
  const size_t parts = smaller(threads, image_parts(g.height, threads));
  return g.inputs * kBlock * product_blocks(g.channels) * kBlock + parts * gradient_row_size(g);
}

void image_gradient(const ImageGradient &g, float *scratch, const Threads &threads) {
  const size_t blocks = product_blocks(g.channels), values = blocks * kBlock, inner = g.inputs * kBlock;
  float *panels = scratch, *all_rows = panels + inner * values;  // panels [blocks, inputs, 16]
  fill_zero(panels, inner * values);
  for (size_t o = 0; o < g.kernel_outputs; o++)
    for (size_t channel = 0; channel < g.channels; channel++)
      for (size_t tap = 0; tap < kTaps; tap++) {
        const size_t column = tap * g.channels + channel;
        panels[(column / kBlock * inner + o) * kBlock + column % kBlock] =
            g.kernel[(o * g.channels + channel) * kTaps + tap];
      }
  const auto panel = [&](size_t o) { return panels + o * inner * kBlock; };
  const size_t parts = image_parts(g.height, threads.count), positions = g.height * g.width;
  const size_t line = (g.width + 2) * values;
  parallel_slots(threads, parts, [&](size_t slot, size_t part) {
    float *rows = all_rows + slot * gradient_row_size(g), *blocked = rows + 3 * line;
    fill_zero(rows, 3 * line);
    // Writes the products of row after − 1 into one of three lines, so that those of three neighbouring rows are there.
    const auto multiply = [&](size_t after) {
      float *row = rows + after % 3 * line;
      if (after < 1 || after > g.height) return fill_zero(row, line);
      product(g.gradient + (after - 1) * g.width * kBlock, positions, panel, blocked, g.width, g.inputs, 0, blocks,
              g.width);
      for (size_t block = 0; block < blocks; block++)
        for (size_t x = 0; x < g.width; x++)
          copy(row + (x + 1) * values + block * kBlock, blocked + (block * g.width + x) * kBlock, kBlock);
    };
    const size_t first = g.height * part / parts, last = g.height * (part + 1) / parts;
    for (size_t y = first; y < last; y++) {
      if (y == first) multiply(y), multiply(y + 1);
      multiply(y + 2);
      // Forward, position s has the sum of kernel[k] image[s + k − 1]; so pixel x gets the sum of kernel[k]
      // gradient[x − k + 1].
      const float *sources[3] = {rows + (y + 2) % 3 * line, rows + (y + 1) % 3 * line, rows + y % 3 * line};
      for (size_t x = 0; x < g.width; x++) {
        Pixel sum = {};
        UNROLL(3)
        for (size_t i = 0; i < 3; i++)
          UNROLL(3)
          for (size_t j = 0; j < 3; j++) {
            const float *product = sources[i] + (x + 2 - j) * values + (i * 3 + j) * g.channels;
            sum += *reinterpret_cast<const Pixel *>(product);
          }
        for (size_t channel = 0; channel < g.channels; channel++)
          g.image[channel * positions + y * g.width + x] = sum[channel];
      }
    }
  });
}

}  // namespace
