#include "cpp_serving/scorer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "cpp_serving/error.h"
#include "cpp_serving/features.h"
#include "cpp_serving/rank.h"
#include "steps.h"

namespace cpp_serving {
namespace {

[[noreturn]] void Refuse(std::string what, std::string where, std::string fix) {
  throw Error(Error::Kind::kStack, std::move(what), std::move(where), std::move(fix));
}

Faults Checked(const Model& model, Faults faults) {
  for (const std::string& name : faults.bucket_edge_side) {
    const bool bucket =
        std::any_of(model.features.begin(), model.features.end(), [&](const Feature& feature) {
          return feature.kind == FeatureKind::kBucket && feature.name == name;
        });
    if (!bucket) {
      Refuse("there is no bucket feature '" + name + "'.", model.artifact->where(),
             "plant the fault in a feature of kind bucket");
    }
  }
  if (faults.tree_limit > model.trees.num_trees()) {
    Refuse("the tree limit " + std::to_string(faults.tree_limit) +
               " is above the number of trees, " + std::to_string(model.trees.num_trees()) + ".",
           model.artifact->where(), "limit to fewer trees");
  }
  return faults;
}

std::vector<CheckpointInfo> Declare(const Model& model) {
  std::vector<CheckpointInfo> all;
  std::vector<std::size_t> real;
  std::vector<std::size_t> encoded;
  for (const Feature& feature : model.features) {
    if (IsReal(feature.kind)) real.push_back(all.size());
    const DType dtype = IsReal(feature.kind)               ? DType::kFloat32
                        : feature.kind == FeatureKind::kId ? DType::kInt64
                                                           : DType::kInt32;
    all.push_back({"features." + feature.name, dtype, feature.axis, std::nullopt, {}});
  }
  for (std::size_t i = 0; i < model.features.size(); ++i) {
    const Feature& feature = model.features[i];
    if (IsReal(feature.kind)) continue;
    encoded.push_back(all.size());
    all.push_back({"encoded." + feature.name, DType::kInt32, feature.axis, std::nullopt, {i}});
  }
  const auto add = [&](const char* name, DType dtype, std::optional<std::int64_t> inner,
                       std::vector<std::size_t> after) {
    all.push_back({name, dtype, Axis::kCandidate, inner, std::move(after)});
    return all.size() - 1;
  };
  const auto leaves = add("gbdt.leaves", DType::kInt32, model.trees.num_trees(), real);
  const auto leaf_sum = add("regression.leaf_sum", DType::kFloat32, std::nullopt, {leaves});
  const auto category_sum = add("regression.category_sum", DType::kFloat32, std::nullopt, encoded);
  const auto logit = add("logit", DType::kFloat32, std::nullopt, {leaf_sum, category_sum});
  const auto pctr = add("pctr", DType::kFloat32, std::nullopt, {logit});
  const auto value =
      model.money.empty() ? pctr : add("ecpm_micros", DType::kFloat64, std::nullopt, {pctr});
  add("rank", DType::kInt32, std::nullopt, {value});
  return all;
}

// What a thread keeps from call to call, so that a request's features allocate nothing.
struct Workspace {
  std::vector<BoundFeature> bound;
  std::vector<float> features;          // [candidate, real feature]
  std::vector<double> category_sums;    // [candidate]
  std::vector<double> of_request;       // [request]: a discrete feature's weights
  std::vector<float> real_of_request;   // [request]
  std::vector<std::int64_t> discretes;  // [candidate] or [request]
};

Workspace& OwnWorkspace() {
  static thread_local Workspace workspace;
  return workspace;
}

// Calls use(request, candidate) for each candidate.
template <typename Use>
void ForCandidates(const Records& records, Use use) {
  for (std::int64_t request = 0; request < records.num_requests(); ++request) {
    const std::int64_t end = records.CandidateBegin(request + 1);
    for (std::int64_t row = records.CandidateBegin(request); row < end; ++row) {
      use(static_cast<std::size_t>(request), static_cast<std::size_t>(row));
    }
  }
}

void FillReal(const BoundFeature& bound, const Records& records, std::size_t width,
              Workspace* work) {
  float* column = work->features.data() + bound.feature().place;
  if (bound.feature().axis == Axis::kCandidate) return bound.Reals(column, width);
  float* of_request = work->real_of_request.data();
  bound.Reals(of_request, 1);
  ForCandidates(records, [&](std::size_t request, std::size_t row) {
    column[row * width] = of_request[request];
  });
}

// Adds the feature's weights, in the order of the features: as CategorySum does.
void AddDiscrete(const BoundFeature& bound, const Records& records, const Span<float>& weights,
                 Workspace* work) {
  const Feature& feature = bound.feature();
  std::int64_t* values = work->discretes.data();
  bound.Discretes(values);
  const auto weight = [&](std::int64_t value) {
    return static_cast<double>(weights[static_cast<std::uint32_t>(Encoded(feature, value))]);
  };
  double* sums = work->category_sums.data();
  if (feature.axis == Axis::kRequest) {
    double* of_request = work->of_request.data();
    for (std::int64_t i = 0; i < records.num_requests(); ++i) of_request[i] = weight(values[i]);
    return ForCandidates(
        records, [&](std::size_t request, std::size_t row) { sums[row] += of_request[request]; });
  }
  const std::size_t candidates = work->category_sums.size();
  if (!feature.code_of_id.empty()) {
    const std::int32_t* codes = feature.code_of_id.data();
    const std::uint64_t known = feature.code_of_id.size();
    const float* own = weights.data + feature.first_column;
    for (std::size_t row = 0; row < candidates; ++row) {
      const auto id = static_cast<std::uint64_t>(values[row]);
      sums[row] += static_cast<double>(own[id < known ? codes[id] : 0]);
    }
    return;
  }
  if (feature.kind == FeatureKind::kId) {
    const float* own = weights.data + feature.first_column;
    for (std::size_t row = 0; row < candidates; ++row) {
      sums[row] += static_cast<double>(own[feature.id_table.CodeOf(values[row])]);
    }
    return;
  }
  for (std::size_t row = 0; row < candidates; ++row) sums[row] += weight(values[row]);
}

// Fills the candidates' real features and the sums of their discrete ones.
void Extract(const Model& model, const Faults& faults, const Records& records, Workspace* work) {
  const auto candidates = static_cast<std::size_t>(records.num_candidates());
  const auto requests = static_cast<std::size_t>(records.num_requests());
  work->bound.clear();
  work->features.resize(candidates * model.num_real);
  work->category_sums.assign(candidates, 0.0);
  work->of_request.resize(requests);
  work->real_of_request.resize(requests);
  work->discretes.resize(std::max(candidates, requests));
  for (const Feature& feature : model.features) work->bound.emplace_back(feature, records, faults);
  for (const BoundFeature& bound : work->bound) {
    if (IsReal(bound.feature().kind)) {
      FillReal(bound, records, model.num_real, work);
    } else {
      AddDiscrete(bound, records, model.category_weights, work);
    }
  }
  work->bound.clear();
}

}  // namespace

std::size_t SizeOf(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kInt32 ? 4 : 8;
}

Scorer::Scorer(std::shared_ptr<const Artifact> artifact, Faults faults, ForestOptions options)
    : model_(Model::From(std::move(artifact))),
      faults_(Checked(model_, std::move(faults))),
      forest_(model_.trees, faults_, options),
      checkpoints_(Declare(model_)) {}

Scores Scorer::Score(const Records& records) const {
  const Bids bids(model_, records);
  const Ranker ranker(records);
  const auto candidates = static_cast<std::size_t>(records.num_candidates());
  const bool money = !model_.money.empty();
  Scores scores{std::vector<float>(candidates), std::vector<double>(money ? candidates : 0),
                std::vector<std::int32_t>(candidates)};
  Workspace& work = OwnWorkspace();
  Extract(model_, faults_, records, &work);
  forest_.LeafSums(work.features.data(), candidates, scores.pctr.data());
  for (std::size_t at = 0; at < candidates; ++at) {
    scores.pctr[at] =
        Pctr(model_, Logit(model_, scores.pctr[at], static_cast<float>(work.category_sums[at])));
    if (money) {
      scores.ecpm_micros[at] = EcpmMicros(scores.pctr[at], bids.At(static_cast<std::int64_t>(at)));
    }
  }
  if (money) {
    ranker.Rank(scores.ecpm_micros.data(), scores.rank.data());
  } else {
    ranker.Rank(scores.pctr.data(), scores.rank.data());
  }
  return scores;
}

void Scorer::ScoreMatrix(const float* features, std::size_t rows, float* pctr) const {
  if (model_.num_discrete != 0) {
    Refuse("the model has " + std::to_string(model_.num_discrete) +
               " discrete features, which a matrix of real ones does not hold.",
           model_.artifact->where(), "score logged records, or trace with the features given");
  }
  forest_.LeafSums(features, rows, pctr);
  for (std::size_t row = 0; row < rows; ++row) {
    pctr[row] = Pctr(model_, Logit(model_, pctr[row], 0.0f));
  }
}

}  // namespace cpp_serving
