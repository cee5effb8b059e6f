// The kernels as operators of onnxruntime: their inputs, outputs and attributes, and their registration. README.md of
// lbfgs_style/native lists the operators.
#include <stdlib.h>

#include "call.hpp"
#include "instruction_sets.hpp"

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

using namespace onnxruntime_api;

namespace {

size_t blocks_of(size_t channels) { return (channels + kBlock - 1) / kBlock; }

// Requires an input, unless it is left out, to have a number of values. NAME is that of a variable.
#define REQUIRE_SIZE(NAME, SIZE) \
  call.require(!NAME.data || NAME.size() == (SIZE), "the input '" #NAME "' has another size than expected")

// --- the operators

// x, weights, bias?, add?, mask? → y, pooled?
void compute_convolution(Call &call, const Kernels &kernels) {
  const Tensor x = call.input(0, 4), weights = call.input(1, 4), bias = call.input(2, 1, true),
               add = call.input(3, 4, true), mask = call.input(4, 4, true);
  if (!call.ok()) return;
  const bool flipped = call.attributes.flipped;
  Convolution c = {};
  c.inputs = flipped ? weights[1] : weights[2] / kBlock, c.outputs = flipped ? weights[2] / kBlock : weights[1];
  c.height = x[1], c.width = x[2];
  c.x = x.data, c.weights = weights.data, c.flipped = flipped;
  c.epilogue = {bias.data, nullptr, add.data, mask.data, call.attributes.relu != 0};
  c.pooling = static_cast<Pooling>(call.attributes.pooling);
  call.require(weights[0] == 36 && c.inputs == x[0] && x[3] == kBlock && weights[2] % kBlock == 0 &&
                   weights[3] == kBlock && x.size() > 0,
               "the weights do not fit the features");
  REQUIRE_SIZE(bias, c.outputs * kBlock);
  REQUIRE_SIZE(add, c.outputs * c.height * c.width * kBlock);
  REQUIRE_SIZE(mask, c.outputs * c.height * c.width * kBlock);
  if (!call.ok()) return;
  c.y = call.output(0, c.outputs, c.height, c.width, kBlock);
  if (c.pooling != Pooling::kNone) c.pooled = call.output(1, c.outputs, c.height / 2, c.width / 2, kBlock);
  const Threads threads = call.threads();
  float *scratch = call.scratch(kernels.convolution_scratch(c, threads.count));
  if (call.ok() && c.y) kernels.convolution(c, scratch, threads);
}

// x, matrix, bias?, add?, mask?, scale? → y
void compute_point_convolution(Call &call, const Kernels &kernels) {
  const Tensor x = call.input(0, 4), matrix = call.input(1, 2), bias = call.input(2, 1, true),
               add = call.input(3, 4, true), mask = call.input(4, 4, true), scale = call.input(5, 4, true);
  if (!call.ok()) return;
  PointConvolution c = {};
  c.matrix = {matrix.data, matrix[0], matrix[1], call.attributes.transposed != 0};
  c.inputs = blocks_of(matrix[c.matrix.transposed ? 0 : 1]), c.outputs = blocks_of(matrix[c.matrix.transposed ? 1 : 0]);
  c.height = x[1], c.width = x[2];
  c.x = x.data;
  c.epilogue = {bias.data, scale.data, add.data, mask.data, call.attributes.relu != 0};
  call.require(c.inputs == x[0] && x[3] == kBlock, "the matrix does not fit the features");
  REQUIRE_SIZE(bias, c.outputs * kBlock);
  REQUIRE_SIZE(scale, c.height * c.width);
  REQUIRE_SIZE(add, c.outputs * c.height * c.width * kBlock);
  REQUIRE_SIZE(mask, c.outputs * c.height * c.width * kBlock);
  if (!call.ok()) return;
  c.y = call.output(0, c.outputs, c.height, c.width, kBlock);
  const Threads threads = call.threads();
  float *scratch = call.scratch(kernels.point_convolution_scratch(c, threads.count));
  if (call.ok() && c.y) kernels.point_convolution(c, scratch, threads);
}

// x, first matrix, bias, second matrix, gradient?, bias of the second?, add?, mask? → y, or the gradient of x
void compute_point_pair(Call &call, const Kernels &kernels) {
  const Tensor x = call.input(0, 4), first = call.input(1, 2), bias = call.input(2, 1), second = call.input(3, 2),
               gradient = call.input(4, 4, true), last_bias = call.input(5, 1, true), add = call.input(6, 4, true),
               mask = call.input(7, 4, true);
  if (!call.ok()) return;
  PointPair p = {};
  p.first = {first.data, first[0], first[1], false}, p.second = {second.data, second[0], second[1], false};
  p.inputs = blocks_of(first[1]), p.hidden = blocks_of(first[0]), p.outputs = blocks_of(second[0]);
  p.height = x[1], p.width = x[2];
  p.x = x.data, p.bias = bias.data, p.gradient = gradient.data;
  p.epilogue = {last_bias.data, nullptr, add.data, mask.data, call.attributes.relu != 0};
  const size_t results = p.gradient ? p.inputs : p.outputs, area = p.height * p.width * kBlock;
  call.require(p.inputs == x[0] && x[3] == kBlock && second[1] == first[0], "the matrices do not fit the features");
  REQUIRE_SIZE(bias, p.hidden * kBlock);
  REQUIRE_SIZE(gradient, p.outputs * area);
  REQUIRE_SIZE(last_bias, results * kBlock);
  REQUIRE_SIZE(add, results * area);
  REQUIRE_SIZE(mask, results * area);
  if (!call.ok()) return;
  p.y = call.output(0, results, p.height, p.width, kBlock);
  const Threads threads = call.threads();
  float *scratch = call.scratch(kernels.point_pair_scratch(p, threads.count));
  if (call.ok() && p.y) kernels.point_pair(p, scratch, threads);
}

// x, weights? → products, sums?
void compute_gram(Call &call, const Kernels &kernels) {
  const Tensor x = call.input(0, 4), weights = call.input(1, 4, true);
  if (!call.ok()) return;
  Gram g = {};
  g.blocks = x[0], g.channels = static_cast<size_t>(call.attributes.channels), g.positions = x[1] * x[2];
  g.x = x.data, g.weights = weights.data;
  call.require(blocks_of(g.channels) == g.blocks && x[3] == kBlock, "the number of channels is not that of the features");
  REQUIRE_SIZE(weights, g.positions);
  if (!call.ok()) return;
  g.products = call.output(0, g.channels, g.channels, 0, 0, 2);
  g.sums = call.output(1, g.channels, 1, 0, 0, 2);
  const Threads threads = call.threads();
  float *scratch = call.scratch(kernels.gram_scratch(g, threads.count));
  if (call.ok() && g.products) kernels.gram(g, scratch, threads);
}

// image, kernel, bias? → y
void compute_image_convolution(Call &call, const Kernels &kernels) {
  const Tensor image = call.input(0, 4), kernel = call.input(1, 4), bias = call.input(2, 1, true);
  if (!call.ok()) return;
  ImageConvolution c = {};
  c.channels = image[1], c.kernel_outputs = kernel[0], c.outputs = blocks_of(kernel[0]);
  c.height = image[2], c.width = image[3];
  c.image = image.data, c.kernel = kernel.data, c.bias = bias.data, c.relu = call.attributes.relu;
  call.require(image[0] == 1 && kernel[1] == c.channels && kernel[2] == 3 && kernel[3] == 3 &&
                   c.channels <= kImageChannels && image.size() > 0,
               "the kernel does not fit the image");
  REQUIRE_SIZE(bias, c.kernel_outputs);
  if (!call.ok()) return;
  c.y = call.output(0, c.outputs, c.height, c.width, kBlock);
  const Threads threads = call.threads();
  float *scratch = call.scratch(kernels.image_convolution_scratch(c, threads.count));
  if (call.ok() && c.y) kernels.image_convolution(c, scratch, threads);
}

// gradient, kernel → image
void compute_image_gradient(Call &call, const Kernels &kernels) {
  const Tensor gradient = call.input(0, 4), kernel = call.input(1, 4);
  if (!call.ok()) return;
  ImageGradient g = {};
  g.channels = kernel[1], g.kernel_outputs = kernel[0], g.inputs = gradient[0];
  g.height = gradient[1], g.width = gradient[2];
  g.gradient = gradient.data, g.kernel = kernel.data;
  call.require(blocks_of(g.kernel_outputs) == g.inputs && kernel[2] == 3 && kernel[3] == 3 && gradient[3] == kBlock &&
                   g.channels <= kImageChannels && gradient.size() > 0,
               "the kernel does not fit the features");
  if (!call.ok()) return;
  g.image = call.output(0, 1, g.channels, g.height, g.width);
  const Threads threads = call.threads();
  float *scratch = call.scratch(kernels.image_gradient_scratch(g, threads.count));
  if (call.ok() && g.image) kernels.image_gradient(g, scratch, threads);
}

// x → pooled
void compute_pool(Call &call, const Kernels &kernels) {
  const Tensor x = call.input(0, 4);
  if (!call.ok() || !call.require(x[3] == kBlock, "the features are not in blocks")) return;
  Pool p = {x[0], x[1], x[2], x.data, nullptr, static_cast<Pooling>(call.attributes.pooling)};
  p.pooled = call.output(0, p.blocks, p.height / 2, p.width / 2, kBlock);
  if (call.ok() && p.pooled) kernels.pool(p, call.threads());
}

// x, gradient of the pooled tensor → gradient of x
void compute_pool_gradient(Call &call, const Kernels &kernels) {
  const Tensor x = call.input(0, 4), gradient = call.input(1, 4);
  if (!call.ok()) return;
  PoolGradient p = {x[0],
                    x[1],
                    x[2],
                    x.data,
                    gradient.data,
                    call.attributes.relu != 0,
                    static_cast<Pooling>(call.attributes.pooling),
                    nullptr};
  call.require(x[3] == kBlock, "the features are not in blocks");
  REQUIRE_SIZE(gradient, p.blocks * (p.height / 2) * (p.width / 2) * kBlock);
  if (!call.ok()) return;
  p.y = call.output(0, p.blocks, p.height, p.width, kBlock);
  if (call.ok() && p.y) kernels.pool_gradient(p, call.threads());
}

// plain [1, C, H, W] → blocked
void compute_to_blocked(Call &call, const Kernels &kernels) {
  const Tensor x = call.input(0, 4);
  if (!call.ok() || !call.require(x[0] == 1, "expected one image")) return;
  float *y = call.output(0, blocks_of(x[1]), x[2], x[3], kBlock);
  if (call.ok() && y) kernels.to_blocked({x[1], x[2] * x[3], x.data, y}, call.threads());
}

// blocked → plain [1, C, H, W]
void compute_to_plain(Call &call, const Kernels &kernels) {
  const Tensor x = call.input(0, 4);
  const size_t channels = static_cast<size_t>(call.attributes.channels);
  if (!call.ok() || !call.require(blocks_of(channels) == x[0] && x[3] == kBlock, "the features are not in blocks")) return;
  float *y = call.output(0, 1, channels, x[1], x[2]);
  if (call.ok() && y) kernels.to_plain({channels, x[1] * x[2], x.data, y}, call.threads());
}

// --- registration

struct Definition : Operator {
  const char *name;
  size_t inputs, required, outputs;
  void (*run)(Call &, const Kernels &);
};

struct Kernel {
  const Definition *definition;
  Attributes attributes;
};

int64_t attribute(const KernelInfo *info, const char *name) {
  int64_t value = 0;
  Status *missing = get_integer(table)(info, name, &value);
  if (!missing) return value;
  release_status(table)(missing);
  return 0;
}

const Definition &defined(const Operator *op) { return *static_cast<const Definition *>(op); }

Definition define(const char *name, size_t inputs, size_t required, size_t outputs,
                  void (*run)(Call &, const Kernels &)) {
  Definition d = {};
  d.version = kVersion;
  d.name = name, d.inputs = inputs, d.required = required, d.outputs = outputs, d.run = run;
  d.get_name = [](const Operator *op) { return defined(op).name; };
  d.get_provider = [](const Operator *) -> const char * { return nullptr; };
  d.get_input_count = [](const Operator *op) { return defined(op).inputs; };
  d.get_output_count = [](const Operator *op) { return defined(op).outputs; };
  d.get_input_type = [](const Operator *, size_t) -> int { return kFloat; };
  d.get_output_type = [](const Operator *, size_t) -> int { return kFloat; };
  d.get_input_characteristic = [](const Operator *op, size_t i) -> int {
    return i < defined(op).required ? kRequired : kOptional;
  };
  d.get_output_characteristic = [](const Operator *, size_t i) -> int { return i ? kOptional : kRequired; };
  d.get_input_memory = [](const Operator *, size_t) -> int { return kDefaultMemory; };
  d.get_variadic_input_arity = d.get_variadic_input_homogeneity = d.get_variadic_output_arity =
      d.get_variadic_output_homogeneity = [](const Operator *) { return 0; };
  d.get_start_version = d.get_end_version = [](const Operator *) { return 1; };
  d.create_kernel_v2 = [](const Operator *op, Table, const KernelInfo *info, void **out) -> Status * {
    Kernel *kernel = static_cast<Kernel *>(malloc(sizeof(Kernel)));
    if (!kernel) return create_status(table)(kInvalidArgument, "out of memory");
    *kernel = {&defined(op),
               {attribute(info, "threads"), attribute(info, "flipped"), attribute(info, "relu"),
                attribute(info, "pooling"), attribute(info, "channels"), attribute(info, "transposed")}};
    *out = kernel;
    return nullptr;
  };
  d.compute_v2 = [](void *data, KernelContext *context) -> Status * {
    const Kernel &kernel = *static_cast<Kernel *>(data);
    Status *status;
    {
      Call call(context, kernel.attributes);
      if (call.ok()) kernel.definition->run(call, chosen_kernels());
      status = call.take_status();
    }
    return status;
  };
  d.destroy = [](void *kernel) { free(kernel); };
  return d;
}

// Never freed: onnxruntime keeps pointers to it as long as the process lives.
Definition definitions[] = {
    define("Convolution", 5, 2, 2, compute_convolution),
    define("PointConvolution", 6, 2, 1, compute_point_convolution),
    define("PointPair", 8, 4, 1, compute_point_pair),
    define("Gram", 2, 1, 2, compute_gram),
    define("ImageConvolution", 3, 2, 1, compute_image_convolution),
    define("ImageGradient", 2, 2, 1, compute_image_gradient),
    define("Pool", 1, 1, 1, compute_pool),
    define("PoolGradient", 2, 2, 1, compute_pool_gradient),
    define("ToBlocked", 1, 1, 1, compute_to_blocked),
    define("ToPlain", 1, 1, 1, compute_to_plain),
};

// Makes the domain of the operators, once.
Status *make_domain(Domain **made) {
  static Domain *domain = nullptr;
  static bool busy = false;  // several threads may open sessions at once
  struct Lock {
    Lock() {
      while (__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE)) {
      }
    }
    ~Lock() { __atomic_clear(&busy, __ATOMIC_RELEASE); }
  } lock;
  if (!domain) {
    Domain *fresh = nullptr;
    if (Status *failed = create_cpu_memory_info(table)(kArena, kDefaultMemory, &cpu_memory)) return failed;
    if (Status *failed = create_domain(table)("lbfgs_style", &fresh)) return failed;
    for (const Definition &definition : definitions)
      if (Status *failed = add_operator(table)(fresh, &definition)) return failed;
    domain = fresh;
  }
  *made = domain;
  return nullptr;
}

}  // namespace

