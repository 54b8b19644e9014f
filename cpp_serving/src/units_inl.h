// The evaluation of all nodes for all rows of a block, over any vector of bytes. `V` has:
//   Vector, kWidth (bytes), Codes (where a block's are, or those of two blocks), Load(p),
//   Store(p, v), Put(ids, v), Same(byte), Add(a, b), Right(codes, offset, bound),
//   Pick(right, on_left, on_right)
// Everything is static: each kernel's file has its own, compiled for its own instruction set.
#ifndef CPP_SERVING_SRC_UNITS_INL_H_
#define CPP_SERVING_SRC_UNITS_INL_H_

#include <cstddef>
#include <cstdint>

#include "kernels.h"

namespace cpp_serving {
namespace {

// Node `n` of a unit at `nodes`, for the rows at `codes`.
template <typename V>
inline __attribute__((always_inline)) auto NodeGoesRight(const std::uint32_t* nodes, int n,
                                                         const typename V::Codes& codes) {
  return V::Right(codes, nodes[2 * n + 1], nodes + 2 * n);
}

// The result of a unit of `kHeight` levels, ends(i) being the vector at its i-th end.
template <typename V, int kHeight, typename Ends>
inline __attribute__((always_inline)) typename V::Vector Unit(const std::uint32_t* nodes,
                                                              const typename V::Codes& codes,
                                                              Ends ends) {
  if constexpr (kHeight == 1) {
    return V::Pick(NodeGoesRight<V>(nodes, 0, codes), ends(0), ends(1));
  } else if constexpr (kHeight == 2) {
    const auto left = V::Pick(NodeGoesRight<V>(nodes, 1, codes), ends(0), ends(1));
    const auto right = V::Pick(NodeGoesRight<V>(nodes, 2, codes), ends(2), ends(3));
    return V::Pick(NodeGoesRight<V>(nodes, 0, codes), left, right);
  } else {
    const auto a = V::Pick(NodeGoesRight<V>(nodes, 3, codes), ends(0), ends(1));
    const auto b = V::Pick(NodeGoesRight<V>(nodes, 4, codes), ends(2), ends(3));
    const auto left = V::Pick(NodeGoesRight<V>(nodes, 1, codes), a, b);
    const auto c = V::Pick(NodeGoesRight<V>(nodes, 5, codes), ends(4), ends(5));
    const auto d = V::Pick(NodeGoesRight<V>(nodes, 6, codes), ends(6), ends(7));
    const auto right = V::Pick(NodeGoesRight<V>(nodes, 2, codes), c, d);
    return V::Pick(NodeGoesRight<V>(nodes, 0, codes), left, right);
  }
}

template <typename V>
inline __attribute__((always_inline)) void EvaluateRows(const Layout& layout, std::uint32_t begin,
                                                        std::uint32_t end,
                                                        const typename V::Codes& codes,
                                                        std::uint8_t* ids) {
  alignas(64) std::uint8_t places[256 * V::kWidth];
  typename V::Vector same[8];
  for (int i = 0; i < 8; ++i) same[i] = V::Same(static_cast<std::uint8_t>(i));
  for (std::uint32_t slot = begin; slot < end; ++slot) {
    const std::uint32_t* unit = layout.program + layout.program_at[slot];
    typename V::Vector result = same[0];
    for (std::uint32_t left = layout.num_units[slot]; left > 0; --left) {
      const std::uint32_t head = unit[0];
      const std::uint32_t* nodes = unit + 1;
      const auto first = static_cast<std::uint8_t>(head >> 16);
      const auto leaf = [&](int i) { return same[i]; };
      const auto inner = [&](const std::uint32_t* inputs) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(inputs);
        return [&places, bytes](int i) { return V::Load(places + bytes[i] * V::kWidth); };
      };
      switch (head & 0xFF) {
        case 0:
          result = V::Same(first);
          unit = nodes;
          break;
        case 1:
          result = V::Add(Unit<V, 1>(nodes, codes, leaf), V::Same(first));
          unit = nodes + 2;
          break;
        case 2:
          result = V::Add(Unit<V, 2>(nodes, codes, leaf), V::Same(first));
          unit = nodes + 6;
          break;
        case 3:
          result = V::Add(Unit<V, 3>(nodes, codes, leaf), V::Same(first));
          unit = nodes + 14;
          break;
        case 4:
          result = Unit<V, 1>(nodes, codes, inner(nodes + 2));
          unit = nodes + 3;
          break;
        case 5:
          result = Unit<V, 2>(nodes, codes, inner(nodes + 6));
          unit = nodes + 7;
          break;
        default:
          result = Unit<V, 3>(nodes, codes, inner(nodes + 14));
          unit = nodes + 16;
          break;
      }
      V::Store(places + ((head >> 8) & 0xFF) * V::kWidth, result);
    }
    V::Put(ids + (slot - begin) * kBlock, result);
  }
}

[[maybe_unused]] void AccumulateRows(const Layout& layout, std::uint32_t begin, std::uint32_t end,
                                     const std::uint8_t* ids, std::int64_t* sums) {
  for (std::uint32_t slot = begin; slot < end; ++slot) {
    const std::int64_t* weights = layout.weights + std::size_t{slot} * 256;
    const std::uint8_t* of_slot = ids + (slot - begin) * kBlock;
    for (std::size_t row = 0; row < kBlock; ++row) sums[row] += weights[of_slot[row]];
  }
}

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_UNITS_INL_H_
