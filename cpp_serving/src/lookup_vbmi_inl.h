// Tables of up to 256 bytes, looked up in registers.
#ifndef CPP_SERVING_SRC_LOOKUP_VBMI_INL_H_
#define CPP_SERVING_SRC_LOOKUP_VBMI_INL_H_

#include <immintrin.h>

#include <cstdint>

namespace cpp_serving {
namespace {

inline __attribute__((always_inline)) __m512i Lookup64(const std::uint8_t* table, __m512i at) {
  return _mm512_permutexvar_epi8(at, _mm512_loadu_si512(table));
}

inline __attribute__((always_inline)) __m512i Lookup128(const std::uint8_t* table, __m512i at) {
  return _mm512_permutex2var_epi8(_mm512_loadu_si512(table), at, _mm512_loadu_si512(table + 64));
}

inline __attribute__((always_inline)) __m512i Lookup256(const std::uint8_t* table, __m512i at,
                                                        __mmask64 upper) {
  return _mm512_mask_blend_epi8(upper, Lookup128(table, at), Lookup128(table + 128, at));
}

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_LOOKUP_VBMI_INL_H_
