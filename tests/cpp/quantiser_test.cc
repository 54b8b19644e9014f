// Each kernel's code of a value is the number of thresholds that are not above it.
#include "../../cpp_serving/src/quantiser.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../../cpp_serving/src/isa.h"
#include "../../cpp_serving/src/row_columns.h"
#include "check.h"

using cpp_serving::kBlock;
using cpp_serving::Kernel;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSmallest = std::numeric_limits<float>::denorm_min();
constexpr float kLargest = std::numeric_limits<float>::max();

std::uint32_t NotAbove(const std::vector<float>& thresholds, float value) {
  std::uint32_t count = 0;
  for (const float threshold : thresholds) count += value >= threshold ? 1 : 0;
  return count;
}

// The thresholds, their neighbours, and the ends of what floats there are.
std::vector<float> ValuesAround(const std::vector<float>& thresholds) {
  std::vector<float> values{0.0f,       -0.0f,    kSmallest, -kSmallest, kInfinity,
                            -kInfinity, kLargest, -kLargest, 1.0f,       -1.0f};
  for (const float threshold : thresholds) {
    values.push_back(threshold);
    values.push_back(std::nextafter(threshold, kInfinity));
    values.push_back(std::nextafter(threshold, -kInfinity));
    values.push_back(-threshold);
  }
  return values;
}

void CodesCount(const std::vector<float>& thresholds) {
  cpp_serving::Quantiser quantiser({thresholds});
  const auto left = quantiser.TestFor(0, thresholds[0], true).plane;
  const auto right = quantiser.TestFor(0, thresholds[0], false).plane;
  cpp_serving::Layout layout{};
  quantiser.ShowIn(&layout);
  cpp_serving::RowLayout of_row{};
  const cpp_serving::RowColumns columns(layout, quantiser.num_planes(), &of_row);
  std::vector<float> values = ValuesAround(thresholds);
  values.push_back(std::numeric_limits<float>::quiet_NaN());
  const std::size_t block_bytes = quantiser.num_planes() * kBlock;
  for (const cpp_serving::Isa isa : cpp_serving::RunnableIsas()) {
    const Kernel& kernel = cpp_serving::KernelOf(isa);
    std::vector<std::uint8_t> codes((values.size() + kBlock) * block_bytes);
    kernel.quantise(layout, values.data(), values.size(), codes.data(), block_bytes);
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::uint8_t alone[256] = {};
      kernel.quantise_row(layout, of_row, &values[i], alone);
      const std::uint8_t* block = codes.data() + i / kBlock * block_bytes + i % kBlock;
      const bool missing = std::isnan(values[i]);
      const std::uint32_t expected = NotAbove(thresholds, values[i]);
      CHECK(alone[columns.place(left)] == (missing ? 0 : expected));
      CHECK(alone[columns.place(right)] == (missing ? 255 : expected));
      CHECK(block[left * kBlock] == alone[columns.place(left)]);
      CHECK(block[right * kBlock] == alone[columns.place(right)]);
    }
  }
}

}  // namespace

int main() {
  // Zero of either sign is one value, whichever of the two keys is chosen: by the float's bits...
  CodesCount({0.0f});
  CodesCount({-0.0f});
  CodesCount({-kSmallest, 0.0f, kSmallest});
  CodesCount({-1e30f, -1e-30f, -0.0f, 1e-30f, 1e30f});
  CodesCount({-kLargest, 0.0f, kLargest});
  // ... or by the value.
  CodesCount({-2.0f, -1.0f, -0.0f, 1.0f, 2.0f});
  CodesCount({-0.5f, 0.0f, 0.25f});
  std::vector<float> crowded;  // More in one cell than are looked up.
  for (int i = 0; i < 100; ++i) crowded.push_back(kSmallest * static_cast<float>(i - 50));
  crowded.push_back(1e30f);
  CodesCount(crowded);
  for (const int together : {14, 15, 16, 17}) {  // Around what a cell of one row's columns holds.
    std::vector<float> thresholds{-1e30f, 1e30f};
    for (float next = 1.0f; thresholds.size() < static_cast<std::size_t>(together) + 2;) {
      thresholds.push_back(next = std::nextafter(next, kInfinity));
    }
    std::sort(thresholds.begin(), thresholds.end());
    CodesCount(thresholds);
  }
  std::vector<float> spread;  // Over many cells, some empty, as many as a column has.
  for (int i = 0; i < 255; ++i) spread.push_back(std::sinh(static_cast<float>(i - 127) / 16.0f));
  CodesCount(spread);
  return Finish();
}
