#include "json_document.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "decimal.h"
#include "utf8.h"

namespace cpp_serving {

void JsonDocument::SkipSpace() {
  while (!AtEnd() && (bytes_[at_] == ' ' || bytes_[at_] == '\n' || bytes_[at_] == '\t' ||
                      bytes_[at_] == '\r')) {
    ++at_;
  }
}

Document::Kind JsonDocument::Next() {
  SkipSpace();
  if (AtEnd()) Refuse("the document is cut short.");
  switch (bytes_[at_]) {
    case '{':
      return Kind::kObject;
    case '[':
      return Kind::kArray;
    case '"':
      return Kind::kString;
    case 't':
    case 'f':
      return Kind::kTruth;
    case 'n':
      return Kind::kNull;
    default:
      return Kind::kNumber;
  }
}

void JsonDocument::Open(char bracket) {
  Expect(bracket);
  first_ = true;
}

bool JsonDocument::NextItem(char bracket) {
  SkipSpace();
  if (!AtEnd() && bytes_[at_] == bracket) {
    ++at_;
    first_ = false;
    return false;
  }
  if (!first_) Expect(',');
  first_ = false;
  SkipSpace();
  return true;
}

bool JsonDocument::NextMember(std::string* name) {
  if (!NextItem('}')) return false;
  *name = Text();
  SkipSpace();
  Expect(':');
  return true;
}

void JsonDocument::Expect(char c) {
  if (AtEnd()) Refuse("the document is cut short.");
  if (bytes_[at_] != c) Refuse(std::string("a '") + c + "' is expected here.");
  ++at_;
}

std::string JsonDocument::RawText() {
  SkipSpace();
  Expect('"');
  std::string text;
  for (;;) {
    if (AtEnd()) Refuse("the document is cut short.");
    const char c = bytes_[at_++];
    if (c == '"') return text;
    if (static_cast<unsigned char>(c) < 0x20) Refuse("a control character stands in a string.");
    if (c == '\\') {
      AppendEscape(&text);
    } else {
      text.push_back(c);
    }
  }
}

std::uint32_t JsonDocument::HexDigits() {
  std::uint32_t value = 0;
  const char* first = bytes_.data() + at_;
  if (Left() < 4 || std::from_chars(first, first + 4, value, 16).ptr != first + 4) {
    Refuse("four hexadecimal digits are expected here.");
  }
  at_ += 4;
  return value;
}

void JsonDocument::AppendEscape(std::string* text) {
  if (AtEnd()) Refuse("the document is cut short.");
  constexpr std::string_view kLetters = "\"\\/bfnrt";
  constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
  const char letter = bytes_[at_++];
  const std::size_t place = kLetters.find(letter);
  if (place != std::string_view::npos) return text->push_back(kMeanings[place]);
  if (letter != 'u') Refuse("the escape in the string means nothing.");
  std::uint32_t point = HexDigits();
  if (point >= 0xD800 && point < 0xDC00 && bytes_.substr(at_, 2) == "\\u") {
    at_ += 2;
    const std::uint32_t low = HexDigits();
    if (low < 0xDC00 || low >= 0xE000) Refuse("a surrogate stands alone.");
    point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
  }
  AppendUtf8(point, text);  // A surrogate that stands alone makes no UTF-8, and is refused as such.
}

std::string_view JsonDocument::NumberToken() {
  SkipSpace();
  const std::size_t end = std::min(bytes_.find_first_of(",]} \n\t\r", at_), bytes_.size());
  const std::string_view token = bytes_.substr(at_, end - at_);
  // Longer than any float64 with all its digits.
  if (token.empty() || token.size() > 400) Refuse("a number is expected here.");
  return token;
}

float JsonDocument::Float() {
  const std::string_view token = NumberToken();
  float value;
  if (!ParseFloat(token, &value)) Refuse("a number is expected here.");
  at_ += token.size();
  return value;
}

std::int64_t JsonDocument::Integer() {
  const std::string_view token = NumberToken();
  std::int64_t value = 0;
  if (token == "true" || token == "false") {
    value = token == "true" ? 1 : 0;
  } else if (!ParseInteger(token, &value)) {
    Refuse("a whole number is expected here.");
  }
  at_ += token.size();
  return value;
}

void JsonDocument::Floats(std::vector<float>* values) {
  values->clear();
  SkipSpace();
  Open('[');
  while (NextItem(']')) values->push_back(Float());
}

void JsonDocument::Integers(std::vector<std::int64_t>* values) {
  values->clear();
  SkipSpace();
  Open('[');
  while (NextItem(']')) values->push_back(Integer());
}

void JsonDocument::SkipWord(std::string_view word) {
  if (bytes_.substr(at_, word.size()) != word) Refuse("a value is expected here.");
  at_ += word.size();
}

void JsonDocument::Skip() {
  std::string name;
  switch (Next()) {
    case Kind::kObject:
      Deeper();
      OpenObject();
      while (NextMember(&name)) Skip();
      return Shallower();
    case Kind::kArray:
      Deeper();
      OpenArray();
      while (NextElement()) Skip();
      return Shallower();
    case Kind::kString:
      RawText();
      return;
    case Kind::kTruth:
      return SkipWord(bytes_[at_] == 't' ? "true" : "false");
    case Kind::kNull:
      return SkipWord("null");
    case Kind::kNumber:
      Float();
      return;
  }
}

void JsonDocument::End() {
  SkipSpace();
  if (!AtEnd()) Refuse("the document goes on after its end.");
}

}  // namespace cpp_serving
