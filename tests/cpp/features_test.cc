// Features of hand-made records, against values worked out by hand from docs/features.md.
#include "cpp_serving/features.h"

#include <cmath>
#include <limits>
#include <map>

#include "artifact_builder.h"
#include "check.h"
#include "sample_records.h"

using namespace cpp_serving;

namespace {

const float kNan = std::numeric_limits<float>::quiet_NaN();

bool Same(const std::vector<float>& a, const std::vector<float>& b) {
  bool same = a.size() == b.size();
  for (std::size_t i = 0; same && i < a.size(); ++i) {
    same = a[i] == b[i] || (a[i] != a[i] && b[i] != b[i]);
  }
  return same;
}

std::size_t RowsOf(const BoundFeature& bound, const Records& records) {
  const bool request = bound.feature().axis == Axis::kRequest;
  return static_cast<std::size_t>(request ? records.num_requests() : records.num_candidates());
}

class Sample {
 public:
  explicit Sample(std::size_t skip, Faults faults = {})
      : model_(Model::From(Artifact::FromBytes(FileOf(SectionsOf(SampleSpec())), "test"))),
        batch_(SampleRecords(skip)),
        faults_(std::move(faults)) {
    batch_->Seal();
  }

  std::vector<float> Real(const std::string& name) const {
    const Records records(batch_->schema, batch_->array);
    const BoundFeature bound = Bound(name, records);
    std::vector<float> values(RowsOf(bound, records));
    bound.Reals(values.data(), 1);
    return values;
  }

  std::vector<std::int64_t> Discrete(const std::string& name) const {
    const Records records(batch_->schema, batch_->array);
    const BoundFeature bound = Bound(name, records);
    std::vector<std::int64_t> values(RowsOf(bound, records));
    bound.Discretes(values.data());
    return values;
  }

  const Feature& Named(const std::string& name) const {
    for (const Feature& feature : model_.features) {
      if (feature.name == name) return feature;
    }
    throw Error(Error::Kind::kStack, "no feature", name, "name one");
  }

 private:
  BoundFeature Bound(const std::string& name, const Records& records) const {
    return BoundFeature(Named(name), records, faults_);
  }

  Model model_;
  ArrowNodePtr batch_;
  Faults faults_;
};

float Log1pHours(double hours) { return static_cast<float>(std::log1p(hours)); }

void EveryKindIsAsWorkedByHand(std::size_t skip) {
  const Sample sample(skip);
  using Ids = std::vector<std::int64_t>;
  CHECK(Same(sample.Real("price"), {1.5f, kNan, 0.0f, kNan, -3.0f}));
  // 1970-01-01 00:00 UTC is 09:00 on a Thursday in Tokyo; one microsecond before, 08:59:59.999999.
  CHECK(Same(sample.Real("hour"), {9.0f, 8.0f, 12.0f}));
  CHECK(Same(sample.Real("weekday"), {3.0f, 3.0f, 3.0f}));
  CHECK(Same(sample.Real("clicks"), {0.0f, Log1pHours(3), kNan, kNan, Log1pHours(9)}));
  // Seen an hour before; unknown; seen two hours after, which counts as just now.
  CHECK(Same(sample.Real("recency"), {Log1pHours(1), kNan, 0.0f}));
  // (0 + 1) / (4 + 2), (3 + 1) / (9 + 2), null events, (-2 + 1) / (7 + 2), null trials.
  CHECK(Same(sample.Real("rate"), {static_cast<float>(1.0 / 6.0), static_cast<float>(4.0 / 11.0),
                                   kNan, static_cast<float>(-1.0 / 9.0), kNan}));
  CHECK(Same(sample.Real("tokens"), {2.0f, 0.0f, kNan, 1.0f, 1.0f}));
  CHECK(Same(sample.Real("steps"), {Log1pHours(1), Log1pHours(2), 0.0f}));
  // The last step's time: 0, null, and no step at all.
  CHECK(Same(sample.Real("age"), {0.0f, kNan, kNan}));
  CHECK(Same(sample.Real("matches"), {1.0f, 0.0f, 0.0f, 0.0f, 0.0f}));
  // Edges 0 and 1.5; an edge belongs to the bucket above it.
  CHECK((sample.Discrete("bucket") == Ids{3, 0, 2, 0, 1}));
  CHECK((sample.Discrete("ad") == Ids{5, 1099511627777, 7, 16777217, 5}));
  // murmur3("phone\x1f5", 7) % 7 and so on; a null device is 0. Worked with another implementation.
  CHECK((sample.Discrete("device") == Ids{2, 7, 1, 4, 6}));
}

void CodesAreColumnsOfTheRegression() {
  const Sample sample(0);
  // device 8 columns, bucket 4, ad 4.
  CHECK(Encoded(sample.Named("device"), 3) == 3);
  CHECK(Encoded(sample.Named("bucket"), 0) == 8 && Encoded(sample.Named("bucket"), 3) == 11);
  const Feature& ad = sample.Named("ad");
  CHECK(Encoded(ad, -1) == 12 && Encoded(ad, 6) == 12 && Encoded(ad, 5) == 13);
  CHECK(Encoded(ad, 16777217) == 14 && Encoded(ad, 16777216) == 12);
  CHECK(Encoded(ad, 1099511627777) == 15);
  CHECK(Has(ErrorOf([&] { Encoded(sample.Named("bucket"), 4); }), "none of the feature's 4"));
  CHECK(Has(ErrorOf([&] { Encoded(sample.Named("device"), -1); }), "none of the feature's 8"));
}

void APlantedEdgeFallsBelow() {
  Faults faults;
  faults.bucket_edge_side = {"bucket"};
  CHECK((Sample(0, faults).Discrete("bucket") == std::vector<std::int64_t>{2, 0, 1, 0, 1}));
}

void AFieldOfAnotherTypeIsNamed() {
  ArtifactSpec spec = SampleSpec();
  spec.features[0].sources = {"candidate.title"};
  const Model model = Model::From(Artifact::FromBytes(FileOf(SectionsOf(spec)), "test"));
  ArrowNodePtr batch = SampleRecords();
  batch->Seal();
  const Records records(batch->schema, batch->array);
  const std::string refusal = ErrorOf([&] { BoundFeature(model.features[0], records, {}); });
  CHECK(Has(refusal, "'price'") && Has(refusal, "'candidate.title'") && Has(refusal, "utf8"));
}

}  // namespace

int main() {
  for (const std::size_t skip : {0, 2, 11}) EveryKindIsAsWorkedByHand(skip);
  CodesAreColumnsOfTheRegression();
  APlantedEdgeFallsBelow();
  AFieldOfAnotherTypeIsNamed();
  return Finish();
}
