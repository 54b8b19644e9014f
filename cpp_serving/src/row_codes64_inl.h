// The codes of one row, for the kernels with AVX-512BW: keys of sixteen columns at a time, then
// each column's key against the thresholds of its cell, then missing values of 64.
#ifndef CPP_SERVING_SRC_ROW_CODES64_INL_H_
#define CPP_SERVING_SRC_ROW_CODES64_INL_H_

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "keys64_inl.h"
#include "quantise_inl.h"

namespace cpp_serving {
namespace {

constexpr std::uint32_t kColumnsAtOnce = 1024;
// Columns whose cells are found before one is looked up: a load does not wait then for a wider
// store to be written.
constexpr std::uint32_t kBehind = 32;
constexpr auto kThresholds = static_cast<__mmask16>((1u << kMostInCell) - 1);

inline __attribute__((always_inline)) __m512 Values16(const RowLayout& of_row,
                                                      std::uint32_t num_columns, const float* row,
                                                      std::uint32_t begin) {
  const std::uint32_t left = num_columns - begin;
  const std::uint32_t count = left < 16 ? left : 16;
  if (begin + count > of_row.in_order) {
    return _mm512_i32gather_ps(_mm512_loadu_si512(of_row.features + begin), row, 4);
  }
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), row + begin);
}

// Cells of sixteen columns from `begin` on.
inline __attribute__((always_inline)) __m512i Cells16(const RowLayout& of_row, __m512 x,
                                                      std::uint32_t begin) {
  const __m512i first = _mm512_loadu_si512(of_row.firsts + begin);
  const __m512i linear =
      LinearKeys(x, _mm512_loadu_ps(of_row.scales + begin), _mm512_loadu_ps(of_row.lowests + begin),
                 _mm512_loadu_ps(of_row.highests + begin), first);
  const __m512i bounded =
      _mm512_min_epi32(_mm512_max_epi32(linear, _mm512_setzero_si512()), _mm512_set1_epi32(0xFFFF));
  const __m512i bits = BitKeys(x, first, _mm512_loadu_si512(of_row.shifts + begin));
  const auto is_linear =
      static_cast<__mmask16>(of_row.linears[begin / 8] | of_row.linears[begin / 8 + 1] << 8);
  const __m512i keys = _mm512_mask_blend_epi32(is_linear, bits, bounded);
  const __m512i cells = _mm512_srlv_epi32(keys, _mm512_loadu_si512(of_row.cell_shifts + begin));
  return _mm512_add_epi32(cells, _mm512_loadu_si512(of_row.first_cells + begin));
}

void QuantiseColumns64(const Layout& layout, const RowLayout& of_row, const float* row,
                       std::uint8_t* codes) {
  alignas(64) std::uint16_t missing[kColumnsAtOnce / 16];
  alignas(64) float values[kColumnsAtOnce];
  alignas(64) std::uint32_t at[kColumnsAtOnce];
  const auto look_up = [&](std::uint32_t begin, std::uint32_t end) {
    for (std::uint32_t i = begin; i < end; ++i) {
      const RowCell& cell = of_row.cells[at[i]];
      const __mmask16 reached = _mm512_mask_cmp_ps_mask(
          kThresholds, _mm512_set1_ps(values[i]), _mm512_load_ps(cell.thresholds), _CMP_GE_OQ);
      codes[i] = static_cast<std::uint8_t>(cell.below + __builtin_popcount(reached));
    }
  };
  const std::uint32_t num_columns = layout.num_columns;
  for (std::uint32_t begin = 0; begin < num_columns; begin += 16) {
    const __m512 x = Values16(of_row, num_columns, row, begin);
    _mm512_store_ps(values + begin, x);
    _mm512_store_si512(at + begin, Cells16(of_row, x, begin));
    missing[begin / 16] = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    if (begin >= kBehind) look_up(begin - kBehind, begin - kBehind + 16);
  }
  const std::uint32_t begun = (num_columns + 15) / 16 * 16;
  look_up(begun < kBehind ? 0 : begun - kBehind, num_columns);
  for (std::uint32_t i = 0; i < of_row.num_crowded; ++i) {
    const std::uint32_t own = of_row.crowded[i];
    codes[own] = Code(layout, layout.columns[own], row[layout.columns[own].feature]);
  }
  for (std::uint32_t begin = 0; begin < of_row.padded; begin += 64) {
    const __m512i code = _mm512_loadu_si512(codes + begin);
    std::uint64_t absent;
    __builtin_memcpy(&absent, missing + begin / 16, sizeof absent);
    _mm512_storeu_si512(codes + begin, _mm512_maskz_mov_epi8(~absent, code));
    _mm512_storeu_si512(codes + of_row.padded + begin,
                        _mm512_mask_mov_epi8(code, absent, _mm512_set1_epi8(-1)));
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

#endif  // CPP_SERVING_SRC_ROW_CODES64_INL_H_
