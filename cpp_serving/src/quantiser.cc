#include "quantiser.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "quantise_inl.h"

namespace cpp_serving {
namespace {

constexpr std::uint32_t kThresholdsPerColumn = 255;
// Keys of thresholds start at 1 and end below the last cell, which is left to values above them
// all: so values outside the thresholds' range share a key with no threshold.
constexpr double kKeys = 0xFEFF;
// x * scale stays where every whole number is an int32.
constexpr double kLargest = 1 << 30;

struct Fit {
  Column column;
  std::uint32_t cost;
};

std::uint32_t MostInOneCell(const Column& column, const float* thresholds, std::uint32_t shift) {
  std::array<std::uint32_t, kFineCells> counts{};
  for (std::uint32_t i = 0; i < column.num_thresholds; ++i) {
    ++counts[Key(column, thresholds[i]) >> shift];
  }
  return *std::max_element(counts.begin(), counts.end());
}

// Fills in what follows from the key: whether it is exact, and the most thresholds in one cell.
Fit Judged(Column column, const float* thresholds) {
  column.exact = 1;
  for (std::uint32_t i = 0; i < column.num_thresholds; ++i) {
    const float below = std::nextafterf(thresholds[i], -std::numeric_limits<float>::infinity());
    if (Key(column, below) >= Key(column, thresholds[i])) column.exact = 0;
  }
  column.rounds = MostInOneCell(column, thresholds, 8);
  column.fine_rounds = MostInOneCell(column, thresholds, 6);
  return {column, 2 * column.rounds + (column.exact != 0 ? 0 : 3)};
}

// By the value itself, times the largest power of two that keeps all keys apart from the ends.
// Whole numbers and simple fractions then have keys of their own.
bool FitLinear(Column column, const float* thresholds, Fit* fit) {
  const double low = thresholds[0];
  const double high = thresholds[column.num_thresholds - 1];
  if (!std::isfinite(low) || !std::isfinite(high)) return false;
  for (int power = 100; power >= -100; --power) {
    const double first = std::floor(std::ldexp(low, power)) - 1;
    const double last = std::floor(std::ldexp(high, power));
    if (last - first > kKeys || std::fabs(first) > kLargest || std::fabs(last) > kLargest) continue;
    column.linear = 1;
    column.scale = static_cast<float>(std::ldexp(1.0, power));
    column.first = static_cast<std::uint32_t>(static_cast<std::int32_t>(first));
    column.lowest = static_cast<float>(first);
    column.highest = static_cast<float>(first + 0xFFFE);
    *fit = Judged(column, thresholds);
    return true;
  }
  return false;
}

// By the float's bits: as many keys to each power of two.
Fit FitBits(Column column, const float* thresholds) {
  const std::uint32_t low = MonotoneBits(thresholds[0]);
  const std::uint32_t high = MonotoneBits(thresholds[column.num_thresholds - 1]);
  column.linear = 0;
  column.shift = 0;
  while (((high - low) >> column.shift) + 1 > static_cast<std::uint32_t>(kKeys)) ++column.shift;
  const std::uint32_t unit = 1u << column.shift;
  column.first = low / unit == 0 ? 0 : (low / unit - 1) * unit;
  return Judged(column, thresholds);
}

}  // namespace

Quantiser::Quantiser(std::vector<std::vector<float>> thresholds)
    : distinct_(std::move(thresholds)) {
  for (std::uint32_t feature = 0; feature < distinct_.size(); ++feature) {
    std::vector<float>& own = distinct_[feature];
    for (float& threshold : own) threshold += 0.0f;  // -0 becomes +0
    std::sort(own.begin(), own.end());
    own.erase(std::unique(own.begin(), own.end()), own.end());
    first_column_.push_back(static_cast<std::uint32_t>(columns_.size()));
    for (std::size_t at = 0; at < own.size(); at += kThresholdsPerColumn) {
      const std::size_t count = std::min<std::size_t>(kThresholdsPerColumn, own.size() - at);
      AddColumn(feature, own.data() + at, static_cast<std::uint32_t>(count));
    }
  }
  fine_.resize(fine_.size() + 3, 0);  // Cells are read four bytes at a time.
}

void Quantiser::AddColumn(std::uint32_t feature, const float* thresholds, std::uint32_t count) {
  Column column{};
  column.feature = feature;
  column.num_thresholds = count;
  column.plane_left = column.plane_right = kNoPlane;
  Fit fit = FitBits(column, thresholds);
  Fit linear;
  if (FitLinear(column, thresholds, &linear) && linear.cost <= fit.cost) fit = linear;
  column = fit.column;
  column.thresholds = static_cast<std::uint32_t>(thresholds_.size());
  thresholds_.insert(thresholds_.end(), thresholds, thresholds + count);
  thresholds_.insert(thresholds_.end(), kMaxRounds, std::numeric_limits<float>::quiet_NaN());

  column.fine = static_cast<std::uint32_t>(fine_.size());
  fine_.resize(fine_.size() + kFineCells, 0);
  column.tables = static_cast<std::uint32_t>(tables_.size());
  const std::uint32_t rounds = column.rounds > kMaxRounds ? 0 : column.rounds;
  tables_.resize(tables_.size() + (1 + rounds) * kCells, 255);  // 255: no byte is above it.
  std::array<std::uint32_t, kCells> in_cell{};
  std::array<std::uint32_t, kCells + 1> base{};
  std::array<std::uint32_t, kFineCells + 1> fine{};
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t key = Key(column, thresholds[i]);
    const std::uint32_t cell = key >> 8;
    const std::uint32_t low = key & 0xFF;
    ++base[cell + 1];
    ++fine[(key >> 6) + 1];
    if (rounds == 0) continue;
    const std::uint32_t round = in_cell[cell]++;
    // Values above the bound count the threshold: all of the cell's where it is the cell's first.
    std::uint8_t* bound = &tables_[column.tables + (1 + round) * kCells + cell];
    if (column.exact == 0) {
      *bound = static_cast<std::uint8_t>(low);
    } else if (low > 0) {
      *bound = static_cast<std::uint8_t>(low - 1);
    } else {
      ++tables_[column.tables + cell];  // From 255, which is set right below.
    }
  }
  for (std::size_t cell = 0; cell < kCells; ++cell) {
    base[cell + 1] += base[cell];
    std::uint8_t* first = &tables_[column.tables + cell];
    *first = static_cast<std::uint8_t>(*first + 1 + base[cell]);
  }
  for (std::size_t cell = 0; cell < kFineCells; ++cell) {
    fine[cell + 1] += fine[cell];
    fine_[column.fine + cell] = static_cast<std::uint8_t>(fine[cell]);
  }
  columns_.push_back(column);
}

CodeTest Quantiser::TestFor(std::uint32_t feature, float threshold, bool missing_goes_left) {
  const std::vector<float>& own = distinct_[feature];
  const auto at =
      static_cast<std::uint32_t>(std::lower_bound(own.begin(), own.end(), threshold) - own.begin());
  Column& column = columns_[first_column_[feature] + at / kThresholdsPerColumn];
  std::int32_t& plane = missing_goes_left ? column.plane_left : column.plane_right;
  if (plane == kNoPlane) plane = static_cast<std::int32_t>(num_planes_++);
  return {static_cast<std::uint32_t>(plane), at % kThresholdsPerColumn};
}

void Quantiser::ShowIn(Layout* layout) const {
  layout->columns = columns_.data();
  layout->num_columns = static_cast<std::uint32_t>(columns_.size());
  layout->num_features = static_cast<std::uint32_t>(distinct_.size());
  layout->thresholds = thresholds_.data();
  layout->tables = tables_.data();
  layout->fine = fine_.data();
}

}  // namespace cpp_serving
