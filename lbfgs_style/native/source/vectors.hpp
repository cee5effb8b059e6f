// Vectors of floats, as wide as the instruction set has them, and how work is divided among threads.
//
// GCC's and Clang's vector types compile to the registers of each instruction set, and to scalar code where there are
// none. Everything is in an unnamed namespace: each instruction set compiles this file for itself, and the linker must
// not merge them.
#pragma once
#include <stdint.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "kernels.hpp"

#define INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL(n) _Pragma("unroll")
#else
#define UNROLL(n) _Pragma(LBFGS_TEXT(GCC unroll n))
#endif
#define LBFGS_TEXT(text) #text

namespace {

// kLanes: floats of a register. A step of a matrix product keeps kPanels blocks of 16 rows × kProductColumns columns of its
// result in registers: 2·12 of AVX-512's 32, 2·6 of AVX2's 16, 4·6 of NEON's 32, 4·2 of SSE2's 16. The others hold the
// weights of the rows and a broadcast value.
#if defined(__AVX512F__)
constexpr size_t kLanes = 16, kProductColumns = 12, kPanels = 2;
#elif defined(__AVX2__)
constexpr size_t kLanes = 8, kProductColumns = 6, kPanels = 1;
#elif defined(__aarch64__)
constexpr size_t kLanes = 4, kProductColumns = 6, kPanels = 1;
#else
constexpr size_t kLanes = 4, kProductColumns = 2, kPanels = 1;
#endif
// Registers of a block.
constexpr size_t kRegisters = kBlock / kLanes;

typedef float Vector __attribute__((vector_size(kLanes * 4), may_alias));
typedef float Unaligned __attribute__((vector_size(kLanes * 4), may_alias, aligned(4)));
typedef int Indices __attribute__((vector_size(kLanes * 4)));

INLINE Vector load(const float *p) { return *reinterpret_cast<const Unaligned *>(p); }
INLINE void store(float *p, Vector v) { *reinterpret_cast<Unaligned *>(p) = v; }

// Floats (16 MB) above which a result is written by non-temporal stores: no cache would hold it until it is read, and an
// ordinary store would first fetch the line that it overwrites. Only where a register is a whole cache line.
constexpr size_t kPastCache = size_t{1} << 22;
#if defined(__AVX512F__)
INLINE bool goes_past_cache(const float *p, size_t size) {
  return size > kPastCache && reinterpret_cast<uintptr_t>(p) % 64 == 0;
}
INLINE void store_past_cache(float *p, Vector v) { _mm512_stream_ps(p, reinterpret_cast<__m512>(v)); }
INLINE void fence() { _mm_sfence(); }
#else
INLINE bool goes_past_cache(const float *, size_t) { return false; }
INLINE void store_past_cache(float *p, Vector v) { store(p, v); }
INLINE void fence() {}
#endif
INLINE void store_result(float *p, Vector v, bool past_cache) {
  if (past_cache)
    store_past_cache(p, v);
  else
    store(p, v);
}

INLINE Vector broadcast(float x) { return x - Vector{}; }  // x − 0 is x, also for −0
INLINE Vector maximum(Vector a, Vector b) {  // NaN if one of them is
  const Vector larger_one = a > b ? a : b;
  return a == a ? larger_one : a;
}
INLINE Vector rectified(Vector v) { return Vector{} > v ? Vector{} : v; }  // NaN stays NaN
INLINE Vector where_positive(Vector mask, Vector v) { return mask > Vector{} ? v : Vector{}; }

INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
INLINE size_t larger(size_t a, size_t b) { return a > b ? a : b; }
INLINE size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
INLINE void fill_zero(float *p, size_t n) { __builtin_memset(p, 0, n * sizeof(float)); }
INLINE void copy(float *to, const float *from, size_t n) { __builtin_memcpy(to, from, n * sizeof(float)); }

// The indices 0 … N − 1 as template arguments, like std::make_index_sequence.
template <size_t... I> struct Sequence {};
template <size_t N, size_t... I> struct MakeSequence : MakeSequence<N - 1, N - 1, I...> {};
template <size_t... I> struct MakeSequence<0, I...> { typedef Sequence<I...> Type; };

// Interleaves kLanes / 2 floats of a and b, from index Start on: a, b, a, b, …
template <size_t Start, size_t... I> INLINE Vector interleave(Vector a, Vector b, Sequence<I...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, (I % 2 ? kLanes : 0) + Start + I / 2 ...);
#else
  return __builtin_shuffle(a, b, Indices{static_cast<int>((I % 2 ? kLanes : 0) + Start + I / 2)...});
#endif
}

// Transposes a square of kLanes vectors: in log2(kLanes) rounds, each of which interleaves vector i with vector
// i + kLanes/2.
INLINE void transpose(Vector *rows) {
  typedef typename MakeSequence<kLanes>::Type All;
  UNROLL(4)
  for (size_t round = 1; round < kLanes; round *= 2) {
    Vector next[kLanes];
    UNROLL(16)
    for (size_t i = 0; i < kLanes / 2; i++) {
      next[2 * i] = interleave<0>(rows[i], rows[i + kLanes / 2], All());
      next[2 * i + 1] = interleave<kLanes / 2>(rows[i], rows[i + kLanes / 2], All());
    }
    UNROLL(16)
    for (size_t i = 0; i < kLanes; i++) rows[i] = next[i];
  }
}

// Transposes a block of 16×16 floats.
INLINE void transpose_block(const float *from, float *to) {
  for (size_t i = 0; i < kBlock; i += kLanes)
    for (size_t j = 0; j < kBlock; j += kLanes) {
      Vector rows[kLanes];
      UNROLL(16)
      for (size_t k = 0; k < kLanes; k++) rows[k] = load(from + (i + k) * kBlock + j);
      transpose(rows);
      UNROLL(16)
      for (size_t k = 0; k < kLanes; k++) store(to + (j + k) * kBlock + i, rows[k]);
    }
}

// Calls body(i) for every i below count, in parallel. What a call has written, also past the cache, is seen by all
// threads afterwards.
template <class Body> void parallel(const Threads &threads, size_t count, const Body &body) {
  const auto fenced = [&](size_t i) {
    body(i);
    fence();
  };
  if (count == 1) return fenced(0);
  if (count == 0) return;
  typedef decltype(fenced) Fenced;
  threads.run(
      threads.pool, count, [](void *data, size_t i) { (*static_cast<const Fenced *>(data))(i); },
      const_cast<void *>(static_cast<const void *>(&fenced)));
}

// Runs of consecutive items in which the share of a slot is taken: few, so that memory is read in long stretches, but
// enough that all threads end at about the same time.
constexpr size_t kRuns = 8;

// Calls body(slot, i) for every i below count; at no time do two calls have the same slot. There are
// smaller(threads.count, count) slots: each has its part of the scratch memory.
template <class Body> void parallel_slots(const Threads &threads, size_t count, const Body &body) {
  const size_t slots = smaller(threads.count, count), run = count ? ceil_div(count, slots * kRuns) : 1;
  size_t next = 0;
  parallel(threads, slots, [&](size_t slot) {
    for (size_t i; (i = __atomic_fetch_add(&next, run, __ATOMIC_RELAXED)) < count;)
      for (const size_t end = smaller(count, i + run); i < end; i++) body(slot, i);
  });
}

}  // namespace
