// One row through trees of at most eight levels, with VBMI: 64 nodes, eight trees' parts of three
// levels, are tested at once against codes looked up in registers.
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

// The codes of kPairs * 128 places.
template <int kPairs>
struct RowCodes {
  explicit RowCodes(const std::uint8_t* codes) {
    for (int i = 0; i < 2 * kPairs; ++i) of[i] = _mm512_loadu_si512(codes + 64 * i);
  }
  __m512i Pair(int pair, __m512i places) const {
    return _mm512_permutex2var_epi8(of[2 * pair], places, of[2 * pair + 1]);
  }
  __m512i Four(int pair, __m512i places, __mmask64 bit7) const {
    if (pair + 1 == kPairs) return Pair(pair, places);
    return _mm512_mask_blend_epi8(bit7, Pair(pair, places), Pair(pair + 1, places));
  }
  // A bit a node: whether the row goes right.
  inline __attribute__((always_inline)) std::uint64_t Right(__m512i places, __m512i bounds) const {
    const __mmask64 bit7 = _mm512_movepi8_mask(places);
    __m512i tested = Four(0, places, bit7);
    if constexpr (kPairs > 2) {
      // Bit i of eight bytes' last to the highest bit of their byte i.
      const __m512i spread = _mm512_set1_epi64(0x3837363534333231);
      const __mmask64 bit8 = _mm512_movepi8_mask(_mm512_multishift_epi64_epi8(spread, places));
      tested = _mm512_mask_blend_epi8(bit8, tested, Four(2, places, bit7));
      if constexpr (kPairs > 4) {
        const __mmask64 bit9 = _mm512_movepi8_mask(_mm512_multishift_epi64_epi8(spread, bounds));
        __m512i above = Four(4, places, bit7);
        if constexpr (kPairs > 6) {
          above = _mm512_mask_blend_epi8(bit8, above, Four(6, places, bit7));
        }
        tested = _mm512_mask_blend_epi8(bit9, tested, above);
      }
    }
    return _mm512_cmpgt_epu8_mask(tested, bounds);
  }
  __m512i of[2 * kPairs];
};

// A weight is read as the upper 48 of 64 bits.
constexpr std::size_t kBeforeWeights = kRowWeights - 2;

// Trees whose steps are taken one after the other, so that each step's many loads overlap.
constexpr std::size_t kAtOnce = 512;

struct RowWays {
  std::uint64_t tests[kAtOnce / 8];  // Eight trees' parts, a byte each.
  // In bytes from the tree's first middle part; then from its first line, of the line; and in the
  // end of two bytes before the weight.
  alignas(64) std::uint16_t at[kAtOnce];
};

// Calls use(tree, ends), for 32 trees each, with the ends that their parts' tests come to.
template <typename Use>
inline __attribute__((always_inline)) void ForEnds(const std::uint64_t* tests, std::size_t count,
                                                   Use use) {
  for (std::size_t i = 0; i < count; i += 64) {
    const __m512i ends =
        _mm512_permutex2var_epi8(_mm512_load_si512(kPartEnds.of), _mm512_loadu_si512(tests + i / 8),
                                 _mm512_load_si512(kPartEnds.of + 64));
    use(i, _mm512_cvtepu8_epi16(_mm512_castsi512_si256(ends)));
    use(i + 32, _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(ends, 1)));
  }
}

inline __attribute__((always_inline)) __m256i Two(const std::uint8_t* a, const std::uint8_t* b) {
  const __m256i low = _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a)));
  return _mm256_inserti128_si256(low, _mm_loadu_si128(reinterpret_cast<const __m128i*>(b)), 1);
}

// Tests the parts that the ways come to. A tree's parts take kTree bytes.
template <std::size_t kTree, int kPairs>
inline __attribute__((always_inline)) void TestParts(const RowCodes<kPairs>& own,
                                                     const std::uint8_t* parts, std::size_t groups,
                                                     RowWays* ways) {
  for (std::size_t group = 0; group < groups; ++group, parts += kRowGroup * kTree) {
    const std::uint16_t* own_at = ways->at + group * kRowGroup;
    const auto at = [&](std::size_t i) { return parts + i * kTree + own_at[i]; };
    const __m512i evens =
        _mm512_inserti64x4(_mm512_castsi256_si512(Two(at(0), at(2))), Two(at(4), at(6)), 1);
    const __m512i odds =
        _mm512_inserti64x4(_mm512_castsi256_si512(Two(at(1), at(3))), Two(at(5), at(7)), 1);
    ways->tests[group] =
        own.Right(_mm512_unpacklo_epi64(evens, odds), _mm512_unpackhi_epi64(evens, odds));
  }
}

// Whether trees have middle parts, and so how many lines.
template <bool kMiddles>
struct TreeShape {
  static constexpr bool kDeep = kMiddles;
  static constexpr std::size_t kMiddleBytes = kRowMiddles * kRowMiddle;
  static constexpr std::size_t kLineBytes = (kDeep ? kRowMiddles : 1) * 8 * kRowLine;
};

