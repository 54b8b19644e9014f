// 64 rows a vector, for the kernels with AVX-512BW.
#ifndef CPP_SERVING_SRC_ROWS64_INL_H_
#define CPP_SERVING_SRC_ROWS64_INL_H_

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "units_inl.h"

namespace cpp_serving {
namespace {

struct Rows64 {
  using Vector = __m512i;
  static constexpr std::size_t kWidth = 64;
  static Vector Load(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
  static void Store(std::uint8_t* p, Vector v) { _mm512_storeu_si512(p, v); }
  static Vector Same(std::uint8_t byte) { return _mm512_set1_epi8(static_cast<char>(byte)); }
  static Vector Add(Vector a, Vector b) { return _mm512_add_epi8(a, b); }
  static __mmask64 Right(const std::uint8_t* codes, const std::uint32_t* bound) {
    // Broadcast by words: a byte's broadcast from memory costs a shuffle on top.
    return _mm512_cmpgt_epu8_mask(Load(codes), _mm512_set1_epi32(static_cast<int>(*bound)));
  }
  static Vector Pick(__mmask64 right, Vector on_left, Vector on_right) {
    return _mm512_mask_blend_epi8(right, on_left, on_right);
  }
};

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_ROWS64_INL_H_
