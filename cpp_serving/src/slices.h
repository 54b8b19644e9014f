// From trees to bits: every distinct test of a group of trees gives a bit a row, and a tree's leaf
// ids are put together bit by bit, for as many rows at once as a register has bits.
#ifndef CPP_SERVING_SRC_SLICES_H_
#define CPP_SERVING_SRC_SLICES_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "aligned.h"
#include "kernels.h"
#include "units.h"

namespace cpp_serving {

// Trees of at most kMaxSliceDepth levels, in slots from 0 on (kernels.h, Layout).
class Slices {
 public:
  // A group has at most so many distinct tests: fewer than 2^16, which name their places.
  explicit Slices(std::size_t max_tests) : max_tests_(max_tests) {}

  // Takes the next slot. `leaf_of_id` is filled, [2^depth]. False where the tree is too deep.
  bool Add(const std::vector<TestedNode>& tree, std::vector<std::uint32_t>* leaf_of_id);
  // After the last tree.
  void Finish();
  void ShowIn(Layout* layout) const;

  std::uint32_t num_slots() const { return static_cast<std::uint32_t>(depths_.size()); }
  std::uint64_t num_tests() const { return bounds_.size(); }
  std::uint64_t num_nodes() const { return nodes_.size(); }
  // Of the largest group.
  std::uint32_t most_tests() const { return most_tests_; }

 private:
  using Test = std::pair<std::uint32_t, std::uint32_t>;  // plane, bound
  void CloseGroup();

  std::size_t max_tests_;
  std::map<Test, std::uint16_t> open_tests_;  // Of the open group, numbered when it is closed.
  std::vector<Test> open_nodes_;
  std::uint32_t first_open_slot_ = 0;
  std::uint32_t most_tests_ = 0;
  std::vector<TestGroup> groups_;
  std::vector<TestedPlane> planes_;
  AlignedVector<std::uint8_t> ranks_;
  AlignedVector<std::uint8_t> bounds_;
  AlignedVector<std::uint16_t> nodes_;
  std::vector<std::uint32_t> nodes_at_;
  std::vector<std::uint8_t> depths_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_SLICES_H_
