// From logged requests to ranks, fused or checkpoint by checkpoint, with the same bits.
#ifndef CPP_SERVING_SCORER_H_
#define CPP_SERVING_SCORER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cpp_serving/artifact.h"
#include "cpp_serving/faults.h"
#include "cpp_serving/forest.h"
#include "cpp_serving/model.h"
#include "cpp_serving/records.h"

namespace cpp_serving {

enum class DType { kFloat32, kFloat64, kInt32, kInt64 };

std::size_t SizeOf(DType dtype);

// A named place whose value can be recorded and given. `inner` is the size of its inner axis,
// if it has one.
struct CheckpointInfo {
  std::string name;
  DType dtype;
  Axis axis;
  std::optional<std::int64_t> inner;
  std::vector<std::size_t> after;  // Places of those it is computed from.
};

// A recorded checkpoint: [row] or [row, inner], C order.
struct Recorded {
  std::size_t checkpoint;
  std::int64_t rows;
  std::unique_ptr<std::byte[]> values;
};

// Values to use in place of computing them: [row] or [row, inner], C order, of the declared dtype.
// The caller checked the shape.
struct Given {
  std::size_t checkpoint;
  const void* values;
};

// One entry a candidate. `ecpm_micros` is empty when the log has no bids.
struct Scores {
  std::vector<float> pctr;
  std::vector<double> ecpm_micros;
  std::vector<std::int32_t> rank;
};

// What is summed, in which order and type:
//   regression.leaf_sum      as integers (forest.h), rounded once to float32
//   regression.category_sum  float64, discrete features in order, rounded once to float32
//   logit                    (bias + leaf_sum) + category_sum in float64, rounded once to float32
//   pctr                     1 / (1 + exp(-(slope * logit + intercept))) in float64, rounded once
//   ecpm_micros              (1000 * pctr) * bid in float64
// No fast math, no contraction into fused multiply-adds. Const methods may run on several threads.
class Scorer {
 public:
  // Throws Error(kArtifact) when the file is not sound, Error(kStack) for a fault that it can not
  // have (no such bucket feature, more trees than there are) and a kernel that can not run here.
  explicit Scorer(std::shared_ptr<const Artifact> artifact, Faults faults = {},
                  ForestOptions options = {});

  const Model& model() const { return model_; }
  const Faults& faults() const { return faults_; }
  const Forest& forest() const { return forest_; }
  const std::vector<CheckpointInfo>& checkpoints() const { return checkpoints_; }

  // The outputs, one pass over the candidates. Throws Error(kLog).
  Scores Score(const Records& records) const;

  // pCTRs of a model without discrete features, from `features` [row, real feature], C order; NaN
  // is missing. `pctr` is filled, [row]. Throws Error(kStack) when the model has discrete features.
  void ScoreMatrix(const float* features, std::size_t rows, float* pctr) const;

  // The captured checkpoints, in the order asked. A given checkpoint records what would have been
  // produced, and what follows is computed from the given values. Throws Error(kLog), and
  // Error(kStack) for a given value outside its checkpoint's range (a leaf its tree has not).
  std::vector<Recorded> Trace(const Records& records, const std::vector<std::size_t>& capture,
                              const std::vector<Given>& given) const;

 private:
  Model model_;
  Faults faults_;
  Forest forest_;
  std::vector<CheckpointInfo> checkpoints_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SCORER_H_
