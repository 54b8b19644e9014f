#include "row_columns.h"

#include <algorithm>

namespace cpp_serving {
namespace {

constexpr std::size_t kLanes = 16;

}  // namespace

RowColumns::RowColumns(const Layout& layout, std::uint32_t num_planes, RowLayout* of_row)
    : places_(num_planes) {
  const std::size_t padded = (std::size_t{layout.num_columns} + kLanes - 1) / kLanes * kLanes;
  linears_.assign(padded / 8, 0);
  for (std::size_t i = 0; i < padded; ++i) {
    // The padding repeats the last column; nothing reads its codes.
    const Column& column = layout.columns[std::min<std::size_t>(i, layout.num_columns - 1)];
    features_.push_back(column.feature);
    scales_.push_back(column.scale);
    lowests_.push_back(column.lowest);
    highests_.push_back(column.highest);
    firsts_.push_back(column.first);
    shifts_.push_back(column.shift);
    fines_.push_back(column.fine);
    linears_[i / 8] = static_cast<std::uint8_t>(linears_[i / 8] | column.linear << (i % 8));
    if (i >= layout.num_columns) continue;
    if (column.feature == i && of_row->in_order == i) ++of_row->in_order;
    if (column.plane_left != kNoPlane) {
      places_[static_cast<std::size_t>(column.plane_left)] = static_cast<std::uint32_t>(i);
    }
    if (column.plane_right != kNoPlane) {
      places_[static_cast<std::size_t>(column.plane_right)] =
          static_cast<std::uint32_t>(padded + i);
    }
  }
  for (std::uint32_t c = 0; c < layout.num_columns; ++c) {
    by_rounds_.push_back({c, layout.columns[c].feature, layout.columns[c].thresholds});
  }
  const auto rounds = [&](const RowColumn& of) { return layout.columns[of.column].fine_rounds; };
  std::stable_sort(by_rounds_.begin(), by_rounds_.end(),
                   [&](const RowColumn& a, const RowColumn& b) { return rounds(a) < rounds(b); });
  std::uint32_t end = 0;
  for (std::uint32_t most = 0; most <= kMaxRounds; ++most) {
    while (end < by_rounds_.size() && rounds(by_rounds_[end]) <= most) ++end;
    rounds_end_.push_back(end);
  }
  of_row->padded = static_cast<std::uint32_t>(padded);
  of_row->features = features_.data();
  of_row->scales = scales_.data();
  of_row->lowests = lowests_.data();
  of_row->highests = highests_.data();
  of_row->firsts = firsts_.data();
  of_row->shifts = shifts_.data();
  of_row->fines = fines_.data();
  of_row->linears = linears_.data();
  of_row->by_rounds = by_rounds_.data();
  of_row->rounds_end = rounds_end_.data();
}

}  // namespace cpp_serving
