// Typed views of an artifact's sections, bounds checked.
#ifndef CPP_SERVING_SRC_SECTION_READER_H_
#define CPP_SERVING_SRC_SECTION_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "cpp_serving/artifact.h"
#include "cpp_serving/error.h"
#include "cpp_serving/span.h"

namespace cpp_serving {

class SectionReader {
 public:
  explicit SectionReader(const Artifact& artifact) : artifact_(artifact) {}

  [[noreturn]] void Refuse(const std::string& section, std::string what) const {
    throw Error(Error::Kind::kArtifact, std::move(what),
                artifact_.where() + ", section '" + section + "'",
                "export it again with `python -m legacy export`");
  }

  // A whole section as values of one type.
  template <typename T>
  Span<T> Values(const std::string& section) const {
    const Span<std::byte> bytes = artifact_.Section(section);
    if (bytes.size % sizeof(T) != 0) {
      Refuse(section, std::to_string(bytes.size) + " bytes are no whole number of values of " +
                          std::to_string(sizeof(T)) + " bytes.");
    }
    return {reinterpret_cast<const T*>(bytes.data), bytes.size / sizeof(T)};
  }

  // `count` values of one type at `at` bytes into a section.
  template <typename T>
  Span<T> Part(const std::string& section, std::size_t at, std::uint64_t count) const {
    const Span<std::byte> bytes = artifact_.Section(section);
    if (at > bytes.size || count > (bytes.size - at) / sizeof(T)) {
      Refuse(section, "it ends before what it says it holds.");
    }
    return {reinterpret_cast<const T*>(bytes.data + at), static_cast<std::size_t>(count)};
  }

  const Artifact& artifact() const { return artifact_; }

 private:
  const Artifact& artifact_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_SECTION_READER_H_
