// Scorer::Trace: the steps of Score, a checkpoint at a time, each recorded and replaceable.
#include <utility>

#include "cpp_serving/error.h"
#include "cpp_serving/features.h"
#include "cpp_serving/rank.h"
#include "cpp_serving/scorer.h"
#include "steps.h"

namespace cpp_serving {
namespace {

// One trace of one batch: which checkpoints must be computed, their values, and those given.
class Run {
 public:
  Run(const Scorer& scorer, const Records& records, const std::vector<std::size_t>& capture,
      const std::vector<Given>& given)
      : model_(scorer.model()),
        faults_(scorer.faults()),
        forest_(scorer.forest()),
        infos_(scorer.checkpoints()),
        records_(records),
        given_(infos_.size(), nullptr),
        produced_(infos_.size()),
        leaves_(model_.features.size() + model_.num_discrete) {
    for (const Given& each : given) given_[each.checkpoint] = each.values;
    Select(capture);
  }

  std::vector<Recorded> Finish(const std::vector<std::size_t>& capture) {
    for (std::size_t place = 0; place < infos_.size(); ++place) {
      if (wanted_[place]) Produce(place);
    }
    std::vector<Recorded> recorded;
    for (const std::size_t place : capture) {
      recorded.push_back({place, Rows(place), std::move(produced_[place])});
    }
    return recorded;
  }

 private:
  // Captured checkpoints are computed, and those that a computed one needs and nobody gave.
  void Select(const std::vector<std::size_t>& capture) {
    wanted_.assign(infos_.size(), false);
    for (const std::size_t place : capture) wanted_[place] = true;
    for (std::size_t place = infos_.size(); place-- > 0;) {
      if (!wanted_[place]) continue;
      for (const std::size_t parent : infos_[place].after) {
        if (given_[parent] == nullptr) wanted_[parent] = true;
      }
    }
  }

  std::int64_t Rows(std::size_t place) const {
    return infos_[place].axis == Axis::kRequest ? records_.num_requests()
                                                : records_.num_candidates();
  }

  template <typename T>
  T* Allocate(std::size_t place) {
    const auto inner = static_cast<std::size_t>(infos_[place].inner.value_or(1));
    produced_[place].reset(
        new std::byte[static_cast<std::size_t>(Rows(place)) * inner * sizeof(T)]);
    return reinterpret_cast<T*>(produced_[place].get());
  }

  // What later checkpoints see: the given values, else the produced ones.
  template <typename T>
  const T* Used(std::size_t place) const {
    return static_cast<const T*>(given_[place] != nullptr ? given_[place] : produced_[place].get());
  }

  // Calls body(row, request, candidate) for every row of an axis.
  template <typename Body>
  void ForRows(Axis axis, Body body) const {
    for (std::int64_t request = 0; request < records_.num_requests(); ++request) {
      if (axis == Axis::kRequest) {
        body(request, request, std::int64_t{0});
        continue;
      }
      const std::int64_t end = records_.CandidateBegin(request + 1);
      for (std::int64_t row = records_.CandidateBegin(request); row < end; ++row) {
        body(row, request, row);
      }
    }
  }

  void Produce(std::size_t place) {
    if (place < model_.features.size()) return ProduceFeature(place);
    if (place < leaves_) return ProduceEncoded(place);
    switch (place - leaves_) {
      case 0:
        return ProduceLeaves(place);
      case 1:
        return ProduceLeafSum(place);
      case 2:
        return ProduceCategorySum(place);
      case 3: {
        const float* leaf_sum = Used<float>(place - 2);
        const float* category_sum = Used<float>(place - 1);
        return Each<float>(place, [&](std::int64_t row) {
          return Logit(model_, leaf_sum[row], category_sum[row]);
        });
      }
      case 4: {
        const float* logit = Used<float>(place - 1);
        return Each<float>(place, [&](std::int64_t row) { return Pctr(model_, logit[row]); });
      }
      default:
        break;
    }
    if (place + 1 == infos_.size()) return ProduceRank(place);
    const float* pctr = Used<float>(place - 1);
    const Bids bids(model_, records_);
    Each<double>(place, [&](std::int64_t row) { return EcpmMicros(pctr[row], bids.At(row)); });
  }

  template <typename T, typename Value>
  void Each(std::size_t place, Value value) {
    T* out = Allocate<T>(place);
    for (std::int64_t row = 0; row < Rows(place); ++row) out[row] = value(row);
  }

  void ProduceFeature(std::size_t place) {
    const BoundFeature bound(model_.features[place], records_, faults_);
    const auto rows = static_cast<std::size_t>(Rows(place));
    if (infos_[place].dtype == DType::kFloat32) return bound.Reals(Allocate<float>(place), 1);
    if (infos_[place].dtype == DType::kInt64) return bound.Discretes(Allocate<std::int64_t>(place));
    std::vector<std::int64_t> values(rows);
    bound.Discretes(values.data());
    std::int32_t* out = Allocate<std::int32_t>(place);
    for (std::size_t row = 0; row < rows; ++row) out[row] = static_cast<std::int32_t>(values[row]);
  }

