// Any bytes, read as XGBoost's UBJSON.
#include "ubjson_document.h"
#include "xgboost_claims.h"
#include "xgboost_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  cpp_serving::BoostedTrees model;
  const bool accepted = Accepted([&] {
    cpp_serving::UbjsonDocument document({reinterpret_cast<const char*>(data), size}, "input");
    model = cpp_serving::ReadXgboost(&document);
  });
  if (accepted) ClaimOfXgboost(model, size);
  return 0;
}
