// Any bytes, read as a scorer's file: as they are, and with their checksums renewed, without which
// hardly any change would be read at all.
#include <algorithm>
#include <cmath>

#include "../artifact_builder.h"
#include "../sample_records.h"
#include "claims.h"
#include "cpp_serving/scorer.h"
#include "cpp_serving/trees.h"

using namespace cpp_serving;

namespace {

void Reseal(std::string* file) {
  if (file->size() < 64) return;
  const std::uint64_t size = file->size();
  std::memcpy(&(*file)[16], &size, sizeof size);
  std::uint32_t sections;
  std::memcpy(&sections, file->data() + 12, sizeof sections);
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(sections, 16); ++i) {
    const std::uint64_t entry = 64 + 40 * i;
    if (entry + 40 > size) break;
    std::uint64_t offset, length;
    std::memcpy(&offset, file->data() + entry + 16, sizeof offset);
    std::memcpy(&length, file->data() + entry + 24, sizeof length);
    if (offset > size || length > size - offset) continue;
    const std::uint32_t crc = Crc32(file->data() + offset, length);
    std::memcpy(&(*file)[entry + 32], &crc, sizeof crc);
  }
  SealFile(*file);
}

// Opened again from its sections alone, it holds the same.
void ClaimRoundTrip(const Artifact& artifact) {
  Sections sections;
  for (const auto& [name, bytes] : artifact.sections()) {
    sections.emplace_back(name, std::string(reinterpret_cast<const char*>(bytes.data), bytes.size));
  }
  const auto again = Artifact::FromBytes(FileOf(sections), "written");
  for (const auto& [name, bytes] : sections) {
    const Span<std::byte> other = again->Section(name);
    CLAIM(other.size == bytes.size() &&
          std::equal(other.begin(), other.end(), reinterpret_cast<const std::byte*>(bytes.data())));
  }
}

void ClaimScoring(const std::shared_ptr<const Artifact>& artifact) {
  const Scorer scorer(artifact);
  const Model& model = scorer.model();
  const std::size_t width = model.num_real;
  const std::size_t rows = model.trees.nodes.size % 8 == 0 ? 67 : 3;
  std::vector<float> features(rows * width);
  const std::vector<std::vector<float>> points = SplitPoints(model.trees);
  for (std::size_t i = 0; i < features.size(); ++i) {
    const std::vector<float>& own = points[i % width];
    features[i] = own.empty() || i % 7 == 0 ? std::nanf("") : own[i / width % own.size()];
  }
  const std::uint32_t trees = model.trees.num_trees();
  std::vector<std::int32_t> leaves(rows * trees), walked(trees);
  scorer.forest().Leaves(features.data(), rows, leaves.data());
  for (std::size_t row = 0; row < rows; row += 2) {
    WalkTrees(model.trees, {}, features.data() + row * width, walked.data());
    CLAIM(std::equal(walked.begin(), walked.end(), leaves.begin() + row * trees));
  }
  static const ArrowNodePtr batch = SampleRecords();
  Accepted([&] { scorer.Score(Records(batch->schema, batch->array)); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string file(reinterpret_cast<const char*>(data), size);
  Accepted([&] { Artifact::FromBytes(file, "input"); });
  Reseal(&file);
  std::shared_ptr<const Artifact> artifact;
  if (!Accepted([&] { artifact = Artifact::FromBytes(file, "input"); })) return 0;
  ClaimRoundTrip(*artifact);
  Accepted([&] { ClaimScoring(artifact); });
  return 0;
}
