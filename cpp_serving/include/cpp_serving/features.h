// The features of docs/features.md, computed from the fields of logged requests.
#ifndef CPP_SERVING_FEATURES_H_
#define CPP_SERVING_FEATURES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "cpp_serving/faults.h"
#include "cpp_serving/model.h"
#include "cpp_serving/records.h"

namespace cpp_serving {

// A feature and the fields of one batch that it reads. Rows are given as the request's and the
// candidate's; a request feature does not look at the candidate.
class BoundFeature {
 public:
  // Throws Error(kLog) when a field is absent or of a type the kind can not read.
  BoundFeature(const Feature& feature, const Records& records, const Faults& faults);

  const Feature& feature() const { return *feature_; }

  // The value of a real kind: computed in float64, rounded once. Missing is NaN.
  float Real(std::int64_t request, std::int64_t candidate) const;

  // The value of a discrete kind. Missing is 0 (bucket, hash) or -1 (id).
  std::int64_t Discrete(std::int64_t request, std::int64_t candidate) const;

 private:
  struct Source {
    Field field;
    std::int64_t Row(std::int64_t request, std::int64_t candidate) const {
      return field.axis == Axis::kCandidate ? candidate : request;
    }
  };

  double Number(const Source& source, std::int64_t request, std::int64_t candidate) const;
  double Matches(std::int64_t request, std::int64_t candidate) const;
  std::int64_t Hash(std::int64_t request, std::int64_t candidate) const;

  const Feature* feature_;
  const Records* records_;
  std::vector<Source> sources_;
  Field history_at_;
  bool edge_exclusive_ = false;
};

// The regression's column of a discrete feature's value. Throws Error(kStack) when a value that was
// given is none of the feature's.
std::int32_t Encoded(const Feature& feature, std::int64_t value);

}  // namespace cpp_serving

#endif  // CPP_SERVING_FEATURES_H_
