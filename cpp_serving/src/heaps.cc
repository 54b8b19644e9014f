#include "heaps.h"

namespace cpp_serving {
namespace {

constexpr std::size_t kEnds = 64;
constexpr std::uint32_t kMaxPlanes = 256;

}  // namespace

void ColumnsSideBySide::Show(const Layout& layout, std::uint32_t num_planes, RowLayout* of_row) {
  const std::size_t padded = (std::size_t{layout.num_columns} + 15) / 16 * 16;
  const auto sized = [&](auto* values) {
    values->assign(padded, {});
    return values->data();
  };
  of_row->features = sized(&features_);
  of_row->scales = sized(&scales_);
  of_row->lowests = sized(&lowests_);
  of_row->highests = sized(&highests_);
  of_row->firsts = sized(&firsts_);
  of_row->shifts = sized(&shifts_);
  of_row->planes_left = sized(&planes_left_);
  of_row->planes_right = sized(&planes_right_);
  linears_.assign(padded / 8, 0);
  of_row->linears = linears_.data();
  const auto plane = [&](std::int32_t of_column) {
    return of_column == kNoPlane ? num_planes : static_cast<std::uint32_t>(of_column);
  };
  for (std::uint32_t c = 0; c < layout.num_columns; ++c) {
    const Column& column = layout.columns[c];
    features_[c] = column.feature;
    scales_[c] = column.scale;
    lowests_[c] = column.lowest;
    highests_[c] = column.highest;
    firsts_[c] = column.first;
    shifts_[c] = column.shift;
    planes_left_[c] = plane(column.plane_left);
    planes_right_[c] = plane(column.plane_right);
    linears_[c / 8] = static_cast<std::uint8_t>(linears_[c / 8] | column.linear << (c % 8));
    if (column.feature == c && of_row->last_consecutive == c) of_row->last_consecutive = c + 1;
  }
}

void Heaps::Add(const std::vector<TestedNode>& nodes, const std::int64_t* weights) {
  if (!fit_) return;
  const std::size_t first = num_trees_++ * kEnds;
  planes_.resize(first + kEnds, 0);
  bounds_.resize(first + kEnds, 255);
  weights_.resize(first + kEnds, 0);
  ordinals_.resize(first + kEnds, 0);
  std::vector<std::uint32_t> places(nodes.size(), 1);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const TestedNode& node = nodes[i];
    std::uint32_t place = places[i];
    if (node.is_leaf) {
      while (place < kEnds) place *= 2;  // Below a leaf every row goes left.
      weights_[first + place - kEnds] = weights[node.left];
      ordinals_[first + place - kEnds] = static_cast<std::int32_t>(node.left);
      continue;
    }
    if (place >= kEnds || node.test.plane >= kMaxPlanes) {
      *this = Heaps();
      fit_ = false;
      return;
    }
    planes_[first + place] = static_cast<std::uint8_t>(node.test.plane);
    bounds_[first + place] = static_cast<std::uint8_t>(node.test.bound);
    places[node.left] = 2 * place;
    places[node.left + 1] = 2 * place + 1;
  }
}

void Heaps::Show(RowLayout* of_row) const {
  of_row->num_trees = num_trees_;
  of_row->heap_planes = planes_.data();
  of_row->heap_bounds = bounds_.data();
}

std::int64_t Heaps::Sum(const std::uint8_t* ends) const {
  std::int64_t sum = 0;
  for (std::size_t tree = 0; tree < num_trees_; ++tree) sum += weights_[tree * kEnds + ends[tree]];
  return sum;
}

void Heaps::Leaves(const std::uint8_t* ends, std::int32_t* leaves) const {
  for (std::size_t tree = 0; tree < num_trees_; ++tree) {
    leaves[tree] = ordinals_[tree * kEnds + ends[tree]];
  }
}

}  // namespace cpp_serving
