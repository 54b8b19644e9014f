// What is laid out for one row at a time: columns side by side, and shallow trees as heaps.
#ifndef CPP_SERVING_SRC_HEAPS_H_
#define CPP_SERVING_SRC_HEAPS_H_

#include <cstdint>
#include <vector>

#include "aligned.h"
#include "kernels.h"
#include "units.h"

namespace cpp_serving {

class ColumnsSideBySide {
 public:
  // Shows its arrays in `of_row`, which must not outlive it.
  void Show(const Layout& layout, std::uint32_t num_planes, RowLayout* of_row);

 private:
  AlignedVector<std::uint32_t> features_;
  AlignedVector<float> scales_;
  AlignedVector<float> lowests_;
  AlignedVector<float> highests_;
  AlignedVector<std::uint32_t> firsts_;
  AlignedVector<std::uint32_t> shifts_;
  AlignedVector<std::uint32_t> planes_left_;
  AlignedVector<std::uint32_t> planes_right_;
  std::vector<std::uint8_t> linears_;
};

class Heaps {
 public:
  // Places the next tree, its weights by ordinal. A tree of more than six levels, or a plane that a
  // byte can not name, ends them: there are no heaps for this forest.
  void Add(const std::vector<TestedNode>& nodes, const std::int64_t* weights);

  bool fit() const { return fit_; }
  void Show(RowLayout* of_row) const;

  // Of the ends that Kernel::find_ends found, [tree].
  std::int64_t Sum(const std::uint8_t* ends) const;
  void Leaves(const std::uint8_t* ends, std::int32_t* leaves) const;

 private:
  bool fit_ = true;
  std::uint32_t num_trees_ = 0;
  AlignedVector<std::uint8_t> planes_;    // [tree, 64]
  AlignedVector<std::uint8_t> bounds_;    // [tree, 64]
  AlignedVector<std::int64_t> weights_;   // [tree, 64], by end
  AlignedVector<std::int32_t> ordinals_;  // [tree, 64], by end
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_HEAPS_H_