  void ProduceEncoded(std::size_t place) {
    const std::size_t source = infos_[place].after[0];
    const Feature& feature = model_.features[source];
    const bool wide = infos_[source].dtype == DType::kInt64;
    Each<std::int32_t>(place, [&](std::int64_t row) {
      return Encoded(feature, wide ? Used<std::int64_t>(source)[row]
                                   : std::int64_t{Used<std::int32_t>(source)[row]});
    });
  }

  void ProduceLeaves(std::size_t place) {
    std::vector<const float*> columns;
    std::vector<bool> by_request;
    for (const std::size_t parent : infos_[place].after) {
      columns.push_back(Used<float>(parent));
      by_request.push_back(infos_[parent].axis == Axis::kRequest);
    }
    std::vector<float> features(static_cast<std::size_t>(Rows(place)) * columns.size());
    std::int32_t* out = Allocate<std::int32_t>(place);
    float* next = features.data();
    ForRows(Axis::kCandidate, [&](std::int64_t, std::int64_t request, std::int64_t candidate) {
      for (std::size_t i = 0; i < columns.size(); ++i) {
        *next++ = columns[i][by_request[i] ? request : candidate];
      }
    });
    forest_.Leaves(features.data(), static_cast<std::size_t>(Rows(place)), out);
  }

  void ProduceLeafSum(std::size_t place) {
    const std::int32_t* leaves = Used<std::int32_t>(place - 1);
    const std::int64_t trees = model_.trees.num_trees();
    if (given_[place - 1] != nullptr) {
      CheckGiven(place - 1, Rows(place) * trees, [&](std::int64_t i) {
        const auto tree = static_cast<std::uint32_t>(i % trees);
        return model_.trees.leaf_offsets[tree + 1] - model_.trees.leaf_offsets[tree];
      });
    }
    Each<float>(place, [&](std::int64_t row) { return forest_.SumOfLeaves(leaves + row * trees); });
  }

  void ProduceCategorySum(std::size_t place) {
    const std::vector<std::size_t>& encoded = infos_[place].after;
    std::vector<const std::int32_t*> columns;
    for (const std::size_t parent : encoded) {
      columns.push_back(Used<std::int32_t>(parent));
      if (given_[parent] != nullptr) {
        CheckGiven(parent, Rows(parent), [&](std::int64_t) { return model_.num_columns; });
      }
    }
    float* out = Allocate<float>(place);
    ForRows(Axis::kCandidate, [&](std::int64_t row, std::int64_t request, std::int64_t candidate) {
      out[row] = CategorySum(model_, [&](std::uint32_t i) {
        return columns[i][infos_[encoded[i]].axis == Axis::kRequest ? request : candidate];
      });
    });
  }

  void ProduceRank(std::size_t place) {
    const Ranker ranker(records_);
    std::int32_t* out = Allocate<std::int32_t>(place);
    if (infos_[place - 1].dtype == DType::kFloat64) {
      ranker.Rank(Used<double>(place - 1), out);
    } else {
      ranker.Rank(Used<float>(place - 1), out);
    }
  }

  // Every given int32 value is an index below its limit.
  template <typename Limit>
  void CheckGiven(std::size_t place, std::int64_t count, Limit limit) const {
    const auto* values = static_cast<const std::int32_t*>(given_[place]);
    for (std::int64_t i = 0; i < count; ++i) {
      if (values[i] < 0 || static_cast<std::uint32_t>(values[i]) >= limit(i)) {
        throw Error(Error::Kind::kStack,
                    "the value " + std::to_string(values[i]) + " is not below " +
                        std::to_string(limit(i)) + ".",
                    "given '" + infos_[place].name + "'",
                    "give values of the same trees and vocabularies");
      }
    }
  }

  const Model& model_;
  const Faults& faults_;
  const Forest& forest_;
  const std::vector<CheckpointInfo>& infos_;
  const Records& records_;
  std::vector<const void*> given_;
  std::vector<std::unique_ptr<std::byte[]>> produced_;
  std::vector<bool> wanted_;
  const std::size_t leaves_;  // Place of gbdt.leaves; what follows it stands in a fixed order.
};

}  // namespace

std::vector<Recorded> Scorer::Trace(const Records& records, const std::vector<std::size_t>& capture,
                                    const std::vector<Given>& given) const {
  std::vector<bool> seen(checkpoints_.size(), false);
  for (const std::size_t place : capture) {
    if (place >= seen.size() || seen[place]) {
      throw Error(Error::Kind::kStack,
                  "checkpoint " + std::to_string(place) + " is not there, or captured twice.",
                  "capture", "capture each declared checkpoint at most once");
    }
    seen[place] = true;
  }
  return Run(*this, records, capture, given).Finish(capture);
}

}  // namespace cpp_serving
