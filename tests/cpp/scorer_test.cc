// Score and trace give the same bits, and every checkpoint can be given.
#include "cpp_serving/scorer.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "artifact_builder.h"
#include "check.h"
#include "sample_records.h"

using namespace cpp_serving;

namespace {

Scorer SampleScorer(Faults faults = {}, const ArtifactSpec& spec = SampleSpec()) {
  return Scorer(Artifact::FromBytes(FileOf(SectionsOf(spec)), "test"), std::move(faults));
}

std::size_t Place(const Scorer& scorer, const std::string& name) {
  for (std::size_t i = 0; i < scorer.checkpoints().size(); ++i) {
    if (scorer.checkpoints()[i].name == name) return i;
  }
  CHECK(name.empty());
  return 0;
}

template <typename T>
std::vector<T> Copy(const Scorer& scorer, const Recorded& recorded) {
  const auto inner = scorer.checkpoints()[recorded.checkpoint].inner;
  std::vector<T> values(static_cast<std::size_t>(recorded.rows * inner.value_or(1)));
  if (!values.empty()) std::memcpy(values.data(), recorded.values.get(), values.size() * sizeof(T));
  return values;
}

template <typename T>
std::vector<T> Traced(const Scorer& scorer, const Records& records, const std::string& name,
                      const std::vector<Given>& given = {}) {
  return Copy<T>(scorer, scorer.Trace(records, {Place(scorer, name)}, given)[0]);
}

struct Batch {
  explicit Batch(std::size_t skip = 0) : node(SampleRecords(skip)) { node->Seal(); }
  Records records() const { return Records(node->schema, node->array); }
  ArrowNodePtr node;
};

void CheckpointsStandInTheContractsOrder() {
  const Scorer scorer = SampleScorer();
  std::string names;
  for (const CheckpointInfo& info : scorer.checkpoints()) names += info.name + " ";
  CHECK(names ==
        "features.price features.hour features.device features.clicks features.weekday "
        "features.recency features.rate features.tokens features.steps features.age "
        "features.matches features.bucket features.ad encoded.device encoded.bucket encoded.ad "
        "gbdt.leaves regression.leaf_sum regression.category_sum logit pctr ecpm_micros rank ");
  const CheckpointInfo& leaves = scorer.checkpoints()[Place(scorer, "gbdt.leaves")];
  CHECK(leaves.after.size() == 10 && leaves.inner == 3 && leaves.dtype == DType::kInt32);
  CHECK(scorer.checkpoints()[Place(scorer, "features.hour")].axis == Axis::kRequest);
  CHECK(scorer.checkpoints()[Place(scorer, "encoded.device")].axis == Axis::kCandidate);
  ArtifactSpec without = SampleSpec();
  without.money.clear();
  const Scorer free = SampleScorer({}, without);
  CHECK(free.checkpoints().size() == scorer.checkpoints().size() - 1);
  CHECK(free.checkpoints().back().after[0] == Place(free, "pctr"));
}

void ValuesAreAsWorkedByHand() {
  const Scorer scorer = SampleScorer();
  const Batch batch;
  const Records records = batch.records();
  // price 1.5, null, 0, NaN, -3; clicks log1p(0), log1p(3) = 1.39, null, null, log1p(9) = 2.3;
  // matches 1, 0, 0, 0, 0. Tree 0: price < 1.5 or missing, else clicks < 2 (missing right).
  CHECK((Traced<std::int32_t>(scorer, records, "gbdt.leaves") ==
         std::vector<std::int32_t>{1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0}));
  const auto leaf_sum = Traced<float>(scorer, records, "regression.leaf_sum");
  CHECK(leaf_sum[0] == static_cast<float>(double{-0.2f} + double{0.7f} + double{0.05f}));
  CHECK(leaf_sum[1] == static_cast<float>(double{0.1f} + double{-0.4f} + double{0.05f}));
  const auto columns = Traced<std::int32_t>(scorer, records, "encoded.ad");
  CHECK((columns == std::vector<std::int32_t>{13, 15, 12, 14, 13}));
  const auto logit = Traced<float>(scorer, records, "logit");
  const auto category = Traced<float>(scorer, records, "regression.category_sum");
  CHECK(logit[0] == static_cast<float>(-1.25 + double{leaf_sum[0]} + double{category[0]}));
  const auto pctr = Traced<float>(scorer, records, "pctr");
  CHECK(pctr[0] == static_cast<float>(1 / (1 + std::exp(-(0.9 * double{logit[0]} + 0.125)))));
  CHECK(Traced<double>(scorer, records, "ecpm_micros")[2] == 1000.0 * double{pctr[2]} * 3000.0);
}

void ScoreEqualsTraceBitForBit() {
  for (const std::size_t skip : {0, 3}) {
    for (const bool money : {true, false}) {
      ArtifactSpec spec = SampleSpec();
      if (!money) spec.money.clear();
      const Scorer scorer = SampleScorer({}, spec);
      const Batch batch(skip);
      const Records records = batch.records();
      const Scores scores = scorer.Score(records);
      CHECK(scores.pctr == Traced<float>(scorer, records, "pctr"));
      CHECK(scores.rank == Traced<std::int32_t>(scorer, records, "rank"));
      CHECK(scores.ecpm_micros.size() == (money ? 5u : 0u));
      if (money) CHECK(scores.ecpm_micros == Traced<double>(scorer, records, "ecpm_micros"));
    }
  }
}

void RanksFallByValueWithTiesByAd() {
  const Scorer scorer = SampleScorer();
  const Batch batch;
  const Records records = batch.records();
  const auto rank_of = [&](std::vector<double> ecpm) {
    return Traced<std::int32_t>(scorer, records, "rank",
                                {{Place(scorer, "ecpm_micros"), ecpm.data()}});
  };
  using Ranks = std::vector<std::int32_t>;
  CHECK((rank_of({1.0, 2.0, 1.0, 3.0, 2.0}) == Ranks{1, 0, 2, 0, 1}));
  // Ads 5 and 2^40 + 1, then 7, 2^24 + 1, 5: the smaller id goes first in a tie.
  CHECK((rank_of({1.0, 1.0, 0.0, -0.0, 0.0}) == Ranks{0, 1, 1, 2, 0}));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK((rank_of({nan, -1.0, nan, nan, 0.5}) == Ranks{1, 0, 1, 2, 0}));
}

// Gives `values` at `name`: it records what it would have produced, and `child` moves.
template <typename T, typename U>
void MovesWhenGiven(const std::string& name, std::vector<T> values, const std::string& child) {
  const Scorer scorer = SampleScorer();
  const Batch batch;
  const Records records = batch.records();
  const std::vector<Given> given{{Place(scorer, name), values.data()}};
  const auto place = Place(scorer, name);
  const auto produced = Copy<T>(scorer, scorer.Trace(records, {place}, {})[0]);
  const auto under_given = Copy<T>(scorer, scorer.Trace(records, {place}, given)[0]);
  CHECK(std::memcmp(produced.data(), under_given.data(), produced.size() * sizeof(T)) == 0);
  CHECK(Traced<U>(scorer, records, child) != Traced<U>(scorer, records, child, given));
}

void EveryKindOfCheckpointCanBeGiven() {
  const std::vector<float> twos(5, 2.0f);
  MovesWhenGiven<float, std::int32_t>("features.price", twos, "gbdt.leaves");
  MovesWhenGiven<float, std::int32_t>("features.clicks", std::vector<float>(5, 9.0f),
                                      "gbdt.leaves");
  MovesWhenGiven<std::int64_t, std::int32_t>("features.ad", {7, 7, 5, 5, 7}, "encoded.ad");
  MovesWhenGiven<std::int32_t, std::int32_t>("features.bucket", {0, 1, 2, 3, 0}, "encoded.bucket");
  MovesWhenGiven<std::int32_t, float>("encoded.ad", {12, 12, 12, 12, 12},
                                      "regression.category_sum");
  MovesWhenGiven<std::int32_t, float>("gbdt.leaves", {2, 0, 0, 2, 0, 0, 2, 0, 0, 2, 0, 0, 2, 0, 0},
                                      "regression.leaf_sum");
  MovesWhenGiven<float, float>("regression.leaf_sum", twos, "logit");
  MovesWhenGiven<float, float>("regression.category_sum", twos, "logit");
  MovesWhenGiven<float, float>("logit", twos, "pctr");
  MovesWhenGiven<float, double>("pctr", twos, "ecpm_micros");
}

void GivenParentsHideWhatIsAboveThem() {
  // The log lacks `candidate.clicks`: it is never asked for when what needs it is given.
  const Scorer scorer = SampleScorer();
  Batch batch;
  ArrowNode& candidates = *batch.node->Child("candidates").children[0];
  candidates.Child("clicks").name = "hidden";
  batch.node->Seal();
  const Records records = batch.records();
  const std::vector<std::int32_t> leaves(15, 0);
  const std::vector<Given> given{{Place(scorer, "gbdt.leaves"), leaves.data()}};
  CHECK(Traced<float>(scorer, records, "logit", given).size() == 5);
  CHECK(Has(ErrorOf([&] { scorer.Trace(records, {Place(scorer, "logit")}, {}); }),
            "candidate.clicks"));
}

void GivenValuesOutOfRangeAreRefused() {
  const Scorer scorer = SampleScorer();
  const Batch batch;
  const Records records = batch.records();
  const auto refusal = [&](const std::string& name, const void* values) {
    return ErrorOf(
        [&] { scorer.Trace(records, {Place(scorer, "logit")}, {{Place(scorer, name), values}}); });
  };
  std::vector<std::int32_t> leaves(15, 0);
  leaves[14] = 1;  // The third tree has one leaf.
  CHECK(Has(refusal("gbdt.leaves", leaves.data()), "not below 1"));
  leaves[14] = -1;
  CHECK(Has(refusal("gbdt.leaves", leaves.data()), "'gbdt.leaves'"));
  const std::vector<std::int32_t> columns(5, 16);
  CHECK(Has(refusal("encoded.ad", columns.data()), "not below 16"));
  const std::vector<std::int32_t> buckets(5, 9);
  CHECK(Has(refusal("features.bucket", buckets.data()), "none of the feature's"));
  CHECK(Has(ErrorOf([&] { scorer.Trace(records, {0, 0}, {}); }), "twice"));
}

void PlantedFaultsMoveTheirCheckpointAlone() {
  const Batch batch;
  const Records records = batch.records();
  const Scorer sound = SampleScorer();
  Faults limit;
  limit.tree_limit = 2;
  const auto leaves = [&](const Scorer& s) {
    return Traced<std::int32_t>(s, records, "gbdt.leaves");
  };
  const Scorer limited = SampleScorer(limit);
  CHECK(leaves(limited) == leaves(sound));
  CHECK(Traced<float>(limited, records, "regression.leaf_sum")[0] ==
        static_cast<float>(double{-0.2f} + double{0.7f}));
  Faults inclusive;
  inclusive.threshold_le = true;
  CHECK(leaves(SampleScorer(inclusive))[0] == 0 && leaves(sound)[0] == 1);
  limit.tree_limit = 4;
  CHECK(Has(ErrorOf([&] { SampleScorer(limit); }), "above the number of trees"));
  Faults edge;
  edge.bucket_edge_side = {"price"};
  CHECK(Has(ErrorOf([&] { SampleScorer(edge); }), "no bucket feature"));
}

void AMissingBidOrAdIsRefused() {
  const Scorer scorer = SampleScorer();
  Batch batch;
  ArrowNode& candidates = *batch.node->Child("candidates").children[0];
  candidates.Child("bid_micros").validity = {0b11101};
  batch.node->Seal();
  CHECK(Has(ErrorOf([&] { scorer.Score(batch.records()); }), "candidate row 1"));
  candidates.Child("bid_micros").validity = {};
  candidates.Child("ad_id").validity = {0b01111};
  batch.node->Seal();
  CHECK(Has(ErrorOf([&] { scorer.Score(batch.records()); }), "row 4 has no ad_id"));
}

void AModelWithoutTreesOrCategoriesScores() {
  ArtifactSpec spec;
  spec.features = {{0, "price", {"candidate.price"}}};
  spec.bias = 0.5f;
  const Scorer scorer = SampleScorer({}, spec);
  const Batch batch;
  const Records records = batch.records();
  CHECK(Traced<float>(scorer, records, "logit") == std::vector<float>(5, 0.5f));
  CHECK(Traced<std::int32_t>(scorer, records, "gbdt.leaves").empty());
  CHECK(scorer.Score(records).pctr == Traced<float>(scorer, records, "pctr"));
}

}  // namespace

int main() {
  CheckpointsStandInTheContractsOrder();
  ValuesAreAsWorkedByHand();
  ScoreEqualsTraceBitForBit();
  RanksFallByValueWithTiesByAd();
  EveryKindOfCheckpointCanBeGiven();
  GivenParentsHideWhatIsAboveThem();
  GivenValuesOutOfRangeAreRefused();
  PlantedFaultsMoveTheirCheckpointAlone();
  AMissingBidOrAdIsRefused();
  AModelWithoutTreesOrCategoriesScores();
  return Finish();
}