// Called by onnxruntime for each session that registers this library.
EXPORT Status *RegisterCustomOps(SessionOptions *options, const Base *base) {
  table = base->get_table(kVersion);
  runtime_version = base->get_version();
  if (!table) return nullptr;  // onnxruntime is older than 1.17, and says so when it meets an operator
  Domain *domain = nullptr;
  if (Status *failed = make_domain(&domain)) return failed;
  return add_domain(table)(options, domain);
}

// The version of the operators, which `library.py` compares: a library left over from another version is not used.
EXPORT int lbfgs_style_operators_version() { return LBFGS_OPERATORS_VERSION; }

// Uses another instruction set, for all sessions; returns 0 if this processor does not have it.
EXPORT int lbfgs_style_use(const char *name) {
  const InstructionSet *sets = instruction_sets();
  for (size_t i = 0; i < kSets; i++)
    if (sets[i].available && sets[i].kernels && !strcmp(sets[i].kernels->name, name)) {
      wanted_kernels = sets[i].kernels;
      return 1;
    }
  return 0;
}

// The version of the onnxruntime that has registered this library, null before.
EXPORT const char *lbfgs_style_onnxruntime_version() { return runtime_version; }

// The instruction set in use.
EXPORT const char *lbfgs_style_instructions() { return chosen_kernels().name; }

