#include "cpp_serving/model.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "cpp_serving/error.h"

namespace cpp_serving {
namespace {

static_assert(std::numeric_limits<float>::is_iec559 && std::numeric_limits<double>::is_iec559,
              "floating point is part of the contract");

constexpr std::uint32_t kNone = 0xFFFFFFFFu;
constexpr std::size_t kMaxSources = 3;
constexpr std::int32_t kMinutesOfDay = 24 * 60;

// One feature as the file holds it; docs/formats.md lists the fields.
struct Record {
  std::uint32_t kind;
  std::uint32_t name;
  std::uint32_t sources[kMaxSources];
  std::uint32_t lower;
  std::int32_t utc_offset_minutes;
  std::uint32_t seed;
  std::uint32_t buckets;
  std::uint32_t first;
  std::uint32_t count;
  std::uint32_t zero;
  double prior;
  double weight;
};
static_assert(sizeof(Record) == 64, "the file holds features of 64 bytes");

struct Calibration {
  float bias;
  std::uint32_t zero;
  double slope;
  double intercept;
};
static_assert(sizeof(Calibration) == 24, "the file holds a calibration of 24 bytes");

// How many sources each kind has (hash: up to), and whether its name in features.json has a window
// into edges or vocabularies.
struct KindRule {
  std::size_t min_sources;
  std::size_t max_sources;
};
constexpr KindRule kRules[] = {{1, 1}, {1, 1}, {1, 1}, {1, 1}, {2, 2}, {2, 2}, {1, 1},
                               {0, 0}, {1, 1}, {2, 2}, {1, 1}, {1, 3}, {1, 1}};
constexpr std::uint32_t kNumKinds = sizeof(kRules) / sizeof(kRules[0]);

class Reader {
 public:
  explicit Reader(const Artifact& artifact) : artifact_(artifact) {}

  [[noreturn]] void Refuse(const std::string& section, std::string what) const {
    throw Error(Error::Kind::kArtifact, std::move(what),
                artifact_.where() + ", section '" + section + "'",
                "export it again with `python -m legacy export`");
  }

  // A whole section as values of one type.
  template <typename T>
  Span<T> Values(const std::string& section) const {
    const Span<std::byte> bytes = artifact_.Section(section);
    if (bytes.size % sizeof(T) != 0) {
      Refuse(section, std::to_string(bytes.size) + " bytes are no whole number of values of " +
                          std::to_string(sizeof(T)) + " bytes.");
    }
    return {reinterpret_cast<const T*>(bytes.data), bytes.size / sizeof(T)};
  }

  // `count` values of one type at `at` bytes into a section.
  template <typename T>
  Span<T> Part(const std::string& section, std::size_t at, std::uint64_t count) const {
    const Span<std::byte> bytes = artifact_.Section(section);
    if (at > bytes.size || count > (bytes.size - at) / sizeof(T)) {
      Refuse(section, "it ends before what it says it holds.");
    }
    return {reinterpret_cast<const T*>(bytes.data + at), static_cast<std::size_t>(count)};
  }

  const Artifact& artifact() const { return artifact_; }

 private:
  const Artifact& artifact_;
};

bool IsUtf8(const std::string& text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80             ? 1
                               : lead >> 5 == 0x6      ? 2
                               : lead >> 4 == 0xE      ? 3
                               : lead >> 3 == 0x1E     ? 4
                                                       : 0;
    if (length == 0 || i + length > text.size()) return false;
    std::uint32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
    for (std::size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if (next >> 6 != 0x2) return false;
      code = (code << 6) | (next & 0x3Fu);
    }
    constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[length] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
      return false;
    }
    i += length;
  }
  return true;
}

