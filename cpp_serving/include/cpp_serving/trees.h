// From a row of real features to the ordinal of its leaf in every tree.
#ifndef CPP_SERVING_TREES_H_
#define CPP_SERVING_TREES_H_

#include <cstdint>
#include <vector>

#include "cpp_serving/faults.h"
#include "cpp_serving/model.h"

namespace cpp_serving {

// float32 `x < threshold` goes left, NaN goes the node's default direction.
// `features` is [real feature], `leaves` is filled, [tree].
void WalkTrees(const Model& model, const Faults& faults, const float* features,
               std::int32_t* leaves);

// Per real feature, in order, the distinct thresholds of its splits, ascending.
std::vector<std::vector<float>> SplitPoints(const Model& model);

}  // namespace cpp_serving

#endif  // CPP_SERVING_TREES_H_
