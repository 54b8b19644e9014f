// 32 rows a vector.
#include <immintrin.h>

#include "kernels.h"
#include "quantise_inl.h"
#include "slices_words_inl.h"
#include "units_inl.h"

namespace cpp_serving {
namespace {

struct Rows32 {
  using Vector = __m256i;
  static constexpr std::size_t kWidth = 32;
  struct Codes {
    const std::uint8_t* own;
  };
  static Vector Load(const std::uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void Store(std::uint8_t* p, Vector v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }
  static void Put(std::uint8_t* ids, Vector v) { Store(ids, v); }
  static Vector Same(std::uint8_t byte) { return _mm256_set1_epi8(static_cast<char>(byte)); }
  static Vector Add(Vector a, Vector b) { return _mm256_add_epi8(a, b); }
  // All ones where the row goes left: code <= bound.
  static Vector Right(const Codes& codes, std::uint32_t offset, const std::uint32_t* bound) {
    const Vector own = Load(codes.own + offset);
    const Vector bounds = _mm256_set1_epi32(static_cast<int>(*bound));
    return _mm256_cmpeq_epi8(_mm256_min_epu8(own, bounds), own);
  }
  static Vector Pick(Vector left, Vector on_left, Vector on_right) {
    return _mm256_blendv_epi8(on_right, on_left, left);
  }
};

// Words of four blocks; a test has kSpan of them.
struct Bits256 {
  using Vector = __m256i;
  static constexpr std::size_t kBlocks = kSpan;
  static Vector Load(const std::uint64_t* words) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
  }
  static Vector Choose(Vector right, Vector on_right, Vector on_left) {
    return _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(on_right, on_left), right), on_left);
  }
};

// Row r of block b is bit r of word b.
inline __attribute__((always_inline)) std::uint64_t Above(const std::uint8_t* codes,
                                                          __m256i bounds) {
  const __m256i low = Rows32::Load(codes);
  const __m256i high = Rows32::Load(codes + 32);
  const auto not_low = static_cast<std::uint32_t>(
      _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(low, bounds), low)));
  const auto not_high = static_cast<std::uint32_t>(
      _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(high, bounds), high)));
  return ~(not_low | std::uint64_t{not_high} << 32);
}

template <std::size_t kWidth>
void Test(const Layout& layout, const TestGroup& group, const std::uint8_t* codes,
          std::size_t block_bytes, std::uint64_t* bits) {
  for (std::uint32_t p = group.first_plane; p < group.end_plane; ++p) {
    const TestedPlane& plane = layout.tested_planes[p];
    const std::uint8_t* bounds = layout.bounds + plane.bounds;
    for (std::size_t b = 0; b < kWidth; ++b) {
      const std::uint8_t* own = codes + b * block_bytes + std::size_t{plane.plane} * kBlock;
      std::uint64_t* out = bits + std::size_t{plane.first_test} * kWidth + b;
      for (std::uint32_t t = 0; t < plane.num_tests; ++t) {
        out[t * kWidth] = Above(own, Rows32::Same(bounds[t]));
      }
    }
  }
}

// A word's bits as bytes of `value`.
inline __attribute__((always_inline)) void AddBits(std::uint64_t word, char value, __m256i* low,
                                                   __m256i* high) {
  const __m256i spread =
      _mm256_setr_epi64x(0, 0x0101010101010101ll, 0x0202020202020202ll, 0x0303030303030303ll);
  const __m256i upper = _mm256_add_epi8(spread, _mm256_set1_epi8(4));
  const __m256i own = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
  const __m256i words = _mm256_set1_epi64x(static_cast<long long>(word));
  const __m256i values = _mm256_set1_epi8(value);
  const __m256i a = _mm256_and_si256(_mm256_shuffle_epi8(words, spread), own);
  const __m256i b = _mm256_and_si256(_mm256_shuffle_epi8(words, upper), own);
  *low = _mm256_or_si256(*low, _mm256_and_si256(_mm256_cmpeq_epi8(a, own), values));
  *high = _mm256_or_si256(*high, _mm256_and_si256(_mm256_cmpeq_epi8(b, own), values));
}

struct FourBlocks {
  template <int kDepth>
  static void Slice(const std::uint16_t* nodes, const std::uint64_t* bits, std::uint8_t* ids) {
    __m256i id[kMaxSliceDepth];
    IdBits<Bits256, kDepth>(nodes, bits, id);
    alignas(32) std::uint64_t words[kMaxSliceDepth][4];
    for (int i = 0; i < kDepth; ++i) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(words[i]), id[i]);
    }
    for (std::size_t b = 0; b < 4; ++b) {
      __m256i low = _mm256_setzero_si256();
      __m256i high = _mm256_setzero_si256();
      for (int i = 0; i < kDepth; ++i) {
        AddBits(words[i][b], static_cast<char>(1 << (kDepth - 1 - i)), &low, &high);
      }
      Rows32::Store(ids + b * kGroup * kBlock, low);
      Rows32::Store(ids + b * kGroup * kBlock + 32, high);
    }
  }
};

void SliceSpan(const Layout& layout, std::uint32_t begin, std::uint32_t end,
               const std::uint64_t* bits, std::uint8_t* ids) {
  SliceSlots<FourBlocks>(layout, begin, end, bits, ids);
  SliceSlots<FourBlocks>(layout, begin, end, bits + 4, ids + 4 * kGroup * kBlock);
}

void Evaluate(const Layout& layout, std::uint32_t begin, std::uint32_t end,
              const std::uint8_t* codes, const std::uint8_t* others, std::uint8_t* ids) {
  EvaluateRows<Rows32>(layout, begin, end, {codes}, ids);
  EvaluateRows<Rows32>(layout, begin, end, {codes + 32}, ids + 32);
  if (others != nullptr) Evaluate(layout, begin, end, others, nullptr, ids + kGroup * kBlock);
}

}  // namespace

const Kernel kAvx2Kernel{Isa::kAvx2,
                         {&Test<1>, &SliceSlots<WordByWord>},
                         {&Test<kSpan>, &SliceSpan},
                         &QuantiseRows,
                         &Evaluate,
                         &AccumulateRows,
                         &QuantiseRow,
                         nullptr,
                         nullptr};

}  // namespace cpp_serving
