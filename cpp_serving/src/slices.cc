#include "slices.h"

#include <algorithm>

namespace cpp_serving {
namespace {

// Where it does not matter what is tested: no plane has this bound. It becomes the group's first.
constexpr std::pair<std::uint32_t, std::uint32_t> kAny{0, 0xFFFFFFFFu};

// Depth first: a node, its left subtree, its right one. Where the tree ends early, whatever is
// tested leads to the same leaf.
struct Spreader {
  const std::vector<TestedNode>& tree;
  std::vector<std::pair<std::uint32_t, std::uint32_t>>* tests;
  std::vector<std::uint32_t>* leaves;

  void Spread(std::uint32_t at, std::uint32_t levels) const {
    const TestedNode& node = tree[at];
    if (levels == 0) {
      leaves->push_back(node.left);
      return;
    }
    tests->push_back(node.is_leaf ? kAny : std::make_pair(node.test.plane, node.test.bound));
    Spread(node.is_leaf ? at : node.left, levels - 1);
    Spread(node.is_leaf ? at : node.left + 1, levels - 1);
  }
};

}  // namespace

bool Slices::Add(const std::vector<TestedNode>& tree, std::vector<std::uint32_t>* leaf_of_id) {
  const std::uint32_t depth = DepthOf(tree);
  if (depth > kMaxSliceDepth) return false;
  const std::uint32_t most = 1u << depth;
  if (open_tests_.size() + most > max_tests_) CloseGroup();
  const std::size_t first = open_nodes_.size();
  leaf_of_id->clear();
  Spreader{tree, &open_nodes_, leaf_of_id}.Spread(0, depth);
  for (std::size_t i = first; i < open_nodes_.size(); ++i) {
    if (open_nodes_[i] != kAny) open_tests_.emplace(open_nodes_[i], 0);
  }
  depths_.push_back(static_cast<std::uint8_t>(depth));
  nodes_at_.push_back(static_cast<std::uint32_t>(nodes_.size() + first));
  return true;
}

void Slices::CloseGroup() {
  TestGroup group{};
  group.begin = first_open_slot_;
  group.end = num_slots();
  group.first_plane = static_cast<std::uint32_t>(planes_.size());
  const auto first_bound = static_cast<std::uint32_t>(bounds_.size());
  for (auto test = open_tests_.begin(); test != open_tests_.end();) {
    TestedPlane plane{};
    plane.plane = test->first.first;
    plane.first_test = static_cast<std::uint32_t>(bounds_.size()) - first_bound;
    plane.bounds = static_cast<std::uint32_t>(bounds_.size());
    for (; test != open_tests_.end() && test->first.first == plane.plane; ++test) {
      test->second = static_cast<std::uint16_t>(plane.first_test + plane.num_tests++);
      bounds_.push_back(static_cast<std::uint8_t>(test->first.second));
    }
    // A code's rank is the number of bounds below it.
    std::uint32_t rank = 0;
    for (std::uint32_t code = 0; code < kCells; ++code) {
      while (rank < plane.num_tests && bounds_[plane.bounds + rank] < code) ++rank;
      ranks_.push_back(static_cast<std::uint8_t>(rank));
    }
    planes_.push_back(plane);
  }
  group.end_plane = static_cast<std::uint32_t>(planes_.size());
  group.num_tests = static_cast<std::uint32_t>(bounds_.size()) - first_bound;
  for (const Test& test : open_nodes_) {
    const auto found = open_tests_.find(test);
    nodes_.push_back(found == open_tests_.end() ? std::uint16_t{0} : found->second);
  }
  most_tests_ = std::max(most_tests_, group.num_tests);
  groups_.push_back(group);
  open_tests_.clear();
  open_nodes_.clear();
  first_open_slot_ = group.end;
}

void Slices::Finish() {
  if (first_open_slot_ < num_slots()) CloseGroup();
}

void Slices::ShowIn(Layout* layout) const {
  layout->groups = groups_.data();
  layout->num_groups = static_cast<std::uint32_t>(groups_.size());
  layout->tested_planes = planes_.data();
  layout->ranks = ranks_.data();
  layout->bounds = bounds_.data();
  layout->sliced_nodes = nodes_.data();
  layout->sliced_at = nodes_at_.data();
  layout->depths = depths_.data();
}

}  // namespace cpp_serving
