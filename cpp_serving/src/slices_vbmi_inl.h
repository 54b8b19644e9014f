// Sliced trees with VBMI and GFNI: a plane's codes become ranks among its tests, ranks become eight
// tests' results a byte, and 8 x 8 bits are turned over at once.
#ifndef CPP_SERVING_SRC_SLICES_VBMI_INL_H_
#define CPP_SERVING_SRC_SLICES_VBMI_INL_H_

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "lookup_vbmi_inl.h"
#include "slices512_inl.h"

namespace cpp_serving {
namespace {

// [i][rank]: bit j is whether the test 8 i + j is below the rank.
struct RankTables {
  std::uint8_t of[8][64];
  constexpr RankTables() : of() {
    for (int i = 0; i < 8; ++i) {
      for (int rank = 0; rank < 64; ++rank) {
        for (int j = 0; j < 8; ++j) {
          if (8 * i + j < rank) of[i][rank] = static_cast<std::uint8_t>(of[i][rank] | 1 << j);
        }
      }
    }
  }
};
alignas(64) constexpr RankTables kRankTables;

// Byte i of each word of a matrix's product is what its bit i selects: the matrix turned over, its
// rows counted from the last. The second counts the bits from the last too.
constexpr long long kBitOfByte = static_cast<long long>(0x8040201008040201ull);
constexpr long long kBitOfByteReversed = 0x0102040810204080ll;

// Of each word, byte c of register r becomes byte r of register c.
inline __attribute__((always_inline)) void TransposeBytes(__m512i* v) {
  __m512i a[8];
  __m512i b[8];
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm512_unpacklo_epi8(v[2 * i], v[2 * i + 1]);
    a[i + 4] = _mm512_unpackhi_epi8(v[2 * i], v[2 * i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm512_unpacklo_epi16(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi16(a[i], a[i + 1]);
    b[i + 2] = _mm512_unpacklo_epi16(a[i + 2], a[i + 3]);
    b[i + 3] = _mm512_unpackhi_epi16(a[i + 2], a[i + 3]);
  }
  for (int i = 0; i < 8; i += 4) {
    a[i] = _mm512_unpacklo_epi32(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi32(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi32(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi32(b[i + 1], b[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    v[2 * i] = _mm512_unpacklo_epi64(a[i], a[i + 4]);
    v[2 * i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 4]);
  }
}

// The results of eight tests, a byte a row, of the ranks; `rest` of the plane's tests come after
// `begin`.
inline __attribute__((always_inline)) __m512i ResultsOf(__m512i ranks, std::uint32_t num_tests,
                                                        std::uint32_t begin) {
  if (num_tests < 64) {
    return _mm512_permutexvar_epi8(ranks, _mm512_load_si512(kRankTables.of[begin / 8]));
  }
  const __m512i beyond = _mm512_subs_epu8(ranks, _mm512_set1_epi8(static_cast<char>(begin)));
  return _mm512_permutexvar_epi8(_mm512_min_epu8(beyond, _mm512_set1_epi8(8)),
                                 _mm512_load_si512(kRankTables.of[0]));
}

inline __attribute__((always_inline)) __m512i RanksOf(const std::uint8_t* table,
                                                      const std::uint8_t* codes) {
  const __m512i own = _mm512_loadu_si512(codes);
  return Lookup256(table, own, _mm512_movepi8_mask(own));
}

// A word's byte g has rows 8 g + 7 down to 8 g.
void TestOne(const Layout& layout, const TestGroup& group, const std::uint8_t* codes,
             std::size_t /*block_bytes*/, std::uint64_t* bits) {
  const __m512i select = _mm512_set1_epi64(kBitOfByte);
  alignas(64) std::uint8_t order[64];
  for (std::size_t i = 0; i < 64; ++i) order[i] = static_cast<std::uint8_t>(i % 8 * 8 + i / 8);
  const __m512i by_test = _mm512_load_si512(order);
  for (std::uint32_t p = group.first_plane; p < group.end_plane; ++p) {
    const TestedPlane& plane = layout.tested_planes[p];
    const __m512i ranks =
        RanksOf(layout.ranks + std::size_t{p} * kCells, codes + std::size_t{plane.plane} * kBlock);
    std::uint64_t* out = bits + plane.first_test;
    for (std::uint32_t begin = 0; begin < plane.num_tests; begin += kTestChunk) {
      const __m512i results = ResultsOf(ranks, plane.num_tests, begin);
      const __m512i turned = _mm512_gf2p8affine_epi64_epi8(select, results, 0);
      _mm512_storeu_si512(out + begin, _mm512_permutexvar_epi8(by_test, turned));
    }
  }
}

// Of a test, byte b of word g has rows 8 g + 7 down to 8 g of block b. What is written past a
// plane's last test is overwritten by the next plane's: nothing is kept for tests that are none.
void TestSpan(const Layout& layout, const TestGroup& group, const std::uint8_t* codes,
              std::size_t block_bytes, std::uint64_t* bits) {
  const __m512i select = _mm512_set1_epi64(kBitOfByte);
  for (std::uint32_t p = group.first_plane; p < group.end_plane; ++p) {
    const TestedPlane& plane = layout.tested_planes[p];
    const std::uint8_t* own = codes + std::size_t{plane.plane} * kBlock;
    const std::uint8_t* table = layout.ranks + std::size_t{p} * kCells;
    __m512i ranks[kSpan];
    for (std::size_t b = 0; b < kSpan; ++b) ranks[b] = RanksOf(table, own + b * block_bytes);
    std::uint64_t* out = bits + std::size_t{plane.first_test} * kSpan;
    for (std::uint32_t begin = 0; begin < plane.num_tests;
         begin += kTestChunk, out += kTestChunk * kSpan) {
      __m512i results[kSpan];
      for (std::size_t b = 0; b < kSpan; ++b) {
        results[b] =
            _mm512_gf2p8affine_epi64_epi8(select, ResultsOf(ranks[b], plane.num_tests, begin), 0);
      }
      TransposeBytes(results);
      for (std::size_t j = 0; j < 8; ++j) _mm512_storeu_si512(out + j * kSpan, results[j]);
    }
  }
}

struct OneBlock {
  template <int kDepth>
  static void Slice(const std::uint16_t* nodes, const std::uint64_t* bits, std::uint8_t* ids) {
    // Bit j of an id is row 7 - j of the matrix.
    __m128i v[8];
    for (int i = 0; i < 8 - kDepth; ++i) v[i] = _mm_setzero_si128();
    IdBits<Bits64, kDepth>(nodes, bits, v + (8 - kDepth));
    const __m128i a0 = _mm_unpacklo_epi8(v[0], v[1]);
    const __m128i a1 = _mm_unpacklo_epi8(v[2], v[3]);
    const __m128i a2 = _mm_unpacklo_epi8(v[4], v[5]);
    const __m128i a3 = _mm_unpacklo_epi8(v[6], v[7]);
    const __m128i b0 = _mm_unpacklo_epi16(a0, a1);
    const __m128i b1 = _mm_unpackhi_epi16(a0, a1);
    const __m128i c0 = _mm_unpacklo_epi16(a2, a3);
    const __m128i c1 = _mm_unpackhi_epi16(a2, a3);
    const __m256i lower = _mm256_set_m128i(_mm_unpackhi_epi32(b0, c0), _mm_unpacklo_epi32(b0, c0));
    const __m256i upper = _mm256_set_m128i(_mm_unpackhi_epi32(b1, c1), _mm_unpacklo_epi32(b1, c1));
    const __m512i matrices = _mm512_inserti64x4(_mm512_castsi256_si512(lower), upper, 1);
    _mm512_storeu_si512(
        ids, _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64(kBitOfByteReversed), matrices, 0));
  }
};

struct SpanOfBlocks {
  template <int kDepth>
  static void Slice(const std::uint16_t* nodes, const std::uint64_t* bits, std::uint8_t* ids) {
    __m512i v[8];
    for (int i = 0; i < 8 - kDepth; ++i) v[i] = _mm512_setzero_si512();
    IdBits<Bits512, kDepth>(nodes, bits, v + (8 - kDepth));
    TransposeBytes(v);
    const __m512i select = _mm512_set1_epi64(kBitOfByteReversed);
    for (std::size_t b = 0; b < kSpan; ++b) {
      _mm512_storeu_si512(ids + b * kGroup * kBlock,
                          _mm512_gf2p8affine_epi64_epi8(select, v[b], 0));
    }
  }
};

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_SLICES_VBMI_INL_H_