std::vector<std::string> ReadNames(const Reader& reader) {
  const std::uint32_t count = reader.Part<std::uint32_t>("names", 0, 1)[0];
  const auto offsets = reader.Part<std::uint32_t>("names", 4, std::uint64_t{count} + 1);
  const std::size_t text_at = 4 + 4 * offsets.size;
  const auto text = reader.Part<char>("names", text_at, offsets[count]);
  if (offsets[0] != 0 || text_at + text.size != reader.artifact().Section("names").size) {
    reader.Refuse("names", "its text does not fit its offsets.");
  }
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (offsets[i + 1] <= offsets[i] || offsets[i + 1] > text.size) {
      reader.Refuse("names", "name " + std::to_string(i) + " is empty or out of place.");
    }
    names.emplace_back(text.data + offsets[i], offsets[i + 1] - offsets[i]);
    if (!IsUtf8(names.back())) {
      reader.Refuse("names", "name " + std::to_string(i) + " is not UTF-8.");
    }
  }
  return names;
}

// logged_at, or a field of context, user, candidate or history.
Axis AxisOf(const Reader& reader, const std::string& path) {
  if (path == "logged_at") return Axis::kRequest;
  const std::size_t dot = path.find('.');
  const std::string top = path.substr(0, dot);
  const bool field = dot != std::string::npos && dot + 1 < path.size();
  if (field && (top == "context" || top == "user")) return Axis::kRequest;
  if (field && top == "candidate") return Axis::kCandidate;
  if (field && top == "history") return Axis::kStep;
  reader.Refuse("program", "'" + path + "' is no path of a logged field.");
}

class ProgramReader {
 public:
  ProgramReader(const Reader& reader, Model* model)
      : reader_(reader),
        model_(model),
        names_(ReadNames(reader)),
        edges_(reader.Values<double>("edges")),
        vocabularies_(reader.Values<std::int64_t>("vocabularies")) {}

