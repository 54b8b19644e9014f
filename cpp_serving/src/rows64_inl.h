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
  struct Codes {
    const std::uint8_t* own;
  };
  static Vector Load(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
  static void Store(std::uint8_t* p, Vector v) { _mm512_storeu_si512(p, v); }
  static void Put(std::uint8_t* ids, Vector v) { Store(ids, v); }
  static Vector Same(std::uint8_t byte) { return _mm512_set1_epi8(static_cast<char>(byte)); }
  static Vector Add(Vector a, Vector b) { return _mm512_add_epi8(a, b); }
  // Broadcast by words: a byte's broadcast from memory costs a shuffle on top.
  static __mmask64 Right(const Codes& codes, std::uint32_t offset, const std::uint32_t* bound) {
    return _mm512_cmpgt_epu8_mask(Load(codes.own + offset),
                                  _mm512_set1_epi32(static_cast<int>(*bound)));
  }
  static Vector Pick(__mmask64 right, Vector on_left, Vector on_right) {
    return _mm512_mask_blend_epi8(right, on_left, on_right);
  }
};

// Two blocks at once: a node's bound and place are read once for both.
struct TwiceRows64 {
  struct Vector {
    __m512i one;
    __m512i two;
  };
  struct Right2 {
    __mmask64 one;
    __mmask64 two;
  };
  static constexpr std::size_t kWidth = 128;
  struct Codes {
    const std::uint8_t* one;
    const std::uint8_t* two;
  };
  static Vector Load(const std::uint8_t* p) {
    return {_mm512_loadu_si512(p), _mm512_loadu_si512(p + 64)};
  }
  static void Store(std::uint8_t* p, const Vector& v) {
    _mm512_storeu_si512(p, v.one);
    _mm512_storeu_si512(p + 64, v.two);
  }
  static void Put(std::uint8_t* ids, const Vector& v) {
    _mm512_storeu_si512(ids, v.one);
    _mm512_storeu_si512(ids + kGroup * kBlock, v.two);
  }
  static Vector Same(std::uint8_t byte) {
    const __m512i same = Rows64::Same(byte);
    return {same, same};
  }
  static Vector Add(const Vector& a, const Vector& b) {
    return {_mm512_add_epi8(a.one, b.one), _mm512_add_epi8(a.two, b.two)};
  }
  static Right2 Right(const Codes& codes, std::uint32_t offset, const std::uint32_t* bound) {
    const __m512i bounds = _mm512_set1_epi32(static_cast<int>(*bound));
    return {_mm512_cmpgt_epu8_mask(_mm512_loadu_si512(codes.one + offset), bounds),
            _mm512_cmpgt_epu8_mask(_mm512_loadu_si512(codes.two + offset), bounds)};
  }
  static Vector Pick(const Right2& right, const Vector& on_left, const Vector& on_right) {
    return {_mm512_mask_blend_epi8(right.one, on_left.one, on_right.one),
            _mm512_mask_blend_epi8(right.two, on_left.two, on_right.two)};
  }
};

void EvaluateRows64(const Layout& layout, std::uint32_t begin, std::uint32_t end,
                    const std::uint8_t* codes, const std::uint8_t* others, std::uint8_t* ids) {
  if (others != nullptr) {
    EvaluateRows<TwiceRows64>(layout, begin, end, {codes, others}, ids);
  } else {
    EvaluateRows<Rows64>(layout, begin, end, {codes}, ids);
  }
}

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_ROWS64_INL_H_
