#include "input_columns.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace cpp_serving {
namespace {

// Features beyond these, that no tree reads, would only make tables and rows longer.
constexpr std::size_t kFewFeatures = 1024;

constexpr float kZero = 1e-35f;  // LightGBM's.
// The first value whose whole part is no int32.
constexpr float kTooLarge = 2147483648.0f;

}  // namespace

InputColumns::InputColumns(const std::vector<InputColumn>& columns, std::uint32_t num_features,
                           float missing)
    : num_features_(num_features), missing_(missing) {
  as_they_are_ = std::isnan(missing) &&
                 num_features <= std::max(kFewFeatures, 4 * columns.size()) &&
                 std::all_of(columns.begin(), columns.end(), [](const InputColumn& column) {
                   return column.kind == InputColumn::Kind::kValue;
                 });
  for (const InputColumn& column : columns) {
    columns_.push_back({column.feature, column.kind, column.above, {}, {}});
    if (column.categories.empty()) continue;
    const std::size_t words = static_cast<std::size_t>(column.categories.back()) / 32 + 1;
    if (words > 64 + 8 * column.categories.size()) {
      columns_.back().list = column.categories;
      continue;
    }
    columns_.back().bits.assign(words, 0);
    for (const std::int32_t category : column.categories) {
      columns_.back().bits[static_cast<std::size_t>(category) / 32] |= 1u << (category % 32);
    }
  }
  width_ = as_they_are_ ? num_features : std::max<std::uint32_t>(1, columns_.size());
}

bool InputColumns::Holds(const Column& column, float value) {
  if (!(value > column.above && value < kTooLarge)) return false;
  const auto category = static_cast<std::int32_t>(value);
  if (!column.list.empty()) {
    return std::binary_search(column.list.begin(), column.list.end(), category);
  }
  const std::size_t word = static_cast<std::size_t>(category) / 32;
  return word < column.bits.size() && (column.bits[word] >> (category % 32) & 1) != 0;
}

float InputColumns::Value(const Column& column, float x) {
  if (std::isnan(x)) return x;
  switch (column.kind) {
    case InputColumn::Kind::kValue:
      return x;
    case InputColumn::Kind::kZeroIsMissing:
      return std::fabs(x) <= kZero ? std::numeric_limits<float>::quiet_NaN() : x;
    case InputColumn::Kind::kIsIn:
      return Holds(column, x) ? 1.0f : 0.0f;
    case InputColumn::Kind::kIsOutside:
      return Holds(column, x) ? 0.0f : 1.0f;
  }
  return x;
}

InputColumns InputColumns::Part(const std::vector<std::uint32_t>& features,
                                std::vector<std::uint32_t>* places) const {
  InputColumns part;
  part.num_features_ = static_cast<std::uint32_t>(features.size());
  part.missing_ = missing_;
  part.as_they_are_ = as_they_are_;
  places->clear();
  if (as_they_are_) {
    *places = features;
    part.width_ = part.num_features_;
    return part;
  }
  for (std::uint32_t i = 0; i < columns_.size(); ++i) {
    const auto found = std::lower_bound(features.begin(), features.end(), columns_[i].feature);
    if (found == features.end() || *found != columns_[i].feature) continue;
    places->push_back(i);
    part.columns_.push_back(columns_[i]);
    part.columns_.back().feature = static_cast<std::uint32_t>(found - features.begin());
  }
  part.width_ = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(part.columns_.size()));
  return part;
}

void InputColumns::Fill(const float* features, std::size_t rows, float* columns) const {
  for (std::size_t row = 0; row < rows; ++row) {
    const float* own = features + row * num_features_;
    float* out = columns + row * width_;
    if (columns_.empty()) out[0] = 0.0f;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const float x = own[columns_[i].feature];
      out[i] = x == missing_ ? std::numeric_limits<float>::quiet_NaN() : Value(columns_[i], x);
    }
  }
}

}  // namespace cpp_serving
