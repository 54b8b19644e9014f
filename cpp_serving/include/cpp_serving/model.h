// What a scorer's file says, validated entirely before use: features, trees, weights, calibration.
#ifndef CPP_SERVING_MODEL_H_
#define CPP_SERVING_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cpp_serving/artifact.h"
#include "cpp_serving/id_table.h"
#include "cpp_serving/span.h"
#include "cpp_serving/tree_table.h"

namespace cpp_serving {

// The rows a value belongs to.
enum class Axis { kRequest, kCandidate, kStep };

// docs/features.md describes each kind; the numbers are those of the file.
enum class FeatureKind : std::uint32_t {
  kNumber = 0,
  kLog1p = 1,
  kHour = 2,
  kWeekday = 3,
  kRecency = 4,
  kRate = 5,
  kTokens = 6,
  kHistoryCount = 7,
  kHistoryRecency = 8,
  kHistoryMatches = 9,
  kBucket = 10,
  kHash = 11,
  kId = 12,
};

// The kind as features.json writes it.
const char* NameOf(FeatureKind kind);

constexpr bool IsReal(FeatureKind kind) { return kind < FeatureKind::kBucket; }

struct Feature {
  std::string name;
  FeatureKind kind;
  // Paths of logged fields. recency: since, until. rate: events, trials. history_recency: until.
  // history_matches: history.<field>, source.
  std::vector<std::string> sources;
  Axis axis = Axis::kRequest;
  bool lower = false;
  std::int32_t utc_offset_minutes = 0;
  std::uint32_t seed = 0;
  std::uint32_t buckets = 0;
  double prior = 0.0;
  double weight = 0.0;
  Span<double> edges;
  Span<std::int64_t> vocabulary;
  // 1 + place in the vocabulary, or 0; empty where ids are sparse: then id_table has them.
  std::vector<std::int32_t> code_of_id;
  IdTable id_table;
  // Place among the real features (a column of the trees' input) or among the discrete ones.
  std::uint32_t place = 0;
  // Of a discrete feature: its first column in the regression's category block, and how many.
  std::uint32_t first_column = 0;
  std::uint32_t cardinality = 0;
};

struct Model {
  // Reads and validates every section. Throws Error(kArtifact).
  static Model From(std::shared_ptr<const Artifact> artifact);

  std::shared_ptr<const Artifact> artifact;  // Owns what the spans show.
  std::vector<Feature> features;
  std::uint32_t num_real = 0;
  std::uint32_t num_discrete = 0;
  std::uint32_t num_columns = 0;
  std::string money;             // Path of the bid; empty when the log has none.
  TreeTable trees;               // Over the real features.
  Span<float> category_weights;  // [column]
  float bias = 0.0f;
  double slope = 1.0;
  double intercept = 0.0;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_MODEL_H_
