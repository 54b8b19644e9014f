// The features of docs/features.md, computed from the fields of logged requests.
#ifndef CPP_SERVING_FEATURES_H_
#define CPP_SERVING_FEATURES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "cpp_serving/faults.h"
#include "cpp_serving/model.h"
#include "cpp_serving/records.h"

namespace cpp_serving {

// A feature and the fields of one batch that it reads. Values are computed column by column: one
// for each request or, where a field is the candidate's, for each candidate, in the batch's order.
class BoundFeature {
 public:
  // Throws Error(kLog) when a field is absent or of a type the kind can not read.
  BoundFeature(const Feature& feature, const Records& records, const Faults& faults);

  const Feature& feature() const { return *feature_; }

  // The values of a real kind, `stride` floats apart: computed in float64, rounded once. Missing is
  // NaN.
  void Reals(float* out, std::size_t stride) const;

  // The values of a discrete kind. Missing is 0 (bucket, hash) or -1 (id).
  void Discretes(std::int64_t* out) const;

 private:
  struct Source {
    Field field;
    std::int64_t Row(std::int64_t request, std::int64_t candidate) const {
      return field.axis == Axis::kCandidate ? candidate : request;
    }
  };
  static constexpr std::size_t kMaxSources = 3;

  template <typename Put>
  void ForRows(Put put) const;
  template <typename Value>
  void FillReals(float* out, std::size_t stride, Value value) const;
  template <typename Use>
  void WithNumber(std::size_t source, Use use) const;
  double Matches(std::int64_t request, std::int64_t candidate) const;
  const Source* TheOneOfCandidates() const;
  std::int64_t Hash(std::int64_t request, std::int64_t candidate, std::string* text) const;

  const Feature* feature_;
  const Records* records_;
  std::array<Source, kMaxSources> sources_;
  std::size_t num_sources_ = 0;
  Field history_at_;
  bool edge_exclusive_ = false;
};

// The regression's column of a discrete feature's value. Throws Error(kStack) when a value that was
// given is none of the feature's.
std::int32_t Encoded(const Feature& feature, std::int64_t value);

}  // namespace cpp_serving

#endif  // CPP_SERVING_FEATURES_H_
