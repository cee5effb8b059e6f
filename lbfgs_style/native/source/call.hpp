// One call of an operator: what onnxruntime gives it, and the first error.
#pragma once
#include "kernels.hpp"
#include "onnxruntime_api.hpp"

namespace {

using namespace onnxruntime_api;

Table table;
MemoryInfo *cpu_memory;
const char *runtime_version;

// The attributes of all operators; those that an operator does not have are 0.
struct Attributes {
  int64_t threads, flipped, relu, pooling, channels, transposed;
};

constexpr size_t kRank = 4;

struct Tensor {
  const float *data = nullptr;
  size_t rank = 0;
  int64_t lengths[kRank] = {0, 0, 0, 0};

  size_t operator[](size_t axis) const { return static_cast<size_t>(lengths[axis]); }
  size_t size() const {
    size_t n = 1;
    for (size_t i = 0; i < rank; i++) n *= (*this)[i];
    return n;
  }
};

// One call of an operator. The first error is kept; after it, nothing is computed.
class Call {
 public:
  Call(KernelContext *context, const Attributes &attributes) : attributes(attributes), context_(context) {
    check(get_input_count(table)(context, &inputs_));
    check(get_output_count(table)(context, &outputs_));
  }
  ~Call() {
    if (scratch_)
      if (Status *failed = deallocate(table)(allocator_, scratch_)) release_status(table)(failed);
    if (allocator_) release_allocator(table)(allocator_);
  }
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  const Attributes &attributes;

  // Returns an input; without data if it is left out. A tensor of another rank than expected is an error.
  Tensor input(size_t index, size_t rank, bool optional = false) {
    Tensor tensor;
    const Value *value = nullptr;
    if (ok() && index < inputs_) check(get_input(table)(context_, index, &value));
    if (!value) {
      require(optional, "an input is missing");
      return tensor;
    }
    Shape *shape = nullptr;
    void *data = nullptr;
    if (check(get_shape(table)(value, &shape))) {
      check(get_rank(table)(shape, &tensor.rank));
      if (require(tensor.rank == rank, "an input has another rank than expected"))
        check(get_lengths(table)(shape, tensor.lengths, rank));
      release_shape(table)(shape);
    }
    if (check(get_data(table)(const_cast<Value *>(value), &data))) tensor.data = static_cast<const float *>(data);
    return tensor;
  }

  // Returns the memory of an output, null if nothing reads it.
  float *output(size_t index, size_t a, size_t b, size_t c, size_t d, size_t rank = kRank) {
    const int64_t lengths[kRank] = {static_cast<int64_t>(a), static_cast<int64_t>(b), static_cast<int64_t>(c),
                                    static_cast<int64_t>(d)};
    Value *value = nullptr;
    void *data = nullptr;
    if (ok() && index < outputs_) check(get_output(table)(context_, index, lengths, rank, &value));
    if (value) check(get_data(table)(value, &data));
    return static_cast<float *>(data);
  }

  // Returns memory for `size` floats until the end of the call; null after an error.
  float *scratch(size_t size) {
    if (ok() && check(get_allocator(table)(context_, cpu_memory, &allocator_)))
      check(allocate(table)(allocator_, size * sizeof(float) + kLine, &scratch_));
    if (!ok()) return nullptr;
    const uintptr_t address = reinterpret_cast<uintptr_t>(scratch_);
    return reinterpret_cast<float *>((address + kLine - 1) / kLine * kLine);
  }

  // Threads of the session that runs the graph.
  Threads threads() {
    return {this,
            [](void *self, size_t count, void (*body)(void *, size_t), void *data) {
              Call *call = static_cast<Call *>(self);
              call->check(parallel_for(table)(call->context_, body, count, 0, data));
            },
            static_cast<size_t>(attributes.threads > 0 ? attributes.threads : 1)};
  }

  bool require(bool condition, const char *message) {
    if (!condition && ok()) status_ = create_status(table)(kInvalidArgument, message);
    return condition;
  }

  bool ok() const { return !status_; }

  Status *take_status() {
    Status *status = status_;
    status_ = nullptr;
    return status;
  }

 private:
  static constexpr uintptr_t kLine = 64;  // bytes of a cache line

  bool check(Status *status) {
    if (!status) return true;
    if (status_)
      release_status(table)(status);
    else
      status_ = status;
    return false;
  }

  KernelContext *context_;
  size_t inputs_ = 0, outputs_ = 0;
  Allocator *allocator_ = nullptr;
  void *scratch_ = nullptr;
  Status *status_ = nullptr;
};

}  // namespace
