#include "cpp_serving/trees.h"

#include <algorithm>
#include <cstddef>

namespace cpp_serving {
namespace {

template <bool kInclusive>
std::int32_t Leaf(const Node* nodes, const float* features) {
  std::uint32_t at = 0;
  while (nodes[at].feature != Node::kLeaf) {
    const Node& node = nodes[at];
    const float x = features[node.feature & Node::kFeatureMask];
    const bool missing = x != x;
    const bool less = kInclusive ? x <= node.threshold : x < node.threshold;
    const bool left = missing ? (node.feature & Node::kMissingGoesLeft) != 0 : less;
    at = node.left + (left ? 0 : 1);
  }
  return static_cast<std::int32_t>(nodes[at].left);
}

}  // namespace

void WalkTrees(const TreeTable& table, const Faults& faults, const float* features,
               std::int32_t* leaves) {
  const std::uint32_t trees = table.num_trees();
  for (std::uint32_t tree = 0; tree < trees; ++tree) {
    const Node* nodes = table.nodes.data + table.node_offsets[tree];
    leaves[tree] = faults.threshold_le ? Leaf<true>(nodes, features) : Leaf<false>(nodes, features);
  }
}

std::vector<std::vector<float>> SplitPoints(const TreeTable& table) {
  std::vector<std::vector<float>> points(table.num_features);
  for (const Node& node : table.nodes) {
    if (node.feature != Node::kLeaf) {
      points[node.feature & Node::kFeatureMask].push_back(node.threshold);
    }
  }
  for (std::vector<float>& of_feature : points) {
    std::sort(of_feature.begin(), of_feature.end());
    of_feature.erase(std::unique(of_feature.begin(), of_feature.end()), of_feature.end());
  }
  return points;
}

}  // namespace cpp_serving
