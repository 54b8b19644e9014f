// 32 rows a vector.
#include <immintrin.h>

#include "kernels.h"
#include "quantise_inl.h"
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

void Evaluate(const Layout& layout, std::uint32_t begin, std::uint32_t end,
              const std::uint8_t* codes, const std::uint8_t* others, std::uint8_t* ids) {
  EvaluateRows<Rows32>(layout, begin, end, {codes}, ids);
  EvaluateRows<Rows32>(layout, begin, end, {codes + 32}, ids + 32);
  if (others != nullptr) Evaluate(layout, begin, end, others, nullptr, ids + kGroup * kBlock);
}

}  // namespace

const Kernel kAvx2Kernel{Isa::kAvx2,      &QuantiseRows, &Evaluate,
                         &AccumulateRows, &QuantiseRow,  nullptr};

}  // namespace cpp_serving
