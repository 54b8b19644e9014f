// Validated trees, whatever file they were read from: nodes, leaf ordinals and leaf weights.
#ifndef CPP_SERVING_TREE_TABLE_H_
#define CPP_SERVING_TREE_TABLE_H_

#include <cstdint>

#include "cpp_serving/span.h"

namespace cpp_serving {

// One node; siblings are neighbours, so that `left + 1` is the right child.
struct Node {
  static constexpr std::uint32_t kLeaf = 0xFFFFFFFFu;
  static constexpr std::uint32_t kMissingGoesLeft = 0x80000000u;
  static constexpr std::uint32_t kFeatureMask = 0x7FFFFFFFu;

  float threshold;
  // kLeaf, or the feature's place with kMissingGoesLeft.
  std::uint32_t feature;
  // Left child within the tree; of a leaf, its ordinal.
  std::uint32_t left;
};
static_assert(sizeof(Node) == 12, "the file holds nodes of 12 bytes");

// A view. The nodes of a tree lie breadth first: its k-th inner node has its children at 2k + 1 and
// 2k + 2. Float32 `x < threshold` goes left, NaN goes the node's way.
struct TreeTable {
  std::uint32_t num_trees() const { return static_cast<std::uint32_t>(node_offsets.size - 1); }

  std::uint32_t num_features = 0;    // Width of a row.
  Span<std::uint32_t> node_offsets;  // [tree + 1]
  Span<std::uint32_t> leaf_offsets;  // [tree + 1]
  Span<Node> nodes;
  Span<float> leaf_weights;  // tree t owns leaf_offsets[t]:leaf_offsets[t + 1], by leaf ordinal
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_TREE_TABLE_H_