// The ways of at most kAtOnce trees from `tree` on.
template <typename Shape, int kPairs>
inline __attribute__((always_inline)) void FindWays(const RowLayout& of_row,
                                                    const RowCodes<kPairs>& own, std::size_t tree,
                                                    std::size_t count, RowWays* ways) {
  const std::size_t groups = (count + kRowGroup - 1) / kRowGroup;
  const std::uint8_t* top = of_row.tops + tree / kRowGroup * kRowTop;
  for (std::size_t group = 0; group < groups; ++group, top += kRowTop) {
    ways->tests[group] = own.Right(_mm512_loadu_si512(top), _mm512_loadu_si512(top + kRowTop / 2));
  }
  if constexpr (Shape::kDeep) {
    ForEnds(ways->tests, count, [&](std::size_t i, __m512i middle) {
      _mm512_store_si512(ways->at + i, _mm512_slli_epi16(middle, 4));  // Times kRowMiddle.
    });
    TestParts<Shape::kMiddleBytes>(own, of_row.middles + tree * Shape::kMiddleBytes, groups, ways);
  }
  ForEnds(ways->tests, count, [&](std::size_t i, __m512i line) {
    line = _mm512_slli_epi16(line, 6);  // Times kRowLine.
    if constexpr (Shape::kDeep) {
      // Eight lines a middle part: 32 times as many bytes.
      line = _mm512_add_epi16(line, _mm512_slli_epi16(_mm512_load_si512(ways->at + i), 5));
    }
    _mm512_store_si512(ways->at + i, line);
  });
  TestParts<Shape::kLineBytes>(own, of_row.lines + tree * Shape::kLineBytes, groups, ways);
  ForEnds(ways->tests, count, [&](std::size_t i, __m512i leaf) {
    const __m512i weight = _mm512_mullo_epi16(leaf, _mm512_set1_epi16(kRowWeight));
    const __m512i line = _mm512_add_epi16(_mm512_load_si512(ways->at + i), weight);
    _mm512_store_si512(ways->at + i, _mm512_add_epi16(line, _mm512_set1_epi16(kBeforeWeights)));
  });
}

// Calls use(shape, first tree, trees, ways) until every tree had its turn.
template <typename Shape, int kPairs, typename Use>
inline void ForShapedWays(const RowLayout& of_row, const std::uint8_t* codes, Use use) {
  const RowCodes<kPairs> own(codes);
  RowWays ways;
  for (std::size_t tree = 0; tree < of_row.num_trees; tree += kAtOnce) {
    const std::size_t left = of_row.num_trees - tree;
    const std::size_t count = left < kAtOnce ? left : kAtOnce;
    FindWays<Shape>(of_row, own, tree, count, &ways);
    use(Shape{}, tree, count, ways);
  }
}

template <int kPairs, typename Use>
inline void ForWaysOfPairs(const RowLayout& of_row, const std::uint8_t* codes, Use use) {
  if (of_row.middles == nullptr) {
    ForShapedWays<TreeShape<false>, kPairs>(of_row, codes, use);
  } else {
    ForShapedWays<TreeShape<true>, kPairs>(of_row, codes, use);
  }
}

// With as few registers as the places need: of 100 features, of 300, and the most.
template <typename Use>
inline void ForWays(const RowLayout& of_row, const std::uint8_t* codes, Use use) {
  if (of_row.num_places <= 2 * 128) {
    ForWaysOfPairs<2>(of_row, codes, use);
  } else if (of_row.num_places <= 5 * 128) {
    ForWaysOfPairs<5>(of_row, codes, use);
  } else {
    ForWaysOfPairs<8>(of_row, codes, use);
  }
}

inline __attribute__((always_inline)) std::int64_t WeightAt(const std::uint8_t* line,
                                                            std::size_t offset) {
  std::int64_t word;
  std::memcpy(&word, line + offset, sizeof word);
  // One by one: putting words of eight places into a register costs more than it saves.
  asm volatile("" : "+r"(word));
  return word >> 16;
}

std::int64_t RowSum(const RowLayout& of_row, const std::uint8_t* codes) {
  std::int64_t total = 0;
  ForWays(of_row, codes, [&](auto shape, std::size_t tree, std::size_t count, const RowWays& ways) {
    constexpr std::size_t kLines = decltype(shape)::kLineBytes;
    const std::uint8_t* lines = of_row.lines + tree * kLines;
    std::int64_t even = 0;
    std::int64_t odd = 0;
    // What the last group lacks weighs nothing.
    for (std::size_t i = 0; i < count; i += kRowGroup, lines += kRowGroup * kLines) {
      const std::uint16_t* at = ways.at + i;
      even += WeightAt(lines, at[0]) + WeightAt(lines + 2 * kLines, at[2]);
      odd += WeightAt(lines + kLines, at[1]) + WeightAt(lines + 3 * kLines, at[3]);
      even += WeightAt(lines + 4 * kLines, at[4]) + WeightAt(lines + 6 * kLines, at[6]);
      odd += WeightAt(lines + 5 * kLines, at[5]) + WeightAt(lines + 7 * kLines, at[7]);
    }
    total += even + odd;
  });
  return total;
}

void RowEnds(const RowLayout& of_row, const std::uint8_t* codes, std::uint8_t* ends) {
  ForWays(of_row, codes, [&](auto, std::size_t tree, std::size_t count, const RowWays& ways) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t leaf = (ways.at[i] % kRowLine - kBeforeWeights) / kRowWeight;
      ends[tree + i] = static_cast<std::uint8_t>(ways.at[i] / kRowLine * 8 + leaf);
    }
  });
}

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_ROW_TREES_VBMI_INL_H_
