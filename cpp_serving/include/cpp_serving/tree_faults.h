// Faults that can be planted into a bare model, for drills: the model that was read is changed.
#ifndef CPP_SERVING_TREE_FAULTS_H_
#define CPP_SERVING_TREE_FAULTS_H_

#include <cstdint>
#include <string>

#include "cpp_serving/boosted_trees.h"

namespace cpp_serving {

// Changes the trees `first` to `end`, without the end, by the name of a fault:
//   threshold_le   a value equal to a threshold goes to the other side
//   nan_direction  missing values go to the other child at every split
//   tree_limit     the last tree does not count
//   weight_scale   the first tree's leaves are 1.01 times as large
//   bias_dropped   the base score is left out
// Throws Error(kStack) for any other name.
void PutFault(const std::string& name, std::uint32_t first, std::uint32_t end, BoostedTrees* model);

}  // namespace cpp_serving

#endif  // CPP_SERVING_TREE_FAULTS_H_
