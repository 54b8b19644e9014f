// Faults that can be planted into the scorer's own code, for drills; none by default.
#ifndef CPP_SERVING_FAULTS_H_
#define CPP_SERVING_FAULTS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace cpp_serving {

struct Faults {
  // The `bucket` features that count edges e < x in place of e <= x.
  std::vector<std::string> bucket_edge_side;
  // x <= threshold goes left, in place of x < threshold.
  bool threshold_le = false;
  // Trees whose leaves count in the sum, from the first; 0: all.
  std::uint32_t tree_limit = 0;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_FAULTS_H_
