// 64 rows a vector, for the kernels with AVX-512BW.
#ifndef CPP_SERVING_SRC_ROWS64_INL_H_
#define CPP_SERVING_SRC_ROWS64_INL_H_

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "quantise_inl.h"
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

// The keys of 16 columns, or of 16 values of one: each linear or by bits.
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

// From cells to codes where a value is compared `kRounds` times; each loop has a length of its own,
// that the processor can foresee.
template <std::uint32_t kRounds>
inline void CodesFromCells(const Layout& layout, const RowLayout& of_row, const float* row,
                           const std::uint32_t* cells, std::uint8_t* codes) {
  const std::uint32_t end = of_row.rounds_end[kRounds];
  for (std::uint32_t i = kRounds == 0 ? 0 : of_row.rounds_end[kRounds - 1]; i < end; ++i) {
    const RowColumn own = of_row.by_rounds[i];
    const float x = row[own.feature];
    // Past the last threshold stands NaN, which no value is above; a missing value is above none.
    const float* thresholds = layout.thresholds + own.thresholds;
    std::size_t code = layout.fine[cells[own.column]];
    for (std::uint32_t round = 0; round < kRounds; ++round) code += x >= thresholds[code] ? 1 : 0;
    codes[own.column] = static_cast<std::uint8_t>(code);
  }
  if constexpr (kRounds < kMaxRounds) {
    CodesFromCells<kRounds + 1>(layout, of_row, row, cells, codes);
  }
}

constexpr std::uint32_t kColumnsAtOnce = 1024;

// Cells of sixteen columns at a time, codes of one, missing values of sixteen.
void QuantiseColumns64(const Layout& layout, const RowLayout& of_row, const float* row,
                       std::uint8_t* codes) {
  alignas(64) std::uint32_t cells[kColumnsAtOnce];
  alignas(64) std::uint16_t missing[kColumnsAtOnce / 16];
  for (std::uint32_t begin = 0; begin < of_row.padded; begin += 16) {
    const __m512 x = begin + 16 <= of_row.in_order
                         ? _mm512_loadu_ps(row + begin)
                         : _mm512_i32gather_ps(_mm512_loadu_si512(of_row.features + begin), row, 4);
    const __m512i first = _mm512_loadu_si512(of_row.firsts + begin);
    const __m512i linear = LinearKeys(x, _mm512_loadu_ps(of_row.scales + begin),
                                      _mm512_loadu_ps(of_row.lowests + begin),
                                      _mm512_loadu_ps(of_row.highests + begin), first);
    const __m512i bounded = _mm512_min_epi32(_mm512_max_epi32(linear, _mm512_setzero_si512()),
                                             _mm512_set1_epi32(0xFFFF));
    const __m512i bits = BitKeys(x, first, _mm512_loadu_si512(of_row.shifts + begin));
    const auto is_linear =
        static_cast<__mmask16>(of_row.linears[begin / 8] | of_row.linears[begin / 8 + 1] << 8);
    const __m512i keys = _mm512_mask_blend_epi32(is_linear, bits, bounded);
    _mm512_store_si512(cells + begin, _mm512_add_epi32(_mm512_srli_epi32(keys, 6),
                                                       _mm512_loadu_si512(of_row.fines + begin)));
    missing[begin / 16] = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  }
  CodesFromCells<0>(layout, of_row, row, cells, codes);
  for (std::uint32_t i = of_row.rounds_end[kMaxRounds]; i < layout.num_columns; ++i) {
    const std::uint32_t at = of_row.by_rounds[i].column;
    codes[at] = ExactCode(layout, layout.columns[at], row[of_row.by_rounds[i].feature]);
  }
  for (std::uint32_t begin = 0; begin < of_row.padded; begin += 16) {
    const __m128i code = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + begin));
    const __mmask16 absent = missing[begin / 16];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + begin),
                     _mm_maskz_mov_epi8(static_cast<__mmask16>(~absent), code));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + of_row.padded + begin),
                     _mm_mask_mov_epi8(code, absent, _mm_set1_epi8(-1)));
  }
}

[[maybe_unused]] void QuantiseRow64(const Layout& layout, const RowLayout& of_row, const float* row,
                                    std::uint8_t* codes) {
  if (of_row.padded > kColumnsAtOnce) {
    QuantiseRow(layout, of_row, row, codes);
  } else {
    QuantiseColumns64(layout, of_row, row, codes);
  }
}

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_ROWS64_INL_H_
