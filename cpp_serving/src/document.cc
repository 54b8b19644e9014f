#include "document.h"

#include <set>
#include <utility>

#include "cpp_serving/error.h"
#include "fixes.h"
#include "utf8.h"

namespace cpp_serving {

void Document::Object(const std::function<void(const std::string& name)>& member) {
  if (Next() != Kind::kObject) Refuse("an object is expected here.");
  Deeper();
  OpenObject();
  std::set<std::string> seen;
  std::string name;
  while (NextMember(&name)) {
    path_.push_back("." + name);
    if (!seen.insert(name).second) Refuse("the member is there twice.");
    member(name);
    path_.pop_back();
  }
  Shallower();
}

void Document::Array(const std::function<void()>& element) {
  if (Next() != Kind::kArray) Refuse("an array is expected here.");
  Deeper();
  OpenArray();
  for (std::size_t i = 0; NextElement(); ++i) {
    path_.push_back("[" + std::to_string(i) + "]");
    element();
    path_.pop_back();
  }
  Shallower();
}

std::string Document::Text() {
  if (Next() != Kind::kString) Refuse("a string is expected here.");
  std::string text = RawText();
  if (!IsUtf8(text)) Refuse("the string is not UTF-8.");
  return text;
}

void Document::Refuse(std::string what) const {
  throw Error(Error::Kind::kArtifact, std::move(what), Where(), kSaveAgain);
}

void Document::RefuseAt(const std::string& way, std::string what) const {
  throw Error(Error::Kind::kArtifact, std::move(what), WhereOf(way), kSaveAgain);
}

void Document::RefuseUnknown(const std::string& way, std::string what) const {
  throw Error(Error::Kind::kArtifact, std::move(what), WhereOf(way), kScoreElsewhere);
}

std::string Document::Way() const {
  std::string way;
  for (const std::string& step : path_) way += step;
  // Names come from the file: what can not be printed is not, and a long way is cut.
  for (char& c : way) {
    if (c < ' ' || c > '~') c = '?';
  }
  constexpr std::size_t kLongest = 200;
  if (way.size() > kLongest) way = way.substr(0, kLongest) + "...";
  return !way.empty() && way[0] == '.' ? way.substr(1) : way;
}

std::string Document::Where() const {
  const std::string way = Way();
  return (way.empty() ? where_ : WhereOf(way)) + ", byte " + std::to_string(at_);
}

void Document::Deeper() {
  if (++depth_ > kMaxDepth) {
    Refuse("values are nested more than " + std::to_string(kMaxDepth) + " deep.");
  }
}

}  // namespace cpp_serving
