// From a forest's thresholds to the columns that turn values into codes of one byte.
#ifndef CPP_SERVING_SRC_QUANTISER_H_
#define CPP_SERVING_SRC_QUANTISER_H_

#include <cstdint>
#include <vector>

#include "aligned.h"
#include "kernels.h"

namespace cpp_serving {

// Where a node finds its row's code, and what it compares it with: code > bound goes right.
struct CodeTest {
  std::uint32_t plane;
  std::uint32_t bound;  // 0..254
};

class Quantiser {
 public:
  // Per feature, the thresholds that some node has; any order, repeats allowed, no NaN.
  explicit Quantiser(std::vector<std::vector<float>> thresholds);

  // The test of a node `x < threshold`; makes the plane on its first use.
  CodeTest TestFor(std::uint32_t feature, float threshold, bool missing_goes_left);

  std::uint32_t num_planes() const { return num_planes_; }
  void ShowIn(Layout* layout) const;

 private:
  void AddColumn(std::uint32_t feature, const float* thresholds, std::uint32_t count);

  std::vector<std::vector<float>> distinct_;  // [feature], ascending
  std::vector<std::uint32_t> first_column_;   // [feature]
  std::vector<Column> columns_;
  AlignedVector<float> thresholds_;
  AlignedVector<std::uint8_t> tables_;
  AlignedVector<std::uint8_t> fine_;
  std::uint32_t num_planes_ = 0;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_QUANTISER_H_
