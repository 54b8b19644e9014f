#include "cpp_serving/tree_faults.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpp_serving/error.h"

namespace cpp_serving {
namespace {

constexpr float kScale = 1.01f;  // Far beyond rounding, far below what a metric would notice.

template <typename Change>
void EachSplit(std::uint32_t first, std::uint32_t end, BoostedTrees* model, Change change) {
  for (std::uint32_t tree = first; tree < end; ++tree) {
    for (Node& node : model->trees[tree].nodes) {
      if (node.feature != Node::kLeaf) change(&node);
    }
  }
}

}  // namespace

void PutFault(const std::string& name, std::uint32_t first, std::uint32_t end,
              BoostedTrees* model) {
  if (name == "threshold_le") {
    // XGBoost's splits are x < t and become x <= t; LightGBM's are x <= t and become x < t.
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float toward = model->library == "xgboost" ? kInfinity : -kInfinity;
    EachSplit(first, end, model,
              [&](Node* node) { node->threshold = std::nextafter(node->threshold, toward); });
  } else if (name == "nan_direction") {
    EachSplit(first, end, model, [](Node* node) { node->feature ^= Node::kMissingGoesLeft; });
  } else if (name == "tree_limit") {
    std::vector<float>& weights = model->trees[end - 1].leaf_weights;
    std::fill(weights.begin(), weights.end(), 0.0f);
  } else if (name == "weight_scale") {
    for (float& weight : model->trees[first].leaf_weights) weight *= kScale;
  } else if (name == "bias_dropped") {
    std::fill(model->base_margins.begin(), model->base_margins.end(), 0.0f);
  } else {
    throw Error(Error::Kind::kStack, "no fault of trees is called '" + name + "'.",
                "the faults to plant", "name one of cpp_serving/tree_faults.h");
  }
}

}  // namespace cpp_serving
