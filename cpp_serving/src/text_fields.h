// A text file of key=value lines, read block by block.
#ifndef CPP_SERVING_SRC_TEXT_FIELDS_H_
#define CPP_SERVING_SRC_TEXT_FIELDS_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace cpp_serving {

// The lines of a block by their keys; a line without '=' is a key without a value.
class Fields {
 public:
  Fields(std::string where, std::map<std::string_view, std::string_view> values)
      : where_(std::move(where)), values_(std::move(values)) {}

  bool Has(std::string_view key) const { return values_.count(key) != 0; }
  // Each throws Error(kArtifact) where the key is absent, or its value is not what is asked for.
  std::string Text(std::string_view key) const;
  std::int64_t Whole(std::string_view key) const;  // from 0
  std::vector<std::string_view> Words(std::string_view key) const;
  std::vector<std::int64_t> Integers(std::string_view key) const;
  std::vector<double> Doubles(std::string_view key) const;

  [[noreturn]] void Refuse(std::string what) const;
  // Of a sound file that holds what can not be scored here.
  [[noreturn]] void RefuseUnknown(std::string what) const;
  const std::string& Where() const { return where_; }

 private:
  std::string_view ValueOf(std::string_view key) const;

  std::string where_;
  std::map<std::string_view, std::string_view> values_;
};

class Lines {
 public:
  // `bytes` must outlive the lines and their fields.
  Lines(std::string_view bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  bool StartsWith(std::string_view text) const { return bytes_.substr(at_, text.size()) == text; }
  bool AtEnd() const { return at_ >= bytes_.size(); }
  std::size_t Left() const { return bytes_.size() - at_; }
  // The next line, and those after it up to one that starts with one of the ends. A key that is
  // there twice is refused.
  Fields Block(std::initializer_list<std::string_view> ends);

  [[noreturn]] void Refuse(std::string what) const;

 private:
  std::string Where() const;

  std::string_view bytes_;
  std::string where_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_TEXT_FIELDS_H_
