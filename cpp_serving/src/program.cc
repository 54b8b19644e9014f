#include "program.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "utf8.h"

namespace cpp_serving {
namespace {

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

// Each kind's name, and how many sources it has.
struct KindRule {
  const char* name;
  std::size_t min_sources;
  std::size_t max_sources;
};
constexpr KindRule kRules[] = {{"number", 1, 1},
                               {"log1p", 1, 1},
                               {"hour", 1, 1},
                               {"weekday", 1, 1},
                               {"recency", 2, 2},
                               {"rate", 2, 2},
                               {"tokens", 1, 1},
                               {"history_count", 0, 0},
                               {"history_recency", 1, 1},
                               {"history_matches", 2, 2},
                               {"bucket", 1, 1},
                               {"hash", 1, 3},
                               {"id", 1, 1}};
constexpr std::uint32_t kNumKinds = sizeof(kRules) / sizeof(kRules[0]);

std::vector<std::string> ReadNames(const SectionReader& reader) {
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
Axis AxisOf(const SectionReader& reader, const std::string& path) {
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
  ProgramReader(const SectionReader& reader, Model* model)
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
      Refuse(*feature,
             "its kind does not take " + std::to_string(feature->sources.size()) + " sources.");
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
      NumberIds(feature);
    }
  }

  // A table of the ids, where it is not much longer than their list.
  static void NumberIds(Feature* feature) {
    const Span<std::int64_t>& ids = feature->vocabulary;
    constexpr std::int64_t kSmall = 4096;
    if (ids.size == 0) return;
    const std::int64_t last = ids[ids.size - 1];
    if (last >= kSmall && last / 8 >= static_cast<std::int64_t>(ids.size)) {
      feature->id_table = IdTable(ids);
      return;
    }
    feature->code_of_id.assign(static_cast<std::size_t>(last) + 1, 0);
    for (std::size_t i = 0; i < ids.size; ++i) {
      feature->code_of_id[static_cast<std::size_t>(ids[i])] = static_cast<std::int32_t>(i + 1);
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

  const SectionReader& reader_;
  Model* model_;
  const std::vector<std::string> names_;
  const Span<double> edges_;
  const Span<std::int64_t> vocabularies_;
};

}  // namespace

const char* NameOf(FeatureKind kind) { return kRules[static_cast<std::uint32_t>(kind)].name; }

void ReadProgram(const SectionReader& reader, Model* model) { ProgramReader(reader, model).Read(); }

}  // namespace cpp_serving
