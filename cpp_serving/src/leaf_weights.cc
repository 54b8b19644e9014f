#include "leaf_weights.h"

#include <algorithm>
#include <cmath>

namespace cpp_serving {
namespace {

constexpr int kSumBits = 53;  // So that every sum is a double.
constexpr int kNoBit = 1000;  // Above any bit of a float32.

// The exponent of the lowest bit that is set in a weight other than zero.
int LowestBit(float weight) {
  int exponent;
  const double fraction = std::frexp(static_cast<double>(weight), &exponent);
  auto mantissa = static_cast<std::int64_t>(std::ldexp(std::fabs(fraction), 24));
  int zeros = 0;
  for (; (mantissa & 1) == 0; mantissa >>= 1) ++zeros;
  return exponent - 24 + zeros;
}

}  // namespace

LeafWeights::LeafWeights(Span<float> weights, Span<std::uint32_t> leaf_offsets,
                         std::uint32_t num_counted)
    : fixed(weights.size, 0) {
  double largest_sum = 0.0;
  int lowest_bit = kNoBit;
  for (std::uint32_t tree = 0; tree < num_counted; ++tree) {
    double largest = 0.0;
    for (std::uint32_t leaf = leaf_offsets[tree]; leaf < leaf_offsets[tree + 1]; ++leaf) {
      if (weights[leaf] == 0.0f) continue;
      largest = std::max(largest, std::fabs(static_cast<double>(weights[leaf])));
      lowest_bit = std::min(lowest_bit, LowestBit(weights[leaf]));
    }
    largest_sum += largest;
  }
  int exponent = 0;
  // largest_sum < 2^exponent, also when every weight is rounded up.
  std::frexp(largest_sum * (1 + 0x1p-30), &exponent);
  const int k = largest_sum == 0.0 ? 0 : std::min(-lowest_bit, kSumBits - exponent);
  unit = std::ldexp(1.0, -k);
  for (std::uint32_t leaf = 0; leaf < leaf_offsets[num_counted]; ++leaf) {
    fixed[leaf] = std::llrint(std::ldexp(static_cast<double>(weights[leaf]), k));
  }
}

}  // namespace cpp_serving
