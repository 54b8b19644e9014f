#include "walk.h"

#include <algorithm>

namespace cpp_serving {
namespace {

// A node in one word: code of `plane` > `bound` goes to left + 1, else to left. A leaf's children
// are itself: its bound is 255, which no code is above.
struct Small {
  using Word = std::uint32_t;
  static constexpr int kPlane = 12;
  static constexpr int kLeft = 12;
};
struct Large {
  using Word = std::uint64_t;
  static constexpr int kPlane = 24;
  static constexpr int kLeft = 32;
};

template <typename Node>
typename Node::Word Packed(const TestedNode& node, std::uint32_t own_place) {
  using Word = typename Node::Word;
  const Word bound = node.is_leaf ? 255 : node.test.bound;
  const Word plane = node.is_leaf ? 0 : node.test.plane;
  const Word left = node.is_leaf ? own_place : node.left;
  return plane | bound << Node::kPlane | left << (Node::kPlane + 8);
}

}  // namespace

void Walk::Add(std::uint32_t tree, std::vector<TestedNode> nodes) {
  std::vector<std::uint32_t> depths(nodes.size(), 0);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].is_leaf) continue;
    depths[nodes[i].left] = depths[nodes[i].left + 1] = depths[i] + 1;
  }
  trees_.push_back({tree, *std::max_element(depths.begin(), depths.end()), std::move(nodes)});
}

void Walk::Finish(const LeafWeights& weights, const std::uint32_t* first_leaf,
                  std::uint32_t num_planes) {
  std::stable_sort(trees_.begin(), trees_.end(),
                   [](const Tree& a, const Tree& b) { return a.depth > b.depth; });
  const bool small =
      num_planes <= 1u << Small::kPlane &&
      std::all_of(trees_.begin(), trees_.end(), [](const Tree& tree) {
        return tree.nodes.size() <= 1u << Small::kLeft;
      });
  scale_ = 1.0 / weights.unit;
  const auto add = [&](const std::vector<TestedNode>& nodes, std::uint32_t leaf) {
    roots_.push_back(static_cast<std::uint32_t>(weights_.size()));
    for (std::uint32_t i = 0; i < nodes.size(); ++i) {
      if (small) {
        small_.push_back(Packed<Small>(nodes[i], i));
      } else {
        large_.push_back(Packed<Large>(nodes[i], i));
      }
      const bool is_leaf = nodes[i].is_leaf;
      // At most 24 bits, as the float32 weight itself: exact.
      weights_.push_back(is_leaf ? static_cast<float>(
                                       static_cast<double>(weights.fixed[leaf + nodes[i].left]) *
                                       weights.unit)
                                 : 0.0f);
      ordinals_.push_back(is_leaf ? nodes[i].left : 0);
    }
  };
  for (std::size_t i = 0; i < trees_.size(); ++i) {
    if (i % kLanes == 0) depths_.push_back(trees_[i].depth);
    num_steps_ += trees_[i].depth;
    add(trees_[i].nodes, first_leaf[trees_[i].tree]);
    std::vector<TestedNode>().swap(trees_[i].nodes);
  }
  // The last group is filled with its last tree; what comes of it is not used.
  while (roots_.size() % kLanes != 0) roots_.push_back(roots_.back());
}

template <typename Node, typename Use>
void Walk::ForLeaves(const Node* words, const std::uint8_t* codes, int shift, Use use) const {
  using Layout = std::conditional_t<sizeof(Node) == 4, Small, Large>;
  constexpr Node kPlaneMask = (Node{1} << Layout::kPlane) - 1;
  const std::size_t count = trees_.size();
  for (std::size_t group = 0; group < depths_.size(); ++group) {
    const std::uint32_t* roots = roots_.data() + group * kLanes;
    std::uint32_t at[kLanes] = {};
    for (std::uint32_t step = depths_[group]; step > 0; --step) {
#pragma GCC unroll 8
      for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
        const Node node = words[roots[lane] + at[lane]];
        const std::uint32_t code = codes[static_cast<std::size_t>(node & kPlaneMask) << shift];
        const auto bound = static_cast<std::uint32_t>((node >> Layout::kPlane) & 0xFF);
        at[lane] = static_cast<std::uint32_t>(node >> (Layout::kPlane + 8)) + (code > bound);
      }
    }
    const std::size_t lanes = std::min<std::size_t>(kLanes, count - group * kLanes);
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      use(group * kLanes + lane, roots[lane] + at[lane]);
    }
  }
}

template <typename Use>
void Walk::ForLeaves(const std::uint8_t* codes, int shift, Use use) const {
  // The shift is a constant in each copy of the loop.
  const auto shifted = [&](auto constant) {
    if (small_.empty()) {
      ForLeaves(large_.data(), codes, constant, use);
    } else {
      ForLeaves(small_.data(), codes, constant, use);
    }
  };
  if (shift == 0) {
    shifted(std::integral_constant<int, 0>{});
  } else {
    shifted(std::integral_constant<int, 6>{});
  }
}

std::int64_t Walk::Sum(const std::uint8_t* codes, int shift) const {
  std::int64_t sum = 0;
  ForLeaves(codes, shift, [&](std::size_t, std::uint32_t node) {
    sum += static_cast<std::int64_t>(static_cast<double>(weights_[node]) * scale_);
  });
  return sum;
}

void Walk::Leaves(const std::uint8_t* codes, int shift, std::int32_t* leaves) const {
  ForLeaves(codes, shift, [&](std::size_t place, std::uint32_t node) {
    leaves[trees_[place].tree] = static_cast<std::int32_t>(ordinals_[node]);
  });
}

}  // namespace cpp_serving
