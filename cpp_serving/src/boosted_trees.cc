#include "cpp_serving/boosted_trees.h"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>
#include <tuple>
#include <utility>

#include "cpp_serving/error.h"
#include "json_document.h"
#include "lightgbm_reader.h"
#include "ubjson_document.h"
#include "xgboost_reader.h"

namespace cpp_serving {
namespace {

auto Parts(const InputColumn& column) {
  return std::tie(column.feature, column.kind, column.above, column.categories);
}

[[noreturn]] void Refuse(std::string what, const std::string& where, std::string fix) {
  throw Error(Error::Kind::kArtifact, std::move(what), where, std::move(fix));
}

}  // namespace

bool operator<(const InputColumn& a, const InputColumn& b) { return Parts(a) < Parts(b); }

bool operator==(const InputColumn& a, const InputColumn& b) { return Parts(a) == Parts(b); }

BoostedTrees ReadBoostedTrees(std::string_view bytes, const std::string& where) {
  constexpr char kSave[] =
      "save it with xgboost's save_model('model.json' or 'model.ubj'), or with lightgbm's "
      "save_model";
  if (bytes.empty()) Refuse("the model file is empty.", where, kSave);
  if (bytes.substr(0, 4) == "tree") return ReadLightgbm(bytes, where);
  if (bytes[0] != '{') {
    const bool old = bytes.substr(0, 4) == "binf" || bytes.substr(0, 4) == "bs64";
    Refuse(old ? "this is XGBoost's old binary format, which newer versions do not read either."
               : "this is no model file of XGBoost (JSON, UBJSON) or LightGBM (text).",
           where,
           old ? "load it with the version that wrote it, and save it as model.json" : kSave);
  }
  // After the bracket JSON has white space, a quote or a bracket; UBJSON the type of a length.
  const std::size_t second = bytes.find_first_not_of(" \t\r\n", 1);
  const char next = second == std::string_view::npos ? '}' : bytes[second];
  if (next == '"' || next == '}') {
    JsonDocument document(bytes, where);
    return ReadXgboost(&document);
  }
  UbjsonDocument document(bytes, where);
  return ReadXgboost(&document);
}

BoostedTrees ReadBoostedTrees(const std::filesystem::path& path) {
  const std::string where = path.string();
  const auto refuse = [&](int error) {
    Refuse("the model file can not be read: " + std::generic_category().message(error) + ".", where,
           "name a model file that xgboost or lightgbm saved");
  };
  std::error_code failed;
  if (!std::filesystem::is_regular_file(path, failed)) refuse(failed ? failed.value() : EISDIR);
  const std::uintmax_t size = std::filesystem::file_size(path, failed);
  if (failed) refuse(failed.value());
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  if (file == nullptr) refuse(errno);
  std::string bytes(static_cast<std::size_t>(size), '\0');
  if (std::fread(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) refuse(EIO);
  return ReadBoostedTrees(bytes, where);
}

}  // namespace cpp_serving
