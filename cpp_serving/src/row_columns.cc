#include "row_columns.h"

#include <algorithm>
#include <array>
#include <limits>

#include "quantise_inl.h"

namespace cpp_serving {
namespace {

constexpr std::size_t kLanes = 64;
constexpr std::uint32_t kKeyBits = 16;
// 256 cells are as many lines as a column's 255 thresholds and codes of cells filled before.
constexpr std::uint32_t kMostCellBits = 8;

// Whether no cell of the keys' highest bits has more thresholds than it has room for.
bool Fits(const std::vector<std::uint32_t>& keys, std::uint32_t cell_bits) {
  std::array<std::uint32_t, 1u << kMostCellBits> counts{};
  return std::none_of(keys.begin(), keys.end(), [&](std::uint32_t key) {
    return ++counts[key >> (kKeyBits - cell_bits)] > kMostInCell;
  });
}

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
    linears_[i / 8] = static_cast<std::uint8_t>(linears_[i / 8] | column.linear << (i % 8));
    if (i >= layout.num_columns) continue;
    AddCells(layout, static_cast<std::uint32_t>(i));
    if (column.feature == i && of_row->in_order == i) ++of_row->in_order;
    if (column.plane_left != kNoPlane) {
      places_[static_cast<std::size_t>(column.plane_left)] = static_cast<std::uint32_t>(i);
    }
    if (column.plane_right != kNoPlane) {
      places_[static_cast<std::size_t>(column.plane_right)] =
          static_cast<std::uint32_t>(padded + i);
    }
  }
  cell_shifts_.resize(padded, 0);
  first_cells_.resize(padded, 0);
  of_row->padded = static_cast<std::uint32_t>(padded);
  of_row->features = features_.data();
  of_row->scales = scales_.data();
  of_row->lowests = lowests_.data();
  of_row->highests = highests_.data();
  of_row->firsts = firsts_.data();
  of_row->shifts = shifts_.data();
  of_row->cell_shifts = cell_shifts_.data();
  of_row->first_cells = first_cells_.data();
  of_row->linears = linears_.data();
  of_row->cells = cells_.data();
  of_row->crowded = crowded_.data();
  of_row->num_crowded = static_cast<std::uint32_t>(crowded_.size());
}

// As few cells as hold the thresholds; a crowded column has one, without any.
void RowColumns::AddCells(const Layout& layout, std::uint32_t column) {
  const Column& of = layout.columns[column];
  std::vector<std::uint32_t> keys;
  for (std::uint32_t i = 0; i < of.num_thresholds; ++i) {
    keys.push_back(Key(of, layout.thresholds[of.thresholds + i]));
  }
  std::uint32_t bits = 0;
  while (bits <= kMostCellBits && !Fits(keys, bits)) ++bits;
  if (bits > kMostCellBits) {
    crowded_.push_back(column);
    keys.clear();
    bits = 0;
  }
  cell_shifts_.push_back(kKeyBits - bits);
  first_cells_.push_back(static_cast<std::uint32_t>(cells_.size()));
  std::uint32_t next = 0;
  for (std::uint32_t cell = 0; cell < 1u << bits; ++cell) {
    RowCell own{{}, next};
    std::fill_n(own.thresholds, kMostInCell, std::numeric_limits<float>::quiet_NaN());
    for (; next < keys.size() && keys[next] >> (kKeyBits - bits) == cell; ++next) {
      own.thresholds[next - own.below] = layout.thresholds[of.thresholds + next];
    }
    cells_.push_back(own);
  }
}

}  // namespace cpp_serving
