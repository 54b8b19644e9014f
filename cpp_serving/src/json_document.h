// JSON as XGBoost writes it: numbers may also be NaN, Infinity and -Infinity.
#ifndef CPP_SERVING_SRC_JSON_DOCUMENT_H_
#define CPP_SERVING_SRC_JSON_DOCUMENT_H_

#include "document.h"

namespace cpp_serving {

class JsonDocument final : public Document {
 public:
  using Document::Document;

  Kind Next() override;
  void Floats(std::vector<float>* values) override;
  void Integers(std::vector<std::int64_t>* values) override;
  void Skip() override;
  void End() override;

 protected:
  void OpenObject() override { Open('{'); }
  bool NextMember(std::string* name) override;
  void OpenArray() override { Open('['); }
  bool NextElement() override { return NextItem(']'); }
  std::string RawText() override;

 private:
  void SkipSpace();
  void Open(char bracket);
  // Past the comma before the next item, or past the bracket that ends the container.
  bool NextItem(char bracket);
  void Expect(char c);
  void SkipWord(std::string_view word);
  std::string_view NumberToken();
  float Float();
  std::int64_t Integer();
  std::uint32_t HexDigits();
  void AppendEscape(std::string* text);

  bool first_ = false;  // Right after an opening bracket.
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_JSON_DOCUMENT_H_
