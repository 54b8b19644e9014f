#include "row_trees.h"

#include <algorithm>
#include <cstring>

namespace cpp_serving {
namespace {

constexpr std::uint32_t kPartLevels = 3;
constexpr std::size_t kEnds = 8;   // Of a part.
constexpr std::size_t kOther = 7;  // Of a part's bytes: the one that is no node's.
constexpr std::uint32_t kMaxDepth = 8;
constexpr std::uint32_t kMaxPlaces = 1024;
constexpr std::int64_t kWeightLimit = std::int64_t{1} << 47;
constexpr std::uint8_t kNeverRight = 255;  // As a bound: no code is above it.

}  // namespace

// Three levels below `root`, which are written to `places` and `bounds` in heap order, and the
// nodes below them. The first `idle` levels test nothing: every row goes left.
struct RowTrees::Part {
  const std::vector<TestedNode>& nodes;
  std::uint32_t root;
  std::uint32_t idle;
  std::uint8_t* places;
  std::uint8_t* bounds;
  std::uint32_t* ends;
};

void RowTrees::Fill(const Part& part) {
  std::uint32_t level[kEnds] = {part.root};
  std::memset(part.places, 0, kEnds);
  std::memset(part.bounds, kNeverRight, kOther);
  part.bounds[kOther] = 0;
  for (std::uint32_t depth = 0; depth < kPartLevels; ++depth) {
    const std::uint32_t width = 1u << depth;
    for (std::uint32_t i = width; i-- > 0;) {
      const std::uint32_t own = level[i];
      const TestedNode& node = part.nodes[own];
      const bool tested = !node.is_leaf && depth >= part.idle;
      level[2 * i] = tested ? node.left : own;
      level[2 * i + 1] = tested ? node.left + 1 : own;
      if (!tested) continue;
      const std::uint32_t at = width - 1 + i;
      const std::uint32_t place = node.test.plane;
      part.places[at] = static_cast<std::uint8_t>(place);
      part.bounds[at] = static_cast<std::uint8_t>(node.test.bound);
      part.places[kOther] = static_cast<std::uint8_t>(part.places[kOther] | (place >> 8 & 1) << at);
      part.bounds[kOther] = static_cast<std::uint8_t>(part.bounds[kOther] | (place >> 9 & 1) << at);
    }
  }
  std::memcpy(part.ends, level, sizeof level);
}

std::optional<RowTrees> RowTrees::From(const std::vector<std::vector<TestedNode>>& trees,
                                       const LeafWeights& weights,
                                       const std::uint32_t* first_leaf) {
  std::uint32_t depth = 0;
  std::uint32_t num_places = 0;
  for (std::size_t tree = 0; tree < trees.size(); ++tree) {
    depth = std::max(depth, DepthOf(trees[tree]));
    for (const TestedNode& node : trees[tree]) {
      if (!node.is_leaf) {
        num_places = std::max(num_places, node.test.plane + 1);
        continue;
      }
      const std::int64_t weight = weights.fixed[first_leaf[tree] + node.left];
      if (weight >= kWeightLimit || weight < -kWeightLimit) return std::nullopt;
    }
  }
  if (depth > kMaxDepth || num_places > kMaxPlaces) return std::nullopt;
  RowTrees all(trees.size(), depth > 2 * kPartLevels, num_places);
  for (std::size_t tree = 0; tree < trees.size(); ++tree) {
    all.Add(tree, trees[tree], weights.fixed.data() + first_leaf[tree]);
  }
  return all;
}

RowTrees::RowTrees(std::size_t num_trees, bool deep, std::uint32_t num_places)
    : num_trees_(static_cast<std::uint32_t>(num_trees)),
      num_places_(num_places),
      middle_parts_(deep ? kRowMiddles : 0),
      tree_lines_(deep ? kRowMiddles * kEnds : kEnds) {
  const std::size_t groups = (num_trees + kRowGroup - 1) / kRowGroup;
  const std::size_t padded = groups * kRowGroup;
  // What the last group lacks goes left from its top and ends in weights of 0.
  tops_.resize(groups * kRowTop, 0);
  for (std::size_t group = 0; group < groups; ++group) {
    std::memset(tops_.data() + group * kRowTop + kRowTop / 2, kNeverRight, kRowTop / 2);
  }
  middles_.resize(padded * middle_parts_ * kRowMiddle, 0);
  lines_.resize(padded * tree_lines_ * kRowLine, 0);
  ordinals_.resize(padded * tree_lines_ * kEnds, 0);
}

void RowTrees::Add(std::size_t tree, const std::vector<TestedNode>& nodes,
                   const std::int64_t* weights) {
  const std::uint32_t idle = middle_parts_ == 0 ? 0 : 3 * kPartLevels - kMaxDepth;
  std::uint8_t* top = tops_.data() + tree / kRowGroup * kRowTop + tree % kRowGroup * kEnds;
  std::uint32_t roots[kRowMiddles * kEnds];
  std::uint32_t middles[kEnds];
  Fill({nodes, 0, idle, top, top + kRowTop / 2, middle_parts_ == 0 ? roots : middles});
  for (std::size_t i = 0; i < middle_parts_; ++i) {
    std::uint8_t* middle = middles_.data() + (tree * middle_parts_ + i) * kRowMiddle;
    Fill({nodes, middles[i], 0, middle, middle + kRowMiddle / 2, roots + i * kEnds});
  }
  for (std::size_t i = 0; i < tree_lines_; ++i) {
    const std::size_t own = tree * tree_lines_ + i;
    std::uint8_t* line = lines_.data() + own * kRowLine;
    std::uint32_t leaves[kEnds];
    Fill({nodes, roots[i], 0, line, line + kEnds, leaves});
    for (std::size_t end = 0; end < kEnds; ++end) {
      const std::uint32_t ordinal = nodes[leaves[end]].left;
      std::uint8_t* at = line + kRowWeights + kRowWeight * end;
      for (std::size_t byte = 0; byte < kRowWeight; ++byte) {
        at[byte] = static_cast<std::uint8_t>(weights[ordinal] >> (8 * byte));
      }
      ordinals_[own * kEnds + end] = static_cast<std::uint8_t>(ordinal);
    }
  }
}

void RowTrees::Show(RowLayout* of_row) const {
  of_row->num_trees = num_trees_;
  of_row->num_places = num_places_;
  of_row->tops = tops_.data();
  of_row->middles = middle_parts_ == 0 ? nullptr : middles_.data();
  of_row->lines = lines_.data();
}

void RowTrees::Leaves(const std::uint8_t* ends, std::int32_t* leaves) const {
  for (std::size_t tree = 0; tree < num_trees_; ++tree) {
    leaves[tree] = ordinals_[tree * tree_lines_ * kEnds + ends[tree]];
  }
}

}  // namespace cpp_serving