// The i-th instruction set that this processor has, null beyond the last.
EXPORT const char *lbfgs_style_available(int i) {
  const InstructionSet *sets = instruction_sets();
  for (size_t set = 0; set < kSets; set++)
    if (sets[set].available && sets[set].kernels && i-- == 0) return sets[set].kernels->name;
  return nullptr;
}

// Bytes of scratch memory of an operator, for plans of memory: blocks of input, hidden and output features, height and
// width. Operators without scratch memory take 0.
EXPORT size_t lbfgs_style_scratch(const char *name, size_t inputs, size_t hidden, size_t outputs, size_t height,
                                  size_t width, int flipped, size_t threads) {
  const Kernels &kernels = chosen_kernels();
  size_t floats = 0;
  if (!strcmp(name, "Convolution")) {
    Convolution c = {};
    c.inputs = inputs, c.outputs = outputs, c.height = height, c.width = width, c.flipped = flipped;
    floats = kernels.convolution_scratch(c, threads);
  } else if (!strcmp(name, "PointConvolution")) {
    PointConvolution c = {};
    c.inputs = inputs, c.outputs = outputs;
    floats = kernels.point_convolution_scratch(c, threads);
  } else if (!strcmp(name, "PointPair")) {
    PointPair p = {};
    const float something = 0;
    p.inputs = inputs, p.hidden = hidden, p.outputs = outputs, p.gradient = &something;
    floats = kernels.point_pair_scratch(p, threads);
  } else if (!strcmp(name, "Gram")) {
    Gram g = {};
    g.blocks = inputs, g.channels = inputs * kBlock, g.positions = height * width;
    floats = kernels.gram_scratch(g, threads);
  } else if (!strcmp(name, "ImageConvolution")) {
    ImageConvolution c = {};
    c.channels = kImageChannels, c.outputs = outputs, c.height = height, c.width = width;
    floats = kernels.image_convolution_scratch(c, threads);
  } else if (!strcmp(name, "ImageGradient")) {
    ImageGradient g = {};
    g.channels = kImageChannels, g.inputs = inputs, g.height = height, g.width = width;
    floats = kernels.image_gradient_scratch(g, threads);
  }
  return floats * sizeof(float);
}
