#include "text_fields.h"

#include <algorithm>
#include <utility>

#include "cpp_serving/error.h"
#include "decimal.h"
#include "fixes.h"

namespace cpp_serving {
namespace {

[[noreturn]] void RefuseAt(std::string what, const std::string& where, const char* fix) {
  for (char& c : what) {
    if (c < ' ' || c > '~') c = '?';  // Parts of it come from the file.
  }
  throw Error(Error::Kind::kArtifact, std::move(what), where, fix);
}

}  // namespace

void Fields::Refuse(std::string what) const { RefuseAt(std::move(what), where_, kSaveAgain); }

void Fields::RefuseUnknown(std::string what) const {
  RefuseAt(std::move(what), where_, kScoreElsewhere);
}

std::string_view Fields::ValueOf(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) Refuse("there is no line '" + std::string(key) + "'.");
  return found->second;
}

std::string Fields::Text(std::string_view key) const {
  return std::string(ValueOf(key).substr(0, 100));  // Longer than any that is known.
}

std::int64_t Fields::Whole(std::string_view key) const {
  std::int64_t value;
  if (!ParseInteger(ValueOf(key), &value) || value < 0) {
    Refuse(std::string(key) + " is '" + Text(key) + "', no whole number from 0.");
  }
  return value;
}

std::vector<std::string_view> Fields::Words(std::string_view key) const {
  std::string_view rest = ValueOf(key);
  std::vector<std::string_view> words;
  for (;;) {
    const std::size_t first = rest.find_first_not_of(' ');
    if (first == std::string_view::npos) return words;
    rest.remove_prefix(first);
    words.push_back(rest.substr(0, rest.find(' ')));
    rest.remove_prefix(words.back().size());
  }
}

std::vector<std::int64_t> Fields::Integers(std::string_view key) const {
  std::vector<std::int64_t> values;
  for (const std::string_view word : Words(key)) {
    std::int64_t value;
    if (!ParseInteger(word, &value)) {
      Refuse(std::string(key) + " holds '" + std::string(word.substr(0, 40)) +
             "', no whole number.");
    }
    values.push_back(value);
  }
  return values;
}

std::vector<double> Fields::Doubles(std::string_view key) const {
  std::vector<double> values;
  for (const std::string_view word : Words(key)) {
    double value;
    if (!ParseDouble(word, &value)) {
      Refuse(std::string(key) + " holds '" + std::string(word.substr(0, 40)) + "', no number.");
    }
    values.push_back(value);
  }
  return values;
}

std::string Lines::Where() const { return where_ + ", line " + std::to_string(line_); }

void Lines::Refuse(std::string what) const { RefuseAt(std::move(what), Where(), kSaveAgain); }

Fields Lines::Block(std::initializer_list<std::string_view> ends) {
  const std::string where = Where();
  std::map<std::string_view, std::string_view> values;
  const auto ended = [&] {
    return std::any_of(ends.begin(), ends.end(),
                       [&](std::string_view end) { return StartsWith(end); });
  };
  do {
    std::string_view line = bytes_.substr(at_, bytes_.find('\n', at_) - at_);
    at_ = std::min(at_ + line.size() + 1, bytes_.size());
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const std::size_t equals = line.find('=');
    const std::string_view key = line.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view() : line.substr(equals + 1);
    if (!line.empty() && !values.emplace(key, value).second) {
      Refuse("'" + std::string(key.substr(0, 40)) + "' is there twice.");
    }
    ++line_;
  } while (!AtEnd() && !ended());
  return Fields(where, std::move(values));
}

}  // namespace cpp_serving
