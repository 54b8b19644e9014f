// Trees of at most eight levels for one row at a time, in parts of three levels: a part of each of
// eight trees is tested together, then the part below it that each tree's row comes to.
#ifndef CPP_SERVING_SRC_ROW_TREES_H_
#define CPP_SERVING_SRC_ROW_TREES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "aligned.h"
#include "kernels.h"
#include "leaf_weights.h"
#include "units.h"

namespace cpp_serving {

class RowTrees {
 public:
  // `trees` is [tree], their planes being places of RowLayout's codes; `first_leaf` is [tree], into
  // the weights. None where a tree has more than eight levels, a code's place is above 1,023 or a
  // weight takes more than 48 bits.
  static std::optional<RowTrees> From(const std::vector<std::vector<TestedNode>>& trees,
                                      const LeafWeights& weights, const std::uint32_t* first_leaf);

  // `of_row` must not outlive this.
  void Show(RowLayout* of_row) const;

  // Of the ends that Kernel::row_ends found.
  void Leaves(const std::uint8_t* ends, std::int32_t* leaves) const;

 private:
  struct Part;
  RowTrees(std::size_t num_trees, bool deep, std::uint32_t num_places);
  void Add(std::size_t tree, const std::vector<TestedNode>& nodes, const std::int64_t* weights);
  static void Fill(const Part& part);

  std::uint32_t num_trees_;
  std::uint32_t num_places_;
  std::size_t middle_parts_;  // Of a tree: 4, or 0 where six levels are enough.
  std::size_t tree_lines_;    // Of a tree.
  // As RowLayout has them, of whole groups of trees.
  AlignedVector<std::uint8_t> tops_;
  AlignedVector<std::uint8_t> middles_;
  AlignedVector<std::uint8_t> lines_;
  AlignedVector<std::uint8_t> ordinals_;  // [tree, line, 8]
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_ROW_TREES_H_