  void Read() {
    const auto header = reader_.Part<std::uint32_t>("program", 0, 2);
    const std::uint32_t count = header[0];
    const auto records = reader_.Part<Record>("program", 8, count);
    if (8 + count * sizeof(Record) != reader_.artifact().Section("program").size) {
      reader_.Refuse("program", "its length does not fit its number of features.");
    }
    if (header[1] != kNone) {
      model_->money = Name(header[1]);
      if (AxisOf(reader_, model_->money) != Axis::kCandidate) {
        reader_.Refuse("program", "the bid '" + model_->money + "' is no field of a candidate.");
      }
    }
    std::set<std::string> seen;
    std::uint64_t columns = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      Feature feature = ReadFeature(records[i]);
      if (!seen.insert(feature.name).second) Refuse(feature, "there are two of the name.");
      feature.place = IsReal(feature.kind) ? model_->num_real++ : model_->num_discrete++;
      feature.first_column = static_cast<std::uint32_t>(columns);
      columns += feature.cardinality;
      if (columns > std::numeric_limits<std::int32_t>::max()) {
        Refuse(feature, "the discrete features have more columns than int32 can number.");
      }
      model_->features.push_back(std::move(feature));
    }
    model_->num_columns = static_cast<std::uint32_t>(columns);
  }

 private:
  [[noreturn]] void Refuse(const Feature& feature, const std::string& what) const {
    reader_.Refuse("program", "feature '" + feature.name + "': " + what);
  }

  const std::string& Name(std::uint32_t place) const {
    if (place >= names_.size()) {
      reader_.Refuse("program", "there is no name " + std::to_string(place) + ".");
    }
    return names_[place];
  }

  Feature ReadFeature(const Record& record) const {
    Feature feature;
    feature.name = Name(record.name);
    if (record.kind >= kNumKinds) {
      Refuse(feature, "there is no kind " + std::to_string(record.kind) + ".");
    }
    feature.kind = static_cast<FeatureKind>(record.kind);
    ReadSources(record, &feature);
    feature.lower = record.lower == 1;
    feature.utc_offset_minutes = record.utc_offset_minutes;
    feature.seed = record.seed;
    feature.buckets = record.buckets;
    feature.prior = record.prior;
    feature.weight = record.weight;
    if (record.lower > 1 || record.zero != 0) Refuse(feature, "a field that is 0 or 1 is neither.");
    if (std::abs(std::int64_t{record.utc_offset_minutes}) > kMinutesOfDay) {
      Refuse(feature, "its UTC offset is more than a day.");
    }
    if (!std::isfinite(record.prior) || !std::isfinite(record.weight)) {
      Refuse(feature, "its prior or weight is not finite.");
    }
    ReadCategories(record, &feature);
    return feature;
  }

  void ReadSources(const Record& record, Feature* feature) const {
    const KindRule& rule = kRules[record.kind];
    for (std::size_t i = 0; i < kMaxSources; ++i) {
      if (record.sources[i] == kNone) continue;
      if (feature->sources.size() != i) Refuse(*feature, "its sources have a gap.");
      feature->sources.push_back(Name(record.sources[i]));
    }
    if (feature->sources.size() < rule.min_sources || feature->sources.size() > rule.max_sources) {
      Refuse(*feature, "its kind does not take " + std::to_string(feature->sources.size()) +
                           " sources.");
    }
    for (std::size_t i = 0; i < feature->sources.size(); ++i) {
      const Axis axis = AxisOf(reader_, feature->sources[i]);
      const bool wants_step = feature->kind == FeatureKind::kHistoryMatches && i == 0;
      if ((axis == Axis::kStep) != wants_step) {
        Refuse(*feature, "it can not read '" + feature->sources[i] + "'.");
      }
      if (axis == Axis::kCandidate) feature->axis = Axis::kCandidate;
    }
  }

  void ReadCategories(const Record& record, Feature* feature) const {
    if (feature->kind == FeatureKind::kHash) {
      if (record.buckets < 2 || record.buckets > std::numeric_limits<std::int32_t>::max()) {
        Refuse(*feature, "it has " + std::to_string(record.buckets) + " buckets.");
      }
      feature->cardinality = record.buckets;
    } else if (feature->kind == FeatureKind::kBucket) {
      feature->edges = Window(*feature, edges_, record);
      feature->cardinality = record.count + 2;
      for (std::size_t i = 0; i < feature->edges.size; ++i) {
        if (!std::isfinite(feature->edges[i]) ||
            (i > 0 && !(feature->edges[i - 1] < feature->edges[i]))) {
          Refuse(*feature, "its edges are not finite and ascending.");
        }
      }
    } else if (feature->kind == FeatureKind::kId) {
      feature->vocabulary = Window(*feature, vocabularies_, record);
      feature->cardinality = record.count + 1;
      for (std::size_t i = 0; i < feature->vocabulary.size; ++i) {
        if (feature->vocabulary[i] < 0 ||
            (i > 0 && feature->vocabulary[i - 1] >= feature->vocabulary[i])) {
          Refuse(*feature, "its vocabulary is not ascending from 0.");
        }
      }
    }
  }

  template <typename T>
  Span<T> Window(const Feature& feature, const Span<T>& all, const Record& record) const {
    if (record.first > all.size || record.count > all.size - record.first ||
        record.count > std::numeric_limits<std::int32_t>::max() - 2) {
      Refuse(feature, "its edges or vocabulary lie outside their section.");
    }
    return {all.data + record.first, record.count};
  }

  const Reader& reader_;
  Model* model_;
  const std::vector<std::string> names_;
  const Span<double> edges_;
  const Span<std::int64_t> vocabularies_;
};

// Breadth first with siblings together: the k-th inner node of a tree has its children at 2k + 1
// and 2k + 2. That rules out cycles, shared and unreachable nodes at once.
void CheckTree(const Reader& reader, const Model& model, std::uint32_t tree) {
  const auto refuse = [&](const std::string& what) {
    reader.Refuse("trees", "tree " + std::to_string(tree) + ": " + what);
  };
  const Node* nodes = model.nodes.data + model.node_offsets[tree];
  const std::uint32_t count = model.node_offsets[tree + 1] - model.node_offsets[tree];
  const std::uint32_t leaves = model.leaf_offsets[tree + 1] - model.leaf_offsets[tree];
  std::vector<bool> seen(leaves, false);
  std::uint64_t next_child = 1;
  for (std::uint32_t i = 0; i < count; ++i) {
    const Node& node = nodes[i];
    if (node.feature == Node::kLeaf) {
      if (node.left >= leaves || seen[node.left]) {
        refuse("leaf ordinal " + std::to_string(node.left) + " is out of range or there twice.");
      }
      seen[node.left] = true;
      continue;
    }
    if ((node.feature & Node::kFeatureMask) >= model.num_real) {
      refuse("node " + std::to_string(i) + " splits a feature that is not there.");
    }
    if (std::isnan(node.threshold)) refuse("node " + std::to_string(i) + " has no threshold.");
    if (node.left != next_child || node.left <= i || next_child + 1 >= count) {
      refuse("the children of node " + std::to_string(i) + " are out of place.");
    }
    next_child += 2;
  }
  if (next_child != count || std::uint64_t{leaves} * 2 != std::uint64_t{count} + 1) {
    refuse("it has " + std::to_string(count) + " nodes and " + std::to_string(leaves) + " leaves.");
  }
}

