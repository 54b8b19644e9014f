#include "xgboost_objectives.h"

#include <cmath>
#include <string_view>

#include "decimal.h"

namespace cpp_serving {
namespace {

// src/objective/*.cc of XGBoost 1.2 to 3.4: PredTransform and ProbToMargin.
constexpr XgboostObjective kObjectives[] = {
    {"reg:squarederror", Link::kIdentity, BaseScore::kAsIs},
    {"reg:linear", Link::kIdentity, BaseScore::kAsIs},
    {"reg:squaredlogerror", Link::kIdentity, BaseScore::kAsIs},
    {"reg:absoluteerror", Link::kIdentity, BaseScore::kAsIs},
    {"reg:pseudohubererror", Link::kIdentity, BaseScore::kAsIs},
    {"reg:quantileerror", Link::kIdentity, BaseScore::kAsIs},
    {"reg:expectileerror", Link::kIdentity, BaseScore::kAsIs},
    {"reg:logistic", Link::kLogistic, BaseScore::kLogit},
    {"binary:logistic", Link::kLogistic, BaseScore::kLogit},
    {"binary:logitraw", Link::kIdentity, BaseScore::kAsIs},
    {"binary:hinge", Link::kHinge, BaseScore::kAsIs},
    {"count:poisson", Link::kExponential, BaseScore::kLog},
    {"reg:gamma", Link::kExponential, BaseScore::kLog},
    {"reg:tweedie", Link::kExponential, BaseScore::kLog},
    {"survival:cox", Link::kExponential, BaseScore::kLog},
    {"survival:aft", Link::kExponential, BaseScore::kLog},
    {"multi:softprob", Link::kSoftmax, BaseScore::kAsIs},
    {"multi:softmax", Link::kLargest, BaseScore::kAsIs},
    {"rank:pairwise", Link::kIdentity, BaseScore::kAsIs},
    {"rank:ndcg", Link::kIdentity, BaseScore::kAsIs},
    {"rank:map", Link::kIdentity, BaseScore::kAsIs},
};

bool IsBefore(const std::vector<std::int64_t>& version, std::int64_t major, std::int64_t minor) {
  return version.size() < 2 || version[0] < major || (version[0] == major && version[1] < minor);
}

}  // namespace

std::optional<XgboostObjective> XgboostObjectiveOf(const std::string& name,
                                                   const std::vector<std::int64_t>& version) {
  for (XgboostObjective objective : kObjectives) {
    if (objective.name != name) continue;
    // Up to 1.2 logitraw's base_score was a probability; from 1.3 on it is a margin.
    const bool raw = name == "binary:logitraw";
    if (raw && IsBefore(version, 1, 3)) objective.base = BaseScore::kLogit;
    // From 3.4 on quantiles do not cross.
    const bool quantiles = name == "reg:quantileerror";
    if (quantiles && !IsBefore(version, 3, 4)) objective.link = Link::kAscending;
    return objective;
  }
  return std::nullopt;
}

bool ParseBaseScore(const std::string& text, std::vector<float>* scores) {
  std::string_view rest = text;
  if (!rest.empty() && rest.front() == '[') {
    if (rest.back() != ']') return false;
    rest = rest.substr(1, rest.size() - 2);
  }
  for (;;) {
    const std::size_t comma = rest.find(',');
    float score;
    if (!ParseFloat(rest.substr(0, comma), &score)) return false;
    scores->push_back(score);
    if (comma == std::string_view::npos) return true;
    rest.remove_prefix(comma + 1);
  }
}

float MarginOf(BaseScore base, float score) {
  switch (base) {
    case BaseScore::kAsIs:
      return score;
    case BaseScore::kLogit:
      // Outside (0, 1) the logarithm is infinite or no number.
      return -std::log(1.0f / score - 1.0f);
    case BaseScore::kLog:
      return std::log(score);
  }
  return score;
}

}  // namespace cpp_serving
