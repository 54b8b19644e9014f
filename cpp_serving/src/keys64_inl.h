// The keys of 16 columns, or of 16 values of one: each linear or by bits.
#ifndef CPP_SERVING_SRC_KEYS64_INL_H_
#define CPP_SERVING_SRC_KEYS64_INL_H_

#include <immintrin.h>

namespace cpp_serving {
namespace {

inline __attribute__((always_inline)) __m512i LinearKeys(__m512 x, __m512 scale, __m512 lowest,
                                                         __m512 highest, __m512i first) {
  const __m512 y = _mm512_min_ps(_mm512_max_ps(_mm512_mul_ps(x, scale), lowest), highest);
  const __m512i whole = _mm512_cvt_roundps_epi32(y, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  return _mm512_sub_epi32(whole, first);
}

inline __attribute__((always_inline)) __m512i BitKeys(__m512 x, __m512i first, __m512i shift) {
  const __m512i bits = _mm512_castps_si512(_mm512_add_ps(x, _mm512_setzero_ps()));
  const __m512i flip =
      _mm512_or_si512(_mm512_srai_epi32(bits, 31), _mm512_set1_epi32(static_cast<int>(1u << 31)));
  const __m512i above =
      _mm512_sub_epi32(_mm512_max_epu32(_mm512_xor_si512(bits, flip), first), first);
  return _mm512_min_epu32(_mm512_srlv_epi32(above, shift), _mm512_set1_epi32(0xFFFF));
}

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_KEYS64_INL_H_
