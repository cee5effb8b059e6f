// Which kernels there are, and which of them this processor can run.
#pragma once
#include <string.h>

#if defined(LBFGS_X86)
#include <cpuid.h>
#endif

#include "kernels.hpp"

#if defined(LBFGS_X86)
extern const Kernels kernels_avx512, kernels_avx2;
#endif
extern const Kernels kernels_baseline;

namespace {

#if defined(LBFGS_X86)
// Returns whether processor and operating system have AVX2, or AVX-512, with all that x86-64-v3, or v4, has.
//
// Uses the instruction CPUID: __builtin_cpu_supports needs a runtime library that not every compiler links.
bool has_avx(bool wide) {
  const auto bit = [](unsigned value, int i) { return (value >> i & 1) != 0; };
  unsigned a, b, c, d, low, high;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
  // FMA, MOVBE, OSXSAVE, AVX, F16C. XGETBV tells which registers the system saves.
  if (!(bit(c, 12) && bit(c, 22) && bit(c, 27) && bit(c, 28) && bit(c, 29))) return false;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !bit(c, 5)) return false;  // LZCNT
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool avx2 = (low & 0x6) == 0x6 && bit(b, 3) && bit(b, 5) && bit(b, 8);  // BMI1, AVX2, BMI2
  if (!wide) return avx2;
  // AVX-512 F, DQ, CD, BW, VL
  return avx2 && (low & 0xe0) == 0xe0 && bit(b, 16) && bit(b, 17) && bit(b, 28) && bit(b, 30) && bit(b, 31);
}
#endif

struct InstructionSet {
  const Kernels *kernels;
  bool available;
};

constexpr size_t kSets = 3;

// The instruction sets of this library, the best first, and whether this processor has them.
const InstructionSet *instruction_sets() {
  static const InstructionSet sets[kSets] = {
#if defined(LBFGS_X86)
      {&kernels_avx512, has_avx(true)},
      {&kernels_avx2, has_avx(false)},
#endif
      {&kernels_baseline, true},
  };
  return sets;
}

// The kernels in use; null stands for the best of this processor.
const Kernels *wanted_kernels;

const Kernels &chosen_kernels() {
  if (wanted_kernels) return *wanted_kernels;
  const InstructionSet *sets = instruction_sets();
  size_t i = 0;
  while (!sets[i].available) i++;
  return *sets[i].kernels;
}

}  // namespace
