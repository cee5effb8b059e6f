// What the kernels of one instruction set offer, and the arguments that they take.
//
// Features are in blocks of 16 channels: [blocks, height, width, 16], float32; channels beyond the last are 0. A plain
// tensor is [channels, height, width]. No length in this file counts bytes.
#pragma once
#include <cstddef>

// Channels of a block: the floats of an AVX-512 register, and of a cache line of 64 bytes.
constexpr size_t kBlock = 16;

// Channels of an image at most.
constexpr size_t kImageChannels = 4;

// Threads that share the work: `run` calls body(data, i) once for every i below `count`.
struct Threads {
  void *pool;
  void (*run)(void *pool, size_t count, void (*body)(void *data, size_t i), void *data);
  size_t count;  // how many threads there are at most; each has its part of the scratch memory
};

// What is done with each value of a result before it is written, in this order; null pointers are left out.
struct Epilogue {
  const float *bias;   // [channels]: added
  const float *scale;  // [height, width]: multiplies all channels
  const float *add;    // as the result: added
  const float *mask;   // as the result: the value becomes 0 where the mask is not positive
  bool relu;           // negative values become 0
};

enum class Pooling { kNone, kMaximum, kAverage };

// 3×3 convolution, stride 1, one pixel of zeros around the image.
struct Convolution {
  size_t inputs, outputs;  // blocks of channels
  size_t height, width;
  const float *x;
  const float *weights;  // Winograd's transform of the kernel, [36, blocks of outputs, inputs, 16]
  bool flipped;          // the kernel is flipped and its channels are swapped: the gradient of the convolution
  Epilogue epilogue;
  float *y;
  Pooling pooling;
  float *pooled;  // [outputs, height/2, width/2, 16]; null without pooling
};

// A matrix [rows, columns], in channels and not in blocks; `transposed` means that its transpose is multiplied.
struct Matrix {
  const float *values;
  size_t rows, columns;
  bool transposed;
};

// 1×1 convolution: a matrix product at each position.
struct PointConvolution {
  size_t inputs, outputs;  // blocks of channels
  size_t height, width;
  const float *x;
  Matrix matrix;
  Epilogue epilogue;
  float *y;
};

// Two 1×1 convolutions with a ReLU between them, B relu(A x + bias), or the gradient of that with respect to x. The
// features between them are never in memory; the gradient computes them again.
struct PointPair {
  size_t inputs, hidden, outputs;  // blocks of channels of x, between the two, and of the result
  size_t height, width;
  const float *x;
  Matrix first, second;
  const float *bias;      // of the first, [channels between the two], padded to whole blocks
  const float *gradient;  // of the result; null for the result itself
  Epilogue epilogue;      // of y
  float *y;               // the result, or the gradient of x
};

// Σ w f fᵀ and Σ w f over all positions.
struct Gram {
  size_t blocks, channels, positions;
  const float *x;
  const float *weights;  // w [positions], or null for 1
  float *products;       // [channels, channels]
  float *sums;           // [channels], or null
};

// 3×3 convolution, as above, of a plain image of at most 4 channels.
struct ImageConvolution {
  size_t channels, outputs;  // outputs: blocks
  size_t height, width;
  const float *image;   // [channels, height, width]
  const float *kernel;  // [kernel_outputs, channels, 3, 3]
  size_t kernel_outputs;
  const float *bias;  // [kernel_outputs] or null
  bool relu;
  float *y;
};

// The gradient of an ImageConvolution.
struct ImageGradient {
  size_t channels, inputs;  // inputs: blocks
  size_t height, width;
  const float *gradient;  // of the features
  const float *kernel;    // as above
  size_t kernel_outputs;
  float *image;  // [channels, height, width]
};

// Pooling over windows of 2×2, stride 2, without the odd last row and column.
struct Pool {
  size_t blocks, height, width;  // of the larger tensor
  const float *x;
  float *pooled;
  Pooling pooling;
};

struct PoolGradient {
  size_t blocks, height, width;  // of the larger tensor
  const float *x;
  const float *gradient;  // of the pooled tensor
  bool relu;              // x is the result of a ReLU: 0 where it is not positive
  Pooling pooling;
  float *y;
};

// Between plain and blocked tensors.
struct Reorder {
  size_t channels, positions;
  const float *from;
  float *to;
};

struct Kernels {
  const char *name;
  // Floats of scratch memory that a call needs.
  size_t (*convolution_scratch)(const Convolution &, size_t threads);
  size_t (*point_convolution_scratch)(const PointConvolution &, size_t threads);
  size_t (*point_pair_scratch)(const PointPair &, size_t threads);
  size_t (*gram_scratch)(const Gram &, size_t threads);
  size_t (*image_convolution_scratch)(const ImageConvolution &, size_t threads);
  size_t (*image_gradient_scratch)(const ImageGradient &, size_t threads);
  void (*convolution)(const Convolution &, float *scratch, const Threads &);
  void (*point_convolution)(const PointConvolution &, float *scratch, const Threads &);
  void (*point_pair)(const PointPair &, float *scratch, const Threads &);
  void (*gram)(const Gram &, float *scratch, const Threads &);
  void (*image_convolution)(const ImageConvolution &, float *scratch, const Threads &);
  void (*image_gradient)(const ImageGradient &, float *scratch, const Threads &);
  void (*pool)(const Pool &, const Threads &);
  void (*pool_gradient)(const PoolGradient &, const Threads &);
  void (*to_blocked)(const Reorder &, const Threads &);
  void (*to_plain)(const Reorder &, const Threads &);
};
