// Universal Binary JSON as XGBoost writes it: strings and arrays carry their length, arrays of
// numbers their type; objects carry neither.
#ifndef CPP_SERVING_SRC_UBJSON_DOCUMENT_H_
#define CPP_SERVING_SRC_UBJSON_DOCUMENT_H_

#include "document.h"

namespace cpp_serving {

class UbjsonDocument final : public Document {
 public:
  using Document::Document;

  Kind Next() override;
  void Floats(std::vector<float>* values) override;
  void Integers(std::vector<std::int64_t>* values) override;
  void Skip() override;
  void End() override;

 protected:
  void OpenObject() override { Take(1); }
  bool NextMember(std::string* name) override;
  void OpenArray() override;
  bool NextElement() override;
  std::string RawText() override;

 private:
  // An array that is being read: its elements' type, 0 where each has its own marker; and how many
  // are left, or kUncounted where a ']' ends it.
  struct Open {
    char type;
    std::uint64_t left;
  };
  static constexpr std::uint64_t kUncounted = ~std::uint64_t{0};

  std::string_view Take(std::uint64_t count);
  char Peek();
  char Marker();
  Open Header();
  bool NextOf(Open* array);
  std::uint64_t Length();
  std::int64_t IntegerOf(char marker);
  float FloatOf(char marker);
  template <typename T, typename Read>
  void Numbers(std::vector<T>* values, Read read);

  std::vector<Open> open_;  // Arrays of values of any kind.
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_UBJSON_DOCUMENT_H_
