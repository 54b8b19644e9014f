#include "cpp_serving/features.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "cpp_serving/error.h"
#include "cpp_serving/murmur3.h"
#include "kept_values.h"

namespace cpp_serving {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
constexpr double kMicrosecondsPerHour = 3.6e9;
constexpr std::int64_t kMicrosecondsPerSecond = 1000000;
constexpr std::int64_t kSecondsPerDay = 86400;
constexpr std::int64_t kSecondsPerHour = 3600;
constexpr char kJoin = '\x1f';
constexpr std::size_t kFewEdges = 16;

constexpr std::int64_t FloorDivide(std::int64_t a, std::int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

// Seconds first: adding the offset to microseconds could overflow at the ends of int64.
std::int64_t LocalSeconds(std::int64_t microseconds, std::int32_t utc_offset_minutes) {
  return FloorDivide(microseconds, kMicrosecondsPerSecond) + std::int64_t{utc_offset_minutes} * 60;
}

std::int64_t HourOf(std::int64_t local_seconds) {
  const std::int64_t of_day =
      local_seconds - FloorDivide(local_seconds, kSecondsPerDay) * kSecondsPerDay;
  return of_day / kSecondsPerHour;
}

// 1970-01-01 was a Thursday, and Monday is 0.
std::int64_t WeekdayOf(std::int64_t local_seconds) {
  const std::int64_t days = FloorDivide(local_seconds, kSecondsPerDay) + 3;
  return days - FloorDivide(days, 7) * 7;
}

double LogHours(std::int64_t since, std::int64_t until) {
  if (until <= since) return 0.0;  // log1p(0)
  // The difference of two int64 always fits in uint64.
  const std::uint64_t apart = static_cast<std::uint64_t>(until) - static_cast<std::uint64_t>(since);
  return std::log1p(static_cast<double>(apart) / kMicrosecondsPerHour);
}

bool IsBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::int64_t CountTokens(std::string_view text) {
  std::int64_t tokens = 0;
  bool inside = false;
  for (const char c : text) {
    const bool blank = IsBlank(c);
    if (!blank && !inside) ++tokens;
    inside = !blank;
  }
  return tokens;
}

bool CanRead(FeatureKind kind, ValueType type) {
  switch (kind) {
    case FeatureKind::kNumber:
    case FeatureKind::kLog1p:
    case FeatureKind::kRate:
    case FeatureKind::kBucket:
      return type == ValueType::kBool || type == ValueType::kInt64 || type == ValueType::kFloat64;
    case FeatureKind::kHour:
    case FeatureKind::kWeekday:
    case FeatureKind::kRecency:
    case FeatureKind::kHistoryRecency:
      return type == ValueType::kTimestamp;
    case FeatureKind::kTokens:
      return type == ValueType::kUtf8;
    case FeatureKind::kHash:
      return type == ValueType::kBool || type == ValueType::kInt64 || type == ValueType::kUtf8;
    case FeatureKind::kId:
      return type == ValueType::kInt64;
    case FeatureKind::kHistoryMatches:
      return true;
    case FeatureKind::kHistoryCount:
      return false;
  }
  return false;
}

[[noreturn]] void RefuseType(const Feature& feature, const std::string& path, ValueType type) {
  throw Error(
      Error::Kind::kLog,
      "feature '" + feature.name + "' can not read '" + path + "', which is " + NameOf(type) + ".",
      "the log's schema",
      "log the field in a type that docs/features.md lists for the kind, or change the "
      "feature set");
}

}  // namespace

BoundFeature::BoundFeature(const Feature& feature, const Records& records, const Faults& faults)
    : feature_(&feature), records_(&records) {
  const std::vector<std::string>& strict = faults.bucket_edge_side;
  edge_exclusive_ = std::find(strict.begin(), strict.end(), feature.name) != strict.end();
  for (const std::string& path : feature.sources) {
    const Field field = records.At(path);
    if (!CanRead(feature.kind, field.type)) RefuseType(feature, path, field.type);
    sources_[num_sources_++].field = field;
  }
  if (feature.kind == FeatureKind::kHistoryMatches &&
      sources_[0].field.type != sources_[1].field.type) {
    RefuseType(feature, feature.sources[0],
               sources_[0].field.type);  // The two are compared: they must be of one type.
  }
  if (feature.kind == FeatureKind::kHistoryRecency) {
    history_at_ = records.At("history.at");
    if (history_at_.type != ValueType::kTimestamp) {
      RefuseType(feature, "history.at", history_at_.type);
    }
  }
}

// Calls put(place, request, candidate) for each row of the feature's axis.
template <typename Put>
void BoundFeature::ForRows(Put put) const {
  for (std::int64_t request = 0; request < records_->num_requests(); ++request) {
    if (feature_->axis == Axis::kRequest) {
      put(static_cast<std::size_t>(request), request, std::int64_t{0});
      continue;
    }
    const std::int64_t end = records_->CandidateBegin(request + 1);
    for (std::int64_t row = records_->CandidateBegin(request); row < end; ++row) {
      put(static_cast<std::size_t>(row), request, row);
    }
  }
}

// value(request, candidate) in float64 or as an integer, rounded once.
template <typename Value>
void BoundFeature::FillReals(float* out, std::size_t stride, Value value) const {
  ForRows([&](std::size_t place, std::int64_t request, std::int64_t candidate) {
    out[place * stride] = static_cast<float>(value(request, candidate));
  });
}

// Calls use(number), where number(request, candidate) is the source's value in float64; null,
// infinite and NaN are missing. The type is asked for once a column.
template <typename Use>
void BoundFeature::WithNumber(std::size_t source, Use use) const {
  const Source& from = sources_[source];
  const auto unless_null = [&](auto read) {
    return [&from, read](std::int64_t request, std::int64_t candidate) {
      const std::int64_t row = from.Row(request, candidate);
      return from.field.IsNull(row) ? kMissing : read(from.field, row);
    };
  };
  switch (from.field.type) {
    case ValueType::kBool:
      return use(unless_null(
          [](const Field& field, std::int64_t row) { return field.Bool(row) ? 1.0 : 0.0; }));
    case ValueType::kInt64:
      return use(unless_null([](const Field& field, std::int64_t row) {
        return static_cast<double>(field.Int64(row));
      }));
    default:
      return use(unless_null([](const Field& field, std::int64_t row) {
        const double value = field.Float64(row);
        return std::isfinite(value) ? value : kMissing;
      }));
  }
}

void BoundFeature::Reals(float* out, std::size_t stride) const {
  const Source& first = sources_[0];
  const Source& second = sources_[1];
  // Of timestamps and text: missing where the first source is null, else of(its row, candidate's).
  const auto unless_null = [&](auto of) {
    return [&first, of](std::int64_t request, std::int64_t candidate) {
      const std::int64_t row = first.Row(request, candidate);
      return first.field.IsNull(row) ? kMissing : static_cast<double>(of(row));
    };
  };
  const auto local_seconds = [&](std::int64_t row) {
    return LocalSeconds(first.field.Int64(row), feature_->utc_offset_minutes);
  };
  switch (feature_->kind) {
    case FeatureKind::kNumber:
      return WithNumber(0, [&](auto number) { FillReals(out, stride, number); });
    case FeatureKind::kLog1p:
      return WithNumber(0, [&](auto number) {
        const LogOfCounts& logs = CountLogs();
        FillReals(out, stride, [&](std::int64_t request, std::int64_t candidate) {
          const double x = number(request, candidate);
          return x >= 0.0 ? logs.Of(x) : kMissing;
        });
      });
    case FeatureKind::kHour:
      return FillReals(out, stride,
                       unless_null([&](std::int64_t row) { return HourOf(local_seconds(row)); }));
    case FeatureKind::kWeekday:
      return FillReals(out, stride, unless_null([&](std::int64_t row) {
                         return WeekdayOf(local_seconds(row));
                       }));
    case FeatureKind::kRecency:
      return FillReals(out, stride, [&](std::int64_t request, std::int64_t candidate) {
        const std::int64_t since = first.Row(request, candidate);
        const std::int64_t until = second.Row(request, candidate);
        if (first.field.IsNull(since) || second.field.IsNull(until)) return kMissing;
        return LogHours(first.field.Int64(since), second.field.Int64(until));
      });
    case FeatureKind::kRate:
      return WithNumber(0, [&](auto events) {
        WithNumber(1, [&](auto trials) {
          FillReals(out, stride, [&](std::int64_t request, std::int64_t candidate) {
            return (events(request, candidate) + feature_->prior * feature_->weight) /
                   (trials(request, candidate) + feature_->weight);
          });
        });
      });
    case FeatureKind::kTokens:
      return FillReals(out, stride, unless_null([&](std::int64_t row) {
                         return CountTokens(first.field.Text(row));
                       }));
    case FeatureKind::kHistoryCount:
      return FillReals(out, stride, [&](std::int64_t request, std::int64_t) {
        return std::log1p(
            static_cast<double>(records_->StepBegin(request + 1) - records_->StepBegin(request)));
      });
    case FeatureKind::kHistoryRecency:
      return FillReals(out, stride, [&](std::int64_t request, std::int64_t candidate) {
        const std::int64_t end = records_->StepBegin(request + 1);
        const std::int64_t row = first.Row(request, candidate);
        if (end == records_->StepBegin(request) || history_at_.IsNull(end - 1) ||
            first.field.IsNull(row)) {
          return kMissing;
        }
        return LogHours(history_at_.Int64(end - 1), first.field.Int64(row));
      });
    case FeatureKind::kHistoryMatches:
      return FillReals(out, stride, [&](std::int64_t request, std::int64_t candidate) {
        return Matches(request, candidate);
      });
    default:
      return FillReals(out, stride, [](std::int64_t, std::int64_t) { return kMissing; });
  }
}

double BoundFeature::Matches(std::int64_t request, std::int64_t candidate) const {
  const Field& steps = sources_[0].field;
  const Field& field = sources_[1].field;
  const std::int64_t row = sources_[1].Row(request, candidate);
  if (field.IsNull(row)) return kMissing;
  const std::int64_t end = records_->StepBegin(request + 1);
  std::int64_t matches = 0;
  const auto count = [&](auto read) {
    const auto wanted = read(field, row);
    for (std::int64_t step = records_->StepBegin(request); step < end; ++step) {
      if (!steps.IsNull(step) && read(steps, step) == wanted) ++matches;
    }
  };
  switch (field.type) {
    case ValueType::kBool:
      count([](const Field& from, std::int64_t at) { return from.Bool(at); });
      break;
    case ValueType::kInt64:
    case ValueType::kTimestamp:
      count([](const Field& from, std::int64_t at) { return from.Int64(at); });
      break;
    case ValueType::kUtf8:
      count([](const Field& from, std::int64_t at) { return from.Text(at); });
      break;
    case ValueType::kFloat64:
      if (!std::isfinite(field.Float64(row))) return kMissing;
      count([](const Field& from, std::int64_t at) { return from.Float64(at); });
      break;
  }
  return static_cast<double>(matches);
}

// `text` is room that is kept from value to value.
std::int64_t BoundFeature::Hash(std::int64_t request, std::int64_t candidate,
                                std::string* text) const {
  text->clear();
  for (std::size_t i = 0; i < num_sources_; ++i) {
    const Field& field = sources_[i].field;
    const std::int64_t row = sources_[i].Row(request, candidate);
    if (field.IsNull(row)) return 0;
    if (i > 0) *text += kJoin;
    if (field.type == ValueType::kUtf8) {
      *text += field.Text(row);
    } else if (field.type == ValueType::kInt64) {
      char digits[20];  // Of int64, with its sign.
      const char* end = std::to_chars(digits, digits + sizeof digits, field.Int64(row)).ptr;
      text->append(digits, static_cast<std::size_t>(end - digits));
    } else {
      *text += field.Bool(row) ? '1' : '0';
    }
  }
  if (feature_->lower) {
    for (char& c : *text) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
  }
  return 1 + static_cast<std::int64_t>(Murmur3(*text, feature_->seed) % (feature_->buckets - 1));
}

// The source that tells a request's candidates apart, where it is one, and an integer.
const BoundFeature::Source* BoundFeature::TheOneOfCandidates() const {
  const Source* found = nullptr;
  for (std::size_t i = 0; i < num_sources_; ++i) {
    if (sources_[i].field.axis != Axis::kCandidate) continue;
    if (found != nullptr || sources_[i].field.type != ValueType::kInt64) return nullptr;
    found = &sources_[i];
  }
  return found;
}

void BoundFeature::Discretes(std::int64_t* out) const {
  const auto fill = [&](auto value) {
    ForRows([&](std::size_t place, std::int64_t request, std::int64_t candidate) {
      out[place] = value(request, candidate);
    });
  };
  switch (feature_->kind) {
    case FeatureKind::kBucket:
      return WithNumber(0, [&](auto number) {
        const Span<double>& edges = feature_->edges;
        fill([&](std::int64_t request, std::int64_t candidate) -> std::int64_t {
          const double x = number(request, candidate);
          if (std::isnan(x)) return 0;
          if (edges.size <= kFewEdges) {  // Counted without a branch to guess.
            std::int64_t below = 1;
            for (const double edge : edges) below += edge_exclusive_ ? edge < x : edge <= x;
            return below;
          }
          const double* after = edge_exclusive_ ? std::lower_bound(edges.begin(), edges.end(), x)
                                                : std::upper_bound(edges.begin(), edges.end(), x);
          return 1 + (after - edges.begin());
        });
      });
    case FeatureKind::kHash: {
      static thread_local std::string room;
      std::string* text = &room;  // Asking for the thread's own costs more than a short hash.
      const auto hash = [this, text](std::int64_t request, std::int64_t candidate) {
        return Hash(request, candidate, text);
      };
      const Source* own = TheOneOfCandidates();
      if (own == nullptr) return fill(hash);
      static thread_local RecentHashes recent;
      RecentHashes* kept = &recent;
      kept->Forget(-1);  // Another feature's, or another batch's.
      return fill([&](std::int64_t request, std::int64_t candidate) {
        if (own->field.IsNull(candidate)) return std::int64_t{0};
        return kept->Of(request, own->field.Int64(candidate),
                        [&] { return hash(request, candidate); });
      });
    }
    case FeatureKind::kId:
      return fill([&](std::int64_t request, std::int64_t candidate) {
        const std::int64_t row = sources_[0].Row(request, candidate);
        return sources_[0].field.IsNull(row) ? -1 : sources_[0].field.Int64(row);
      });
    default:
      return fill([](std::int64_t, std::int64_t) { return std::int64_t{0}; });
  }
}

std::int32_t Encoded(const Feature& feature, std::int64_t value) {
  std::int64_t code = value;
  if (feature.kind == FeatureKind::kId && !feature.code_of_id.empty()) {
    const bool known = value >= 0 && static_cast<std::size_t>(value) < feature.code_of_id.size();
    code = known ? feature.code_of_id[static_cast<std::size_t>(value)] : 0;
  } else if (feature.kind == FeatureKind::kId) {
    code = feature.id_table.CodeOf(value);
  } else if (value < 0 || value >= std::int64_t{feature.cardinality}) {
    throw Error(Error::Kind::kStack,
                "the value " + std::to_string(value) + " is none of the feature's " +
                    std::to_string(feature.cardinality) + ".",
                "given 'features." + feature.name + "'",
                "give values of a feature with the same parameters");
  }
  return static_cast<std::int32_t>(feature.first_column + code);
}

}  // namespace cpp_serving
