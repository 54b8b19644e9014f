// The steps of a block without vectors; the meaning of all the others.
#include "kernels.h"
#include "quantise_inl.h"
#include "slices_words_inl.h"
#include "units_inl.h"

namespace cpp_serving {
namespace {

struct OneRow {
  using Vector = std::uint8_t;
  static constexpr std::size_t kWidth = 1;
  struct Codes {
    const std::uint8_t* own;
  };
  static Vector Load(const std::uint8_t* p) { return *p; }
  static void Store(std::uint8_t* p, Vector v) { *p = v; }
  static void Put(std::uint8_t* ids, Vector v) { *ids = v; }
  static Vector Same(std::uint8_t byte) { return byte; }
  static Vector Add(Vector a, Vector b) { return static_cast<Vector>(a + b); }
  static bool Right(const Codes& codes, std::uint32_t offset, const std::uint32_t* bound) {
    return codes.own[offset] > (*bound & 0xFF);
  }
  static Vector Pick(bool right, Vector on_left, Vector on_right) {
    return right ? on_right : on_left;
  }
};

void Evaluate(const Layout& layout, std::uint32_t begin, std::uint32_t end,
              const std::uint8_t* codes, const std::uint8_t* others, std::uint8_t* ids) {
  for (std::size_t row = 0; row < kBlock; ++row) {
    EvaluateRows<OneRow>(layout, begin, end, {codes + row}, ids + row);
  }
  if (others != nullptr) Evaluate(layout, begin, end, others, nullptr, ids + kGroup * kBlock);
}

}  // namespace

const Kernel kScalarKernel{Isa::kScalar,
                           {&TestWords, &SliceSlots<WordByWord>},
                           {nullptr, nullptr},
                           &QuantiseRows,
                           &Evaluate,
                           &AccumulateRows,
                           &QuantiseRow,
                           nullptr,
                           nullptr};

}  // namespace cpp_serving
