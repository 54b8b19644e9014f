// Sliced trees a block at a time, in plain words: the meaning of what the vectors do.
#ifndef CPP_SERVING_SRC_SLICES_WORDS_INL_H_
#define CPP_SERVING_SRC_SLICES_WORDS_INL_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "slices_inl.h"

namespace cpp_serving {
namespace {

struct Word {
  using Vector = std::uint64_t;
  static constexpr std::size_t kBlocks = 1;
  static Vector Load(const std::uint64_t* words) { return *words; }
  static Vector Choose(Vector right, Vector on_right, Vector on_left) {
    return ((on_right ^ on_left) & right) ^ on_left;
  }
};

// Row r is bit r. A row passes the tests below its code's rank: it is noted at the rank, and the
// notes of higher ranks are carried down.
[[maybe_unused]] void TestWords(const Layout& layout, const TestGroup& group,
                                const std::uint8_t* codes, std::size_t /*block_bytes*/,
                                std::uint64_t* bits) {
  for (std::uint32_t p = group.first_plane; p < group.end_plane; ++p) {
    const TestedPlane& plane = layout.tested_planes[p];
    const std::uint8_t* own = codes + std::size_t{plane.plane} * kBlock;
    const std::uint8_t* ranks = layout.ranks + std::size_t{p} * kCells;
    std::uint64_t at_rank[kCells];
    std::memset(at_rank, 0, (plane.num_tests + 1) * sizeof *at_rank);
    for (std::size_t row = 0; row < kBlock; ++row) at_rank[ranks[own[row]]] |= 1ull << row;
    std::uint64_t passed = 0;
    for (std::uint32_t t = plane.num_tests; t > 0; --t) {
      passed |= at_rank[t];
      bits[plane.first_test + t - 1] = passed;
    }
  }
}

// [byte]: its bits, a byte each, the lowest first.
struct SpreadBits {
  std::uint64_t of[256];
  constexpr SpreadBits() : of() {
    for (std::uint64_t byte = 0; byte < 256; ++byte) {
      for (int i = 0; i < 8; ++i) of[byte] |= (byte >> i & 1) << (8 * i);
    }
  }
};
constexpr SpreadBits kSpreadBits;

struct WordByWord {
  template <int kDepth>
  static void Slice(const std::uint16_t* nodes, const std::uint64_t* bits, std::uint8_t* ids) {
    std::uint64_t id[kMaxSliceDepth];
    IdBits<Word, kDepth>(nodes, bits, id);
    for (std::size_t row = 0; row < kBlock; row += 8) {
      std::uint64_t eight = 0;
      for (int i = 0; i < kDepth; ++i) eight = eight * 2 + kSpreadBits.of[id[i] >> row & 0xFF];
      std::memcpy(ids + row, &eight, sizeof eight);
    }
  }
};

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_SLICES_WORDS_INL_H_
