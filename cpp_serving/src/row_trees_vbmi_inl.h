// One row through trees of at most six levels, with VBMI: 64 nodes are tested at once against codes
// looked up in registers: the upper parts of eight trees, and later their lower ones.
#ifndef CPP_SERVING_SRC_ROW_TREES_VBMI_INL_H_
#define CPP_SERVING_SRC_ROW_TREES_VBMI_INL_H_

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace cpp_serving {
namespace {

// [tests of a part, a bit a node in heap order, 1 being right]: which of its eight ends is reached.
struct PartEnds {
  std::uint8_t of[128];
  constexpr PartEnds() : of() {
    for (int tests = 0; tests < 128; ++tests) {
      int node = 0;
      for (int level = 0; level < 3; ++level) node = 2 * node + 1 + (tests >> node & 1);
      of[tests] = static_cast<std::uint8_t>(node - 7);
    }
  }
};
alignas(64) constexpr PartEnds kPartEnds;

struct RowCodes {
  explicit RowCodes(const std::uint8_t* codes)
      : of{_mm512_loadu_si512(codes), _mm512_loadu_si512(codes + 64),
           _mm512_loadu_si512(codes + 128), _mm512_loadu_si512(codes + 192)} {}
  // A bit a node: whether the row goes right.
  std::uint64_t Right(__m512i places, __m512i bounds) const {
    const __m512i tested = _mm512_mask_blend_epi8(_mm512_movepi8_mask(places),
                                                  _mm512_permutex2var_epi8(of[0], places, of[1]),
                                                  _mm512_permutex2var_epi8(of[2], places, of[3]));
    return _mm512_cmpgt_epu8_mask(tested, bounds);
  }
  __m512i of[4];
};

inline __attribute__((always_inline)) __m256i Two(const std::uint8_t* a, const std::uint8_t* b) {
  const __m256i low = _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a)));
  return _mm256_inserti128_si256(low, _mm_loadu_si128(reinterpret_cast<const __m128i*>(b)), 1);
}

// Trees whose steps are taken one after the other, so that each step's many loads overlap.
constexpr std::size_t kAtOnce = 512;

// Of 64 trees: from the bits of their parts' tests to the ends that are reached, a byte a tree.
inline __attribute__((always_inline)) __m512i EndsOf(const std::uint64_t* tests) {
  return _mm512_permutex2var_epi8(_mm512_load_si512(kPartEnds.of), _mm512_loadu_si512(tests),
                                  _mm512_load_si512(kPartEnds.of + 64));
}

struct RowWays {
  std::uint64_t tests[kAtOnce / 8];         // Eight trees' parts, a byte each.
  alignas(64) std::uint16_t line[kAtOnce];  // From the tree's first line, in bytes.
  alignas(64) std::uint8_t leaf[kAtOnce];
};

// The ways of at most kAtOnce trees from `tree` on.
inline __attribute__((always_inline)) void FindWays(const RowLayout& of_row, const RowCodes& own,
                                                    std::size_t tree, std::size_t count,
                                                    RowWays* ways) {
  const std::size_t groups = (count + kRowGroup - 1) / kRowGroup;
  const std::uint8_t* top = of_row.tops + tree / kRowGroup * kRowTop;
  for (std::size_t group = 0; group < groups; ++group, top += kRowTop) {
    ways->tests[group] = own.Right(_mm512_loadu_si512(top), _mm512_loadu_si512(top + kRowTop / 2));
  }
  for (std::size_t i = 0; i < count; i += 64) {
    const __m512i part = EndsOf(ways->tests + i / 8);
    const __m512i low = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(part));
    const __m512i high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(part, 1));
    _mm512_store_si512(ways->line + i, _mm512_slli_epi16(low, 6));
    _mm512_store_si512(ways->line + i + 32, _mm512_slli_epi16(high, 6));
  }
  const __m512i evens = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
  const __m512i odds = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
  const std::uint8_t* lines = of_row.lines + tree * kRowTree;
  for (std::size_t group = 0; group < groups; ++group, lines += kRowGroup * kRowTree) {
    const std::uint16_t* line = ways->line + group * kRowGroup;
    const auto at = [&](std::size_t i) { return lines + i * kRowTree + line[i]; };
    const __m512i a =
        _mm512_inserti64x4(_mm512_castsi256_si512(Two(at(0), at(1))), Two(at(2), at(3)), 1);
    const __m512i b =
        _mm512_inserti64x4(_mm512_castsi256_si512(Two(at(4), at(5))), Two(at(6), at(7)), 1);
    ways->tests[group] =
        own.Right(_mm512_permutex2var_epi64(a, evens, b), _mm512_permutex2var_epi64(a, odds, b));
  }
  for (std::size_t i = 0; i < count; i += 64) {
    _mm512_store_si512(ways->leaf + i, EndsOf(ways->tests + i / 8));
  }
}

std::int64_t RowSum(const RowLayout& of_row, const std::uint8_t* codes) {
  const RowCodes own(codes);
  std::int64_t sum = 0;
  RowWays ways;
  for (std::size_t tree = 0; tree < of_row.num_trees; tree += kAtOnce) {
    const std::size_t left = of_row.num_trees - tree;
    const std::size_t count = left < kAtOnce ? left : kAtOnce;
    FindWays(of_row, own, tree, count, &ways);
    const std::uint8_t* lines = of_row.lines + tree * kRowTree;
    for (std::size_t i = 0; i < count; ++i, lines += kRowTree) {
      // The weight is the upper 48 of 64 bits that start two bytes before it.
      std::int64_t word;
      std::memcpy(&word, lines + ways.line[i] + 14 + std::size_t{ways.leaf[i]} * kRowWeight,
                  sizeof word);
      // One by one: putting words of eight places into a register costs more than it saves.
      asm volatile("" : "+r"(word));
      sum += word >> 16;
    }
  }
  return sum;
}

void RowEnds(const RowLayout& of_row, const std::uint8_t* codes, std::uint8_t* ends) {
  const RowCodes own(codes);
  RowWays ways;
  for (std::size_t tree = 0; tree < of_row.num_trees; tree += kAtOnce) {
    const std::size_t left = of_row.num_trees - tree;
    const std::size_t count = left < kAtOnce ? left : kAtOnce;
    FindWays(of_row, own, tree, count, &ways);
    for (std::size_t i = 0; i < count; ++i) {
      ends[tree + i] = static_cast<std::uint8_t>(ways.line[i] / kRowLine * 8 + ways.leaf[i]);
    }
  }
}

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_ROW_TREES_VBMI_INL_H_
