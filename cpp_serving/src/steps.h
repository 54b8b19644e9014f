// The arithmetic after the features, one function a checkpoint: Score and Trace both call these, so
// that their bits can not differ.
#ifndef CPP_SERVING_SRC_STEPS_H_
#define CPP_SERVING_SRC_STEPS_H_

#include <cmath>
#include <cstdint>

#include "cpp_serving/error.h"
#include "cpp_serving/faults.h"
#include "cpp_serving/model.h"
#include "cpp_serving/records.h"

namespace cpp_serving {

// `column(i)` is the column of the i-th discrete feature.
template <typename ColumnOf>
float CategorySum(const Model& model, ColumnOf column) {
  double sum = 0.0;
  for (std::uint32_t i = 0; i < model.num_discrete; ++i) {
    sum += static_cast<double>(model.category_weights[static_cast<std::uint32_t>(column(i))]);
  }
  return static_cast<float>(sum);
}

inline float Logit(const Model& model, float leaf_sum, float category_sum) {
  return static_cast<float>((static_cast<double>(model.bias) + static_cast<double>(leaf_sum)) +
                            static_cast<double>(category_sum));
}

inline float Pctr(const Model& model, float logit) {
  return static_cast<float>(
      1.0 / (1.0 + std::exp(-(model.slope * static_cast<double>(logit) + model.intercept))));
}

// The bid of each candidate, as the log has it.
class Bids {
 public:
  Bids(const Model& model, const Records& records) {
    if (model.money.empty()) return;
    field_ = records.At(model.money);
    path_ = &model.money;
    if (field_.type != ValueType::kInt64) {
      throw Error(Error::Kind::kLog,
                  "the bid '" + *path_ + "' is " + NameOf(field_.type) + ", not int64.",
                  "the log's schema", "log bids in whole millionths of the currency");
    }
  }

  double At(std::int64_t candidate) const {
    if (field_.IsNull(candidate)) {
      throw Error(Error::Kind::kLog, "a candidate has no bid.",
                  "'" + *path_ + "', candidate row " + std::to_string(candidate),
                  "reject requests with missing bids before scoring");
    }
    return static_cast<double>(field_.Int64(candidate));
  }

 private:
  Field field_;
  const std::string* path_ = nullptr;  // Of the model, which outlives this.
};

inline double EcpmMicros(float pctr, double bid) {
  return 1000.0 * static_cast<double>(pctr) * bid;
}

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_STEPS_H_
