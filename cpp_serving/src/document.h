// What JSON and UBJSON have in common: a document read forward, once, value by value.
#ifndef CPP_SERVING_SRC_DOCUMENT_H_
#define CPP_SERVING_SRC_DOCUMENT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace cpp_serving {

// A reader asks for the value that it expects, and gets it or an Error(kArtifact) that says where
// in the document another one stands. Nothing is kept but what is asked for, so memory is bounded
// by the document's size.
class Document {
 public:
  enum class Kind { kObject, kArray, kString, kNumber, kTruth, kNull };

  // Model files nest at most 8 deep.
  static constexpr std::size_t kMaxDepth = 64;

  // `bytes` must outlive the document; `where` names them in errors.
  Document(std::string_view bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}
  virtual ~Document() = default;
  Document(const Document&) = delete;
  Document& operator=(const Document&) = delete;

  // Of the value that comes next.
  virtual Kind Next() = 0;

  // Calls member(name) for each, which reads its value. A name that is there twice is refused.
  void Object(const std::function<void(const std::string& name)>& member);
  // Calls element() for each, which reads it.
  void Array(const std::function<void()>& element);
  // Valid UTF-8.
  std::string Text();
  // An array of numbers, as the nearest float32 each.
  virtual void Floats(std::vector<float>* values) = 0;
  // An array of whole numbers; true and false are 1 and 0.
  virtual void Integers(std::vector<std::int64_t>* values) = 0;
  // Reads over a value of any kind.
  virtual void Skip() = 0;
  // Nothing but white space may follow.
  virtual void End() = 0;

  [[noreturn]] void Refuse(std::string what) const;
  // Of what was read before: `way` leads to it.
  [[noreturn]] void RefuseAt(const std::string& way, std::string what) const;
  // Of a sound file that holds what can not be scored here.
  [[noreturn]] void RefuseUnknown(const std::string& way, std::string what) const;
  // The way to the value being read, "learner.objective"; empty outside of all values.
  std::string Way() const;
  // The file, and a way in it.
  std::string WhereOf(const std::string& way) const { return where_ + ", " + way; }
  // The file, the way to the value being read, and its byte.
  std::string Where() const;

 protected:
  // A container is opened, read member by member until false comes back.
  virtual void OpenObject() = 0;
  virtual bool NextMember(std::string* name) = 0;
  virtual void OpenArray() = 0;
  virtual bool NextElement() = 0;
  virtual std::string RawText() = 0;

  // Throws when containers nest deeper than kMaxDepth; the caller opens one.
  void Deeper();
  void Shallower() { --depth_; }

  bool AtEnd() const { return at_ == bytes_.size(); }
  std::size_t Left() const { return bytes_.size() - at_; }

  std::string_view bytes_;
  std::size_t at_ = 0;

 private:
  std::string where_;
  std::vector<std::string> path_;
  std::size_t depth_ = 0;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_DOCUMENT_H_
