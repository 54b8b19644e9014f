#include "row_trees.h"

#include <cstring>

namespace cpp_serving {
namespace {

constexpr std::uint32_t kMaxPlace = 255;
constexpr std::uint32_t kPartLevels = 3;
constexpr std::size_t kParts = 8;  // Of the lower levels, and leaves of each.
constexpr std::size_t kEnds = kParts * kParts;
constexpr std::int64_t kWeightLimit = std::int64_t{1} << 47;
constexpr std::uint8_t kNeverRight = 255;  // As a bound: no code is above it.

}  // namespace

// Three levels below `root`, which are written to `places` and `bounds` in heap order, and the
// nodes below them.
struct RowTrees::Part {
  const std::vector<TestedNode>& nodes;
  std::uint32_t root;
  std::uint8_t* places;
  std::uint8_t* bounds;
  std::uint32_t* ends;
};

void RowTrees::Fill(const Part& part) {
  std::uint32_t level[kParts] = {part.root};
  for (std::uint32_t depth = 0; depth < kPartLevels; ++depth) {
    const std::uint32_t width = 1u << depth;
    for (std::uint32_t i = width; i-- > 0;) {
      const TestedNode& node = part.nodes[level[i]];
      const std::uint32_t own = level[i];
      // Below a leaf every row goes left.
      part.places[width - 1 + i] = static_cast<std::uint8_t>(node.is_leaf ? 0 : node.test.plane);
      part.bounds[width - 1 + i] =
          node.is_leaf ? kNeverRight : static_cast<std::uint8_t>(node.test.bound);
      level[2 * i] = node.is_leaf ? own : node.left;
      level[2 * i + 1] = node.is_leaf ? own : node.left + 1;
    }
  }
  std::memcpy(part.ends, level, sizeof level);
}

void RowTrees::Add(const std::vector<TestedNode>& nodes, const std::int64_t* weights) {
  if (!fit_) return;
  fit_ = DepthOf(nodes) <= 2 * kPartLevels;
  for (const TestedNode& node : nodes) {
    if (node.is_leaf) {
      fit_ = fit_ && weights[node.left] < kWeightLimit && weights[node.left] >= -kWeightLimit;
    } else {
      fit_ = fit_ && node.test.plane <= kMaxPlace;
    }
  }
  if (!fit_) {
    *this = RowTrees();
    fit_ = false;
    return;
  }
  const std::size_t tree = num_trees_++;
  const std::size_t group = tree / kRowGroup;
  if (tree % kRowGroup == 0) {
    tops_.resize((group + 1) * kRowTop, 0);
    std::memset(tops_.data() + group * kRowTop + kRowTop / 2, kNeverRight, kRowTop / 2);
    lines_.resize((group + 1) * kRowGroup * kParts * kRowLine, 0);
    ordinals_.resize((group + 1) * kRowGroup * kEnds, 0);
  }
  std::uint8_t* top = tops_.data() + group * kRowTop + tree % kRowGroup * kParts;
  std::uint32_t roots[kParts];
  Fill({nodes, 0, top, top + kRowTop / 2, roots});
  for (std::size_t part = 0; part < kParts; ++part) {
    std::uint8_t* line = lines_.data() + (tree * kParts + part) * kRowLine;
    std::memset(line + kParts, kNeverRight, kParts);
    std::uint32_t leaves[kParts];
    Fill({nodes, roots[part], line, line + kParts, leaves});
    for (std::size_t i = 0; i < kParts; ++i) {
      const std::uint32_t ordinal = nodes[leaves[i]].left;
      const std::int64_t weight = weights[ordinal];
      for (std::size_t byte = 0; byte < kRowWeight; ++byte) {
        line[2 * kParts + kRowWeight * i + byte] = static_cast<std::uint8_t>(weight >> (8 * byte));
      }
      ordinals_[tree * kEnds + part * kParts + i] = static_cast<std::uint8_t>(ordinal);
    }
  }
}

void RowTrees::Show(RowLayout* of_row) const {
  of_row->num_trees = num_trees_;
  of_row->tops = tops_.data();
  of_row->lines = lines_.data();
}

void RowTrees::Leaves(const std::uint8_t* ends, std::int32_t* leaves) const {
  for (std::size_t tree = 0; tree < num_trees_; ++tree) {
    leaves[tree] = ordinals_[tree * kEnds + ends[tree]];
  }
}

}  // namespace cpp_serving
