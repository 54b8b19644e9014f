// The trees that are evaluated in blocks, with what is known of each by slot (kernels.h, Layout).
#ifndef CPP_SERVING_SRC_SLOTS_H_
#define CPP_SERVING_SRC_SLOTS_H_

#include <cstdint>
#include <vector>

#include "aligned.h"
#include "kernels.h"
#include "leaf_weights.h"
#include "slices.h"
#include "units.h"

namespace cpp_serving {

class Slots {
 public:
  // Of tests a group of sliced trees (slices.h).
  explicit Slots(std::size_t max_tests) : slices_(max_tests) {}

  // Both take the next slot, or are false where the tree does not suit. Sliced ones come first.
  bool AddSliced(std::uint32_t tree, const std::vector<TestedNode>& nodes,
                 const std::int64_t* weights);
  bool AddUnits(std::uint32_t tree, const std::vector<TestedNode>& nodes,
                const std::int64_t* weights);

  // After the last tree. The layout must not outlive this.
  void Show(Layout* layout);

  std::uint32_t size() const { return static_cast<std::uint32_t>(trees_.size()); }
  std::uint32_t num_sliced() const { return slices_.num_slots(); }
  const Slices& slices() const { return slices_; }
  std::uint64_t num_unit_nodes() const { return num_unit_nodes_; }
  // Weights are counted from their tree's least, so that bytes need no sign: the sum of those.
  std::int64_t least_sum() const { return least_sum_; }
  std::uint32_t tree(std::uint32_t slot) const { return trees_[slot]; }
  std::uint8_t leaf(std::uint32_t slot, std::uint8_t id) const {
    return leaves_[std::size_t{slot} * kIds + id];
  }

 private:
  static constexpr std::size_t kIds = 256;
  void Add(std::uint32_t tree, const std::vector<std::uint32_t>& leaf_of_id,
           const std::int64_t* weights);

  Slices slices_;
  std::vector<std::uint32_t> trees_;
  std::vector<std::uint32_t> num_ids_;
  AlignedVector<std::uint8_t> leaves_;   // [slot, id]: ordinal
  AlignedVector<std::int64_t> weights_;  // [slot, id]: above the slot's least
  AlignedVector<std::uint8_t> weight_bytes_;
  std::vector<std::uint32_t> weight_bytes_at_;
  AlignedVector<std::uint32_t> program_;
  std::vector<std::uint32_t> program_at_;
  std::vector<std::uint32_t> num_units_;
  std::uint64_t num_unit_nodes_ = 0;
  std::int64_t least_sum_ = 0;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_SLOTS_H_
