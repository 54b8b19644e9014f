// Trees walked node by node, eight at a time so that their loads overlap: what one row costs least.
#ifndef CPP_SERVING_SRC_WALK_H_
#define CPP_SERVING_SRC_WALK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "aligned.h"
#include "leaf_weights.h"
#include "units.h"

namespace cpp_serving {

class Walk {
 public:
  static constexpr std::uint32_t kLanes = 8;

  void Add(std::uint32_t tree, std::vector<TestedNode> nodes);

  // After the last tree. `first_leaf` is [tree], into the weights.
  void Finish(const LeafWeights& weights, const std::uint32_t* first_leaf,
              std::uint32_t num_planes);

  // Of one row, whose code of plane p is at codes[p << shift]; shift is 0 or 6.
  std::int64_t Sum(const std::uint8_t* codes, int shift) const;
  // Fills leaves[tree] for the trees added.
  void Leaves(const std::uint8_t* codes, int shift, std::int32_t* leaves) const;

  std::uint32_t num_trees() const { return static_cast<std::uint32_t>(trees_.size()); }
  // Of the deepest tree.
  std::uint32_t depth() const { return trees_.empty() ? 0 : trees_.front().depth; }
  std::uint64_t num_steps() const { return num_steps_; }

 private:
  struct Tree {
    std::uint32_t tree;
    std::uint32_t depth;
    std::vector<TestedNode> nodes;
  };
  template <typename Node, typename Use>
  void ForLeaves(const Node* nodes, const std::uint8_t* codes, int shift, Use use) const;
  template <typename Use>
  void ForLeaves(const std::uint8_t* codes, int shift, Use use) const;

  std::vector<Tree> trees_;             // Deepest first; emptied of nodes by Finish.
  std::vector<std::uint32_t> roots_;    // [lane], padded to whole groups
  std::vector<std::uint32_t> depths_;   // [group]
  AlignedVector<std::uint32_t> small_;  // One of these holds the nodes.
  AlignedVector<std::uint64_t> large_;
  AlignedVector<float> weights_;           // [node], as LeafWeights rounded them
  AlignedVector<std::uint32_t> ordinals_;  // [node]
  double scale_ = 1.0;
  std::uint64_t num_steps_ = 0;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_WALK_H_
