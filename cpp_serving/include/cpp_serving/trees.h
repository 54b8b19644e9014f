// From a row of features to the ordinal of its leaf in every tree.
#ifndef CPP_SERVING_TREES_H_
#define CPP_SERVING_TREES_H_

#include <cstdint>
#include <vector>

#include "cpp_serving/faults.h"
#include "cpp_serving/tree_table.h"

namespace cpp_serving {

// float32 `x < threshold` goes left, NaN goes the node's default direction.
// `features` is [feature], `leaves` is filled, [tree].
void WalkTrees(const TreeTable& table, const Faults& faults, const float* features,
               std::int32_t* leaves);

// Per feature, in order, the distinct thresholds of its splits, ascending.
std::vector<std::vector<float>> SplitPoints(const TreeTable& table);

}  // namespace cpp_serving

#endif  // CPP_SERVING_TREES_H_
