// The few functions of onnxruntime's C API that the operators call, found by their position in its table.
//
// onnxruntime gives a library that it loads a pointer to one structure of function pointers. Functions are only
// ever appended to it, so a position is as stable as a name, and nothing has to be downloaded to compile this. The
// positions are those of API 17, which every onnxruntime from 1.17 on has.
#pragma once
#include <cstddef>
#include <cstdint>

namespace onnxruntime_api {

constexpr uint32_t kVersion = 17;

// Objects of onnxruntime, only ever seen by pointer.
struct Status;
struct Value;
struct Shape;
struct MemoryInfo;
struct Allocator;
struct Domain;
struct SessionOptions;
struct KernelInfo;
struct KernelContext;
struct ShapeContext;

using Table = void *const *;

struct Base {
  Table (*get_table)(uint32_t version);
  const char *(*get_version)();
};

enum : int { kInvalidArgument = 2 };
enum : int { kFloat = 1 };
enum : int { kRequired = 0, kOptional = 1 };
enum : int { kArena = 1, kDefaultMemory = 0 };

// Declares a function of the table: its name here, its position there, what it returns, what it takes.
#define LBFGS_FUNCTION(name, position, result, ...)                                                       \
  inline result (*name(Table table))(__VA_ARGS__) {                                                       \
    return reinterpret_cast<result (*)(__VA_ARGS__)>(table[position]);                                    \
  }
LBFGS_FUNCTION(create_status, 0, Status *, int code, const char *message)
LBFGS_FUNCTION(create_domain, 26, Status *, const char *name, Domain **)
LBFGS_FUNCTION(add_operator, 27, Status *, Domain *, const struct Operator *)
LBFGS_FUNCTION(add_domain, 28, Status *, SessionOptions *, Domain *)
LBFGS_FUNCTION(get_data, 51, Status *, Value *, void **)
LBFGS_FUNCTION(get_rank, 61, Status *, const Shape *, size_t *)
LBFGS_FUNCTION(get_lengths, 62, Status *, const Shape *, int64_t *, size_t)
LBFGS_FUNCTION(get_shape, 65, Status *, const Value *, Shape **)
LBFGS_FUNCTION(create_cpu_memory_info, 69, Status *, int allocator, int kind, MemoryInfo **)
LBFGS_FUNCTION(allocate, 75, Status *, Allocator *, size_t, void **)
LBFGS_FUNCTION(deallocate, 76, Status *, Allocator *, void *)
LBFGS_FUNCTION(get_integer, 86, Status *, const KernelInfo *, const char *name, int64_t *)
LBFGS_FUNCTION(get_input_count, 88, Status *, const KernelContext *, size_t *)
LBFGS_FUNCTION(get_output_count, 89, Status *, const KernelContext *, size_t *)
LBFGS_FUNCTION(get_input, 90, Status *, const KernelContext *, size_t, const Value **)
LBFGS_FUNCTION(get_output, 91, Status *, KernelContext *, size_t, const int64_t *, size_t, Value **)
LBFGS_FUNCTION(release_status, 93, void, Status *)
LBFGS_FUNCTION(release_shape, 99, void, Shape *)
LBFGS_FUNCTION(release_allocator, 132, void, Allocator *)
LBFGS_FUNCTION(get_allocator, 253, Status *, const KernelContext *, const MemoryInfo *, Allocator **)
LBFGS_FUNCTION(parallel_for, 274, Status *, const KernelContext *, void (*)(void *, size_t), size_t, size_t, void *)
#undef LBFGS_FUNCTION

// What onnxruntime calls to learn about an operator and to run it, in its order; unused ones are null.
struct Operator {
  uint32_t version;
  void *(*create_kernel)(const Operator *, Table, const KernelInfo *);
  const char *(*get_name)(const Operator *);
  const char *(*get_provider)(const Operator *);
  int (*get_input_type)(const Operator *, size_t);
  size_t (*get_input_count)(const Operator *);
  int (*get_output_type)(const Operator *, size_t);
  size_t (*get_output_count)(const Operator *);
  void (*compute)(void *, KernelContext *);
  void (*destroy)(void *);
  int (*get_input_characteristic)(const Operator *, size_t);
  int (*get_output_characteristic)(const Operator *, size_t);
  int (*get_input_memory)(const Operator *, size_t);
  int (*get_variadic_input_arity)(const Operator *);
  int (*get_variadic_input_homogeneity)(const Operator *);
  int (*get_variadic_output_arity)(const Operator *);
  int (*get_variadic_output_homogeneity)(const Operator *);
  Status *(*create_kernel_v2)(const Operator *, Table, const KernelInfo *, void **);
  Status *(*compute_v2)(void *, KernelContext *);
  Status *(*infer_shape)(const Operator *, ShapeContext *);
  int (*get_start_version)(const Operator *);
  int (*get_end_version)(const Operator *);
};

}  // namespace onnxruntime_api
