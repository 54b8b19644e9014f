// A scorer's file, mapped and checked: sections by name (docs/formats.md, "The scorer's artifact").
#ifndef CPP_SERVING_ARTIFACT_H_
#define CPP_SERVING_ARTIFACT_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "cpp_serving/span.h"

namespace cpp_serving {

// Owns the bytes. The constructor functions refuse a file that is cut short, has one byte changed,
// or is of another version. A mapped file must be replaced by renaming (as the exporter does),
// never written in place while it is mapped.
class Artifact {
 public:
  // Maps a file. Throws Error(kArtifact).
  static std::shared_ptr<const Artifact> Open(const std::filesystem::path& path);

  // Copies bytes; `where` names them in errors. Throws Error(kArtifact).
  static std::shared_ptr<const Artifact> FromBytes(std::string_view bytes, std::string where);

  ~Artifact();
  Artifact(const Artifact&) = delete;
  Artifact& operator=(const Artifact&) = delete;

  // The bytes of a section, aligned to 64. Throws Error(kArtifact) when the file has none such.
  Span<std::byte> Section(const std::string& name) const;

  const std::map<std::string, Span<std::byte>>& sections() const { return sections_; }
  const std::string& training_id() const { return training_id_; }
  const std::string& where() const { return where_; }

 private:
  Artifact() = default;
  void Check();
  void ReadSections();
  std::string DamagedPart() const;

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  bool mapped_ = false;
  std::string where_;
  std::string training_id_;
  std::map<std::string, Span<std::byte>> sections_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_ARTIFACT_H_
