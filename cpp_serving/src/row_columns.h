// The quantiser's columns side by side, for the codes of one row at a time: what limits them is how
// many cache lines are fetched, so a value's code follows from a single one of its column.
#ifndef CPP_SERVING_SRC_ROW_COLUMNS_H_
#define CPP_SERVING_SRC_ROW_COLUMNS_H_

#include <cstdint>
#include <vector>

#include "aligned.h"
#include "kernels.h"

namespace cpp_serving {

// A row's codes are [column, then padding to 64] twice: with missing values as 0, which go left,
// and as 255, which go right.
class RowColumns {
 public:
  // After the quantiser's last plane. Shows its arrays in `of_row`, which must not outlive it.
  RowColumns(const Layout& layout, std::uint32_t num_planes, RowLayout* of_row);

  // Where a row's code of a block's plane stands.
  std::uint32_t place(std::uint32_t plane) const { return places_[plane]; }

 private:
  void AddCells(const Layout& layout, std::uint32_t column);

  std::vector<std::uint32_t> places_;  // [plane]
  AlignedVector<std::uint32_t> features_;
  AlignedVector<float> scales_;
  AlignedVector<float> lowests_;
  AlignedVector<float> highests_;
  AlignedVector<std::uint32_t> firsts_;
  AlignedVector<std::uint32_t> shifts_;
  AlignedVector<std::uint32_t> cell_shifts_;
  AlignedVector<std::uint32_t> first_cells_;
  AlignedVector<std::uint8_t> linears_;
  AlignedVector<RowCell> cells_;
  std::vector<std::uint32_t> crowded_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_ROW_COLUMNS_H_
