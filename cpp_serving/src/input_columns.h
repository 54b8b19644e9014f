// From a row of features to the row of columns that a bare model's trees test.
#ifndef CPP_SERVING_SRC_INPUT_COLUMNS_H_
#define CPP_SERVING_SRC_INPUT_COLUMNS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpp_serving/boosted_trees.h"

namespace cpp_serving {

class InputColumns {
 public:
  // Values equal to `missing` become NaN.
  InputColumns(const std::vector<InputColumn>& columns, std::uint32_t num_features, float missing);

  // Whether a row of features is a row of columns as it stands: then there is nothing to fill.
  bool as_they_are() const { return as_they_are_; }
  // Columns of a row, at least one.
  std::uint32_t width() const { return width_; }
  // Where in such a row the model's i-th column stands.
  std::uint32_t PlaceOf(std::uint32_t i) const { return as_they_are_ ? columns_[i].feature : i; }

  // The columns of some of the features alone, which are numbered by their place in `features`,
  // ascending. `places` is filled: where in a row of all columns each of these stands.
  InputColumns Part(const std::vector<std::uint32_t>& features,
                    std::vector<std::uint32_t>* places) const;

  // `features` is [row, feature], `columns` is filled, [row, width].
  void Fill(const float* features, std::size_t rows, float* columns) const;

 private:
  // Categories as bits where these are not much larger than the list, else the list.
  struct Column {
    std::uint32_t feature;
    InputColumn::Kind kind;
    float above;
    std::vector<std::uint32_t> bits;
    std::vector<std::int32_t> list;
  };
  InputColumns() = default;
  static bool Holds(const Column& column, float value);
  static float Value(const Column& column, float x);

  std::vector<Column> columns_;
  std::uint32_t num_features_ = 0;
  std::uint32_t width_ = 1;
  float missing_ = 0.0f;
  bool as_they_are_ = false;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_INPUT_COLUMNS_H_
