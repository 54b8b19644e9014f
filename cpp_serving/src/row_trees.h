// Trees of at most six levels for one row at a time: the upper three levels of eight trees are
// tested together, then the lower three of the part that each tree's row comes to.
#ifndef CPP_SERVING_SRC_ROW_TREES_H_
#define CPP_SERVING_SRC_ROW_TREES_H_

#include <cstdint>
#include <vector>

#include "aligned.h"
#include "kernels.h"
#include "units.h"

namespace cpp_serving {

class RowTrees {
 public:
  // Takes the next tree, its planes being places of RowLayout's codes, its weights by ordinal. A
  // tree of more than six levels, a place above 255 or a weight of more than 48 bits ends them.
  void Add(const std::vector<TestedNode>& nodes, const std::int64_t* weights);

  bool fit() const { return fit_; }
  // After the last tree. `of_row` must not outlive this.
  void Show(RowLayout* of_row) const;

  // Of the ends that Kernel::row_ends found.
  void Leaves(const std::uint8_t* ends, std::int32_t* leaves) const;

 private:
  struct Part;
  void Fill(const Part& part);

  bool fit_ = true;
  std::uint32_t num_trees_ = 0;
  AlignedVector<std::uint8_t> tops_;      // As RowLayout has them, of whole groups.
  AlignedVector<std::uint8_t> lines_;     // Likewise.
  AlignedVector<std::uint8_t> ordinals_;  // [tree, 64], by end
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_ROW_TREES_H_
