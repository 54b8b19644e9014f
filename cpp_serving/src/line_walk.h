// Trees of at most eight levels walked over two cache lines each: what limits the walk of one row
// through a large forest is how many lines it has to fetch, and how many after another.
#ifndef CPP_SERVING_SRC_LINE_WALK_H_
#define CPP_SERVING_SRC_LINE_WALK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "aligned.h"
#include "leaf_weights.h"
#include "units.h"

namespace cpp_serving {

// A tree's upper levels fill one line of 16 words, and below each of their ends the four lower
// levels fill another: a heap from place 1, each word plane | bound << 16. Where the tree ends
// early every row goes left (bound 255).
class LineWalk {
 public:
  static constexpr std::uint32_t kLanes = 8;
  static constexpr std::uint32_t kMaxDepth = 8;
  static constexpr std::uint32_t kMaxPlanes = 1u << 16;

  // `trees` is [tree], each of at most kMaxDepth levels; `first_leaf` is [tree], into the weights.
  LineWalk(const std::vector<std::vector<TestedNode>>& trees, const LeafWeights& weights,
           const std::uint32_t* first_leaf);

  // Of one row, whose code of plane p is at codes[p].
  std::int64_t Sum(const std::uint8_t* codes) const;
  // Fills leaves[tree].
  void Leaves(const std::uint8_t* codes, std::int32_t* leaves) const;

 private:
  void AddLine(const std::vector<TestedNode>& tree, std::uint32_t root, std::uint32_t levels,
               std::vector<std::uint32_t>* ends);
  template <typename Use>
  void ForEnds(const std::uint8_t* codes, Use use) const;

  std::vector<std::uint32_t> order_;         // [lane]: the tree; whole groups, the last repeated.
  std::vector<std::uint32_t> upper_levels_;  // [group]
  std::vector<std::uint32_t> upper_;         // [lane]: first word of its upper line
  std::vector<std::uint32_t> lower_;         // [lane]: first word of its lower lines
  std::size_t num_trees_;
  double scale_;
  AlignedVector<std::uint32_t> words_;
  AlignedVector<float> weights_;          // At the word that is 16 before where a walk ends.
  AlignedVector<std::int32_t> ordinals_;  // Likewise.
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_LINE_WALK_H_
