// From margins to predictions.
#ifndef CPP_SERVING_SRC_LINK_H_
#define CPP_SERVING_SRC_LINK_H_

#include <cstddef>

#include "cpp_serving/boosted_trees.h"

namespace cpp_serving {

// 1 for a link that makes one prediction of all outputs, else one for each.
std::size_t ScoresPerRow(Link link, std::size_t num_outputs);

// `margins` is [row, output], `scores` is filled, [row, score]; they may be the same memory.
// Computed in float64, rounded once.
void ApplyLink(const BoostedTrees& model, const float* margins, std::size_t rows, float* scores);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_LINK_H_
