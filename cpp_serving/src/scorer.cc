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

std::vector<BoundFeature> Bind(const Model& model, const Records& records, const Faults& faults) {
  std::vector<BoundFeature> bound;
  bound.reserve(model.features.size());
  for (const Feature& feature : model.features) bound.emplace_back(feature, records, faults);
  return bound;
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
  const std::vector<BoundFeature> bound = Bind(model_, records, faults_);
  const Bids bids(model_, records);
  const Ranker ranker(records);
  const auto candidates = static_cast<std::size_t>(records.num_candidates());
  const bool money = !model_.money.empty();
  Scores scores{std::vector<float>(candidates), std::vector<double>(money ? candidates : 0),
                std::vector<std::int32_t>(candidates)};
  // The candidates' real features, row by row, and the sums of their discrete ones.
  std::vector<float> features(candidates * model_.num_real);
  std::vector<float> category_sums(candidates);
  std::vector<float> row(model_.num_real);
  std::vector<std::int32_t> columns(model_.num_discrete);
  const auto fill = [&](Axis axis, std::int64_t request, std::int64_t candidate) {
    for (const BoundFeature& each : bound) {
      const Feature& feature = each.feature();
      if (feature.axis != axis) continue;
      if (IsReal(feature.kind)) {
        row[feature.place] = each.Real(request, candidate);
      } else {
        columns[feature.place] = Encoded(feature, each.Discrete(request, candidate));
      }
    }
  };
  for (std::int64_t request = 0; request < records.num_requests(); ++request) {
    fill(Axis::kRequest, request, 0);
    const std::int64_t end = records.CandidateBegin(request + 1);
    for (std::int64_t candidate = records.CandidateBegin(request); candidate < end; ++candidate) {
      fill(Axis::kCandidate, request, candidate);
      const auto at = static_cast<std::size_t>(candidate);
      std::copy(row.begin(), row.end(), features.data() + at * row.size());
      category_sums[at] = CategorySum(model_, [&](std::uint32_t i) { return columns[i]; });
    }
  }
  forest_.LeafSums(features.data(), candidates, scores.pctr.data());
  for (std::size_t at = 0; at < candidates; ++at) {
    scores.pctr[at] = Pctr(model_, Logit(model_, scores.pctr[at], category_sums[at]));
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
