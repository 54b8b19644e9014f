// The bits of sliced trees in registers of 512, for the kernels with AVX-512BW.
#ifndef CPP_SERVING_SRC_SLICES512_INL_H_
#define CPP_SERVING_SRC_SLICES512_INL_H_

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "slices_inl.h"

namespace cpp_serving {
namespace {

struct Bits512 {
  using Vector = __m512i;
  static constexpr std::size_t kBlocks = kSpan;
  static Vector Load(const std::uint64_t* words) { return _mm512_loadu_si512(words); }
  static Vector Choose(Vector right, Vector on_right, Vector on_left) {
    return _mm512_ternarylogic_epi64(right, on_right, on_left, 0xCA);
  }
};

// Row r of block b is bit r of word b.
[[maybe_unused]] void CompareSpan(const Layout& layout, const TestGroup& group,
                                  const std::uint8_t* codes, std::size_t block_bytes,
                                  std::uint64_t* bits) {
  for (std::uint32_t p = group.first_plane; p < group.end_plane; ++p) {
    const TestedPlane& plane = layout.tested_planes[p];
    const std::uint8_t* own = codes + std::size_t{plane.plane} * kBlock;
    __m512i of_block[kSpan];
    for (std::size_t b = 0; b < kSpan; ++b) {
      of_block[b] = _mm512_loadu_si512(own + b * block_bytes);
    }
    const std::uint8_t* bounds = layout.bounds + plane.bounds;
    std::uint64_t* out = bits + std::size_t{plane.first_test} * kSpan;
    for (std::uint32_t t = 0; t < plane.num_tests; ++t, out += kSpan) {
      const __m512i bound = _mm512_set1_epi8(static_cast<char>(bounds[t]));
      for (std::size_t b = 0; b < kSpan; ++b) {
        out[b] = _mm512_cmpgt_epu8_mask(of_block[b], bound);
      }
    }
  }
}

[[maybe_unused]] void CompareOne(const Layout& layout, const TestGroup& group,
                                 const std::uint8_t* codes, std::size_t /*block_bytes*/,
                                 std::uint64_t* bits) {
  for (std::uint32_t p = group.first_plane; p < group.end_plane; ++p) {
    const TestedPlane& plane = layout.tested_planes[p];
    const __m512i own = _mm512_loadu_si512(codes + std::size_t{plane.plane} * kBlock);
    const std::uint8_t* bounds = layout.bounds + plane.bounds;
    for (std::uint32_t t = 0; t < plane.num_tests; ++t) {
      const __m512i bound = _mm512_set1_epi8(static_cast<char>(bounds[t]));
      bits[plane.first_test + t] = _mm512_cmpgt_epu8_mask(own, bound);
    }
  }
}

// The ids' bits as masks, block by block.
inline __attribute__((always_inline)) __m512i IdsOf(const std::uint64_t* words, int depth) {
  __m512i ids = _mm512_setzero_si512();
  for (int i = 0; i < depth; ++i) {
    const __m512i bit = _mm512_set1_epi8(static_cast<char>(1 << (depth - 1 - i)));
    ids = _mm512_or_si512(ids,
                          _mm512_maskz_mov_epi8(words[static_cast<std::size_t>(i) * kSpan], bit));
  }
  return ids;
}

struct MaskedSpan {
  template <int kDepth>
  static void Slice(const std::uint16_t* nodes, const std::uint64_t* bits, std::uint8_t* ids) {
    __m512i id[kMaxSliceDepth];
    IdBits<Bits512, kDepth>(nodes, bits, id);
    alignas(64) std::uint64_t words[kMaxSliceDepth][kSpan];
    for (int i = 0; i < kDepth; ++i) _mm512_store_si512(words[i], id[i]);
    for (std::size_t b = 0; b < kSpan; ++b) {
      _mm512_storeu_si512(ids + b * kGroup * kBlock, IdsOf(words[0] + b, kDepth));
    }
  }
};

// One word, in the lower half of a register.
struct Bits64 {
  using Vector = __m128i;
  static constexpr std::size_t kBlocks = 1;
  static Vector Load(const std::uint64_t* words) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(words));
  }
  static Vector Choose(Vector right, Vector on_right, Vector on_left) {
    return _mm_ternarylogic_epi64(right, on_right, on_left, 0xCA);
  }
};

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_SLICES512_INL_H_
