#include "walk.h"

#include <algorithm>
#include <type_traits>

namespace cpp_serving {
namespace {

// A node in one word: from the lowest bits its plane, its bound, and how far its left child is.
// code of plane > bound goes one further. A leaf stays: it is 0 away, and no code is above 255.
struct Small {
  using Word = std::uint32_t;
  static constexpr int kPlane = 16;
  static constexpr int kLeft = 8;
};
struct Large {
  using Word = std::uint64_t;
  static constexpr int kPlane = 24;
};

template <typename Node>
typename Node::Word Packed(const TestedNode& node, std::uint32_t own_place) {
  using Word = typename Node::Word;
  const Word bound = node.is_leaf ? 255 : node.test.bound;
  const Word plane = node.is_leaf ? 0 : node.test.plane;
  const Word left = node.is_leaf ? 0 : node.left - own_place;
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
  const bool small = num_planes <= 1u << Small::kPlane &&
                     std::all_of(trees_.begin(), trees_.end(), [](const Tree& tree) {
                       // The k-th inner node's children are at 2k + 1 and 2k + 2: at most k + 1
                       // away.
                       return tree.nodes.size() / 2 < 1u << Small::kLeft;
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
      weights_.push_back(
          is_leaf ? static_cast<float>(static_cast<double>(weights.fixed[leaf + nodes[i].left]) *
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
  const auto step = [&](std::size_t at) {
    const Node node = words[at];
    const std::uint8_t code = codes[static_cast<std::size_t>(node & kPlaneMask) << shift];
    const auto bound = static_cast<std::uint8_t>(node >> Layout::kPlane);
    return at + static_cast<std::size_t>(node >> (Layout::kPlane + 8)) + (bound < code ? 1 : 0);
  };
  for (std::size_t group = 0; group < depths_.size(); ++group) {
    const std::uint32_t* roots = roots_.data() + group * kLanes;
    // Named, not an array: each in a register of its own.
    std::size_t a = roots[0], b = roots[1], c = roots[2], d = roots[3];
    std::size_t e = roots[4], f = roots[5], g = roots[6], h = roots[7];
    for (std::uint32_t left = depths_[group]; left > 0; --left) {
      a = step(a), b = step(b), c = step(c), d = step(d);
      e = step(e), f = step(f), g = step(g), h = step(h);
    }
    const std::size_t at[kLanes] = {a, b, c, d, e, f, g, h};
    const std::size_t lanes = std::min<std::size_t>(kLanes, count - group * kLanes);
    for (std::size_t lane = 0; lane < lanes; ++lane) use(group * kLanes + lane, at[lane]);
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
  ForLeaves(codes, shift, [&](std::size_t, std::size_t node) {
    sum += static_cast<std::int64_t>(static_cast<double>(weights_[node]) * scale_);
  });
  return sum;
}

void Walk::Leaves(const std::uint8_t* codes, int shift, std::int32_t* leaves) const {
  ForLeaves(codes, shift, [&](std::size_t place, std::size_t node) {
    leaves[trees_[place].tree] = static_cast<std::int32_t>(ordinals_[node]);
  });
}

}  // namespace cpp_serving