void ReadTrees(const Reader& reader, Model* model) {
  const auto header = reader.Part<std::uint32_t>("trees", 0, 4);
  const std::uint64_t trees = header[0];
  std::size_t at = 16;
  model->node_offsets = reader.Part<std::uint32_t>("trees", at, trees + 1);
  at += 4 * model->node_offsets.size;
  model->leaf_offsets = reader.Part<std::uint32_t>("trees", at, trees + 1);
  at += 4 * model->leaf_offsets.size;
  model->nodes = reader.Part<Node>("trees", at, header[2]);
  at += sizeof(Node) * model->nodes.size;
  model->leaf_weights = reader.Values<float>("leaf_weights");
  if (at != reader.artifact().Section("trees").size || header[1] != model->num_real ||
      model->node_offsets[0] != 0 || model->node_offsets[trees] != header[2] ||
      model->leaf_offsets[0] != 0 || model->leaf_offsets[trees] != header[3] ||
      model->leaf_weights.size != header[3]) {
    reader.Refuse("trees", "its counts do not fit each other, the features or the leaf weights.");
  }
  for (std::uint32_t tree = 0; tree < trees; ++tree) {
    if (model->node_offsets[tree + 1] <= model->node_offsets[tree] ||
        model->node_offsets[tree + 1] > header[2] ||
        model->leaf_offsets[tree + 1] <= model->leaf_offsets[tree] ||
        model->leaf_offsets[tree + 1] > header[3]) {
      reader.Refuse("trees", "tree " + std::to_string(tree) + " is empty or out of place.");
    }
    CheckTree(reader, *model, tree);
  }
}

void CheckFinite(const Reader& reader, const std::string& section, const Span<float>& weights) {
  for (std::size_t i = 0; i < weights.size; ++i) {
    if (!std::isfinite(weights[i])) {
      reader.Refuse(section, "weight " + std::to_string(i) + " is not finite.");
    }
  }
}

void ReadRegression(const Reader& reader, Model* model) {
  CheckFinite(reader, "leaf_weights", model->leaf_weights);
  model->category_weights = reader.Values<float>("category_weights");
  if (model->category_weights.size != model->num_columns) {
    reader.Refuse("category_weights", "there are " +
                                          std::to_string(model->category_weights.size) +
                                          " weights for " + std::to_string(model->num_columns) +
                                          " columns.");
  }
  CheckFinite(reader, "category_weights", model->category_weights);
  const auto calibration = reader.Values<Calibration>("calibration");
  if (calibration.size != 1 || calibration[0].zero != 0 || !std::isfinite(calibration[0].bias) ||
      !std::isfinite(calibration[0].slope) || !std::isfinite(calibration[0].intercept)) {
    reader.Refuse("calibration", "it does not hold one finite bias, slope and intercept.");
  }
  model->bias = calibration[0].bias;
  model->slope = calibration[0].slope;
  model->intercept = calibration[0].intercept;
}

}  // namespace

Model Model::From(std::shared_ptr<const Artifact> artifact) {
  Model model;
  model.artifact = std::move(artifact);
  const Reader reader(*model.artifact);
  constexpr std::size_t kNumSections = 8;
  ProgramReader(reader, &model).Read();
  ReadTrees(reader, &model);
  ReadRegression(reader, &model);
  if (model.artifact->sections().size() != kNumSections) {
    throw Error(Error::Kind::kArtifact, "the file holds sections that version 1 does not have.",
                model.artifact->where(), "export it with the version of this scorer");
  }
  return model;
}

}  // namespace cpp_serving
