// Whether two models say the same, whatever numbers their files gave to nodes and columns.
#ifndef TESTS_CPP_FUZZ_SAME_TREES_H_
#define TESTS_CPP_FUZZ_SAME_TREES_H_

#include <cstring>

#include "cpp_serving/boosted_trees.h"

inline bool SameBits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

inline bool SameTree(const cpp_serving::BoostedTrees& a, const cpp_serving::BoostedTrees& b,
                     std::size_t i) {
  using cpp_serving::Node;
  const auto& one = a.trees[i];
  const auto& other = b.trees[i];
  if (one.output != other.output || one.nodes.size() != other.nodes.size()) return false;
  for (std::size_t n = 0; n < one.nodes.size(); ++n) {
    const Node& x = one.nodes[n];
    const Node& y = other.nodes[n];
    const bool is_leaf = x.feature == Node::kLeaf;
    if (is_leaf != (y.feature == Node::kLeaf) || x.left != y.left) return false;
    if (is_leaf) {
      if (!SameBits(one.leaf_weights[x.left], other.leaf_weights[y.left])) return false;
      continue;
    }
    if (!SameBits(x.threshold, y.threshold) ||
        (x.feature & Node::kMissingGoesLeft) != (y.feature & Node::kMissingGoesLeft) ||
        !(a.columns[x.feature & Node::kFeatureMask] == b.columns[y.feature & Node::kFeatureMask])) {
      return false;
    }
  }
  return true;
}

// But for base margins where the file holds what they were computed from.
inline bool SameModel(const cpp_serving::BoostedTrees& a, const cpp_serving::BoostedTrees& b) {
  if (a.objective != b.objective || a.link != b.link || a.steepness != b.steepness ||
      a.num_features != b.num_features || a.num_outputs != b.num_outputs ||
      a.averaged != b.averaged || a.feature_names != b.feature_names ||
      a.iterations != b.iterations || a.trees.size() != b.trees.size() ||
      a.base_margins.size() != b.base_margins.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.trees.size(); ++i) {
    if (!SameTree(a, b, i)) return false;
  }
  return true;
}

#endif  // TESTS_CPP_FUZZ_SAME_TREES_H_
