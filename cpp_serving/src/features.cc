#include "cpp_serving/features.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "cpp_serving/error.h"
#include "cpp_serving/murmur3.h"

namespace cpp_serving {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
constexpr double kMicrosecondsPerHour = 3.6e9;
constexpr std::int64_t kMicrosecondsPerSecond = 1000000;
constexpr std::int64_t kSecondsPerDay = 86400;
constexpr std::int64_t kSecondsPerHour = 3600;
constexpr char kJoin = '\x1f';

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
    sources_.push_back({field});
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

// The value in float64; null, infinite and NaN are missing.
double BoundFeature::Number(const Source& source, std::int64_t request,
                            std::int64_t candidate) const {
  const std::int64_t row = source.Row(request, candidate);
  if (source.field.IsNull(row)) return kMissing;
  switch (source.field.type) {
    case ValueType::kBool:
      return source.field.Bool(row) ? 1.0 : 0.0;
    case ValueType::kInt64:
      return static_cast<double>(source.field.Int64(row));
    default: {
      const double value = source.field.Float64(row);
      return std::isfinite(value) ? value : kMissing;
    }
  }
}

float BoundFeature::Real(std::int64_t request, std::int64_t candidate) const {
  const auto round = [](auto value) { return static_cast<float>(value); };
  const auto row = [&](std::size_t source) { return sources_[source].Row(request, candidate); };
  const auto is_null = [&](std::size_t source) {
    return sources_[source].field.IsNull(row(source));
  };
  const auto integer = [&](std::size_t source) {
    return sources_[source].field.Int64(row(source));
  };
  switch (feature_->kind) {
    case FeatureKind::kNumber:
      return round(Number(sources_[0], request, candidate));
    case FeatureKind::kLog1p: {
      const double x = Number(sources_[0], request, candidate);
      return round(x >= 0.0 ? std::log1p(x) : kMissing);
    }
    case FeatureKind::kHour:
      if (is_null(0)) return round(kMissing);
      return round(HourOf(LocalSeconds(integer(0), feature_->utc_offset_minutes)));
    case FeatureKind::kWeekday:
      if (is_null(0)) return round(kMissing);
      return round(WeekdayOf(LocalSeconds(integer(0), feature_->utc_offset_minutes)));
    case FeatureKind::kRecency:
      if (is_null(0) || is_null(1)) return round(kMissing);
      return round(LogHours(integer(0), integer(1)));
    case FeatureKind::kRate: {
      const double events = Number(sources_[0], request, candidate);
      const double trials = Number(sources_[1], request, candidate);
      return round((events + feature_->prior * feature_->weight) / (trials + feature_->weight));
    }
    case FeatureKind::kTokens:
      if (is_null(0)) return round(kMissing);
      return round(CountTokens(sources_[0].field.Text(row(0))));
    case FeatureKind::kHistoryCount:
      return round(std::log1p(
          static_cast<double>(records_->StepBegin(request + 1) - records_->StepBegin(request))));
    case FeatureKind::kHistoryRecency: {
      const std::int64_t end = records_->StepBegin(request + 1);
      if (end == records_->StepBegin(request) || history_at_.IsNull(end - 1) || is_null(0)) {
        return round(kMissing);
      }
      return round(LogHours(history_at_.Int64(end - 1), integer(0)));
    }
    case FeatureKind::kHistoryMatches:
      return round(Matches(request, candidate));
    default:
      return round(kMissing);
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

std::int64_t BoundFeature::Hash(std::int64_t request, std::int64_t candidate) const {
  std::string text;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const Field& field = sources_[i].field;
    const std::int64_t row = sources_[i].Row(request, candidate);
    if (field.IsNull(row)) return 0;
    if (i > 0) text += kJoin;
    if (field.type == ValueType::kUtf8) {
      text += field.Text(row);
    } else if (field.type == ValueType::kInt64) {
      text += std::to_string(field.Int64(row));
    } else {
      text += field.Bool(row) ? '1' : '0';
    }
  }
  if (feature_->lower) {
    for (char& c : text) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
  }
  return 1 + static_cast<std::int64_t>(Murmur3(text, feature_->seed) % (feature_->buckets - 1));
}

std::int64_t BoundFeature::Discrete(std::int64_t request, std::int64_t candidate) const {
  switch (feature_->kind) {
    case FeatureKind::kBucket: {
      const double x = Number(sources_[0], request, candidate);
      if (std::isnan(x)) return 0;
      const Span<double>& edges = feature_->edges;
      const double* after = edge_exclusive_ ? std::lower_bound(edges.begin(), edges.end(), x)
                                            : std::upper_bound(edges.begin(), edges.end(), x);
      return 1 + (after - edges.begin());
    }
    case FeatureKind::kHash:
      return Hash(request, candidate);
    case FeatureKind::kId: {
      const std::int64_t row = sources_[0].Row(request, candidate);
      return sources_[0].field.IsNull(row) ? -1 : sources_[0].field.Int64(row);
    }
    default:
      return 0;
  }
}

std::int32_t Encoded(const Feature& feature, std::int64_t value) {
  std::int64_t code = value;
  if (feature.kind == FeatureKind::kId) {
    const Span<std::int64_t>& ids = feature.vocabulary;
    const std::int64_t* found = std::lower_bound(ids.begin(), ids.end(), value);
    code = found != ids.end() && *found == value ? 1 + (found - ids.begin()) : 0;
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
