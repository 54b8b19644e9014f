// What XGBoost's objectives make of a margin, and of base_score.
#ifndef CPP_SERVING_SRC_XGBOOST_OBJECTIVES_H_
#define CPP_SERVING_SRC_XGBOOST_OBJECTIVES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cpp_serving/boosted_trees.h"

namespace cpp_serving {

// How base_score, which the file holds as a prediction, becomes a margin.
enum class BaseScore : std::uint8_t { kAsIs, kLogit, kLog };

struct XgboostObjective {
  const char* name;
  Link link;
  BaseScore base;
};

// As the version that wrote the file has it; nullopt where the objective is unknown.
std::optional<XgboostObjective> XgboostObjectiveOf(const std::string& name,
                                                   const std::vector<std::int64_t>& version);

// "5E-1", or from 3.1 on "[5E-1]" or "[1E0,2E0]". False where it is neither.
bool ParseBaseScore(const std::string& text, std::vector<float>* scores);

// In float32, as XGBoost does it; not finite where there is none.
float MarginOf(BaseScore base, float score);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_XGBOOST_OBJECTIVES_H_
