// A damaged file is refused, and no file, however made, can crash the scorer.
#include "cpp_serving/artifact.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <string>

#include "artifact_builder.h"
#include "check.h"
#include "cpp_serving/scorer.h"
#include "sample_records.h"

using cpp_serving::Artifact;
using cpp_serving::Error;
using cpp_serving::Scorer;

namespace {

std::string OpenError(const std::string& file) {
  return ErrorOf([&] { Scorer(Artifact::FromBytes(file, "scorer.bin")); });
}

std::string ErrorWith(const std::string& section, std::string bytes) {
  Sections sections = SectionsOf(SampleSpec());
  for (auto& [name, old] : sections) {
    if (name == section) old = std::move(bytes);
  }
  return OpenError(FileOf(sections));
}

std::string ErrorWithSpec(ArtifactSpec spec) { return OpenError(FileOf(SectionsOf(spec))); }

void ASoundFileIsOpened() {
  const std::string file = FileOf(SectionsOf(SampleSpec()));
  CHECK(OpenError(file).empty());
  const auto artifact = Artifact::FromBytes(file, "here");
  CHECK(artifact->training_id() == "0123456789abcdef0123456789abcdef");
  CHECK(artifact->sections().size() == 8);
  CHECK(reinterpret_cast<std::uintptr_t>(artifact->Section("trees").data) % 64 == 0);
}

void AnyCutIsRefused() {
  const std::string file = FileOf(SectionsOf(SampleSpec()));
  for (std::size_t size = 0; size < file.size(); ++size)
    CHECK(!OpenError(file.substr(0, size)).empty());
  CHECK(Has(OpenError(file.substr(0, file.size() - 1)), "cut short"));
  CHECK(!OpenError(file + '\0').empty());
}

void AnyChangedByteIsRefused() {
  const std::string file = FileOf(SectionsOf(SampleSpec()));
  for (std::size_t place = 0; place < file.size(); ++place) {
    for (const int change : {0x01, 0x80, 0xFF}) {
      std::string damaged = file;
      damaged[place] = static_cast<char>(damaged[place] ^ change);
      CHECK(!OpenError(damaged).empty());
    }
  }
  std::string damaged = file;
  damaged.back() = 1;
  CHECK(Has(OpenError(damaged), "damaged"));
}

void TheDamagedSectionIsNamed() {
  const Sections sections = SectionsOf(SampleSpec());
  std::string file = FileOf(sections);
  const std::size_t at = file.find(sections[4].second);
  file[at + 20] = static_cast<char>(file[at + 20] ^ 4);
  CHECK(Has(OpenError(file), "section 'trees'"));
}

void WhatIsWellSealedAndWrongIsRefused() {
  CHECK(Has(OpenError(FileOf(SectionsOf(SampleSpec()), 2)), "version 2"));
  CHECK(Has(OpenError("PARITYXX" + std::string(100, 'x')), "no scorer's file"));
  Sections sections = SectionsOf(SampleSpec());
  sections.push_back({"more", "x"});
  CHECK(Has(OpenError(FileOf(sections)), "does not have"));
  sections.back().first = "trees";
  CHECK(Has(OpenError(FileOf(sections)), "twice"));
  sections.pop_back();
  sections.pop_back();
  CHECK(Has(OpenError(FileOf(sections)), "no section 'calibration'"));
  CHECK(Has(ErrorWith("names", ""), "names"));
  CHECK(Has(ErrorWith("program", "1234"), "program"));
  CHECK(Has(ErrorWith("leaf_weights", "12345"), "leaf_weights"));
  CHECK(Has(ErrorWith("category_weights", "1234"), "columns"));
}

void TreesAreCheckedNodeByNode() {
  const auto with = [](std::vector<NodeSpec> tree) {
    ArtifactSpec spec = SampleSpec();
    spec.trees[1] = std::move(tree);
    return ErrorWithSpec(spec);
  };
  const auto ok = SampleSpec().trees[1];
  CHECK(with(ok).empty());
  CHECK(
      Has(with({{0.5f, 9u, 0}, Leaf(1), Leaf(0)}), "out of place"));  // A child that is its parent.
  CHECK(Has(with({{0.5f, 9u, 2}, Leaf(1), Leaf(0)}), "out of place"));  // A child beyond the tree.
  CHECK(Has(with({{0.5f, 10u, 1}, Leaf(1), Leaf(0)}), "not there"));   // A feature beyond the last.
  CHECK(Has(with({{0.5f, 9u, 1}, Leaf(1), Leaf(1)}), "there twice"));  // An ordinal twice.
  CHECK(
      Has(with({{0.5f, 9u, 1}, Leaf(2), Leaf(0)}), "out of range"));  // An ordinal beyond the last.
  CHECK(Has(with({Leaf(1), Leaf(0)}), "nodes"));                      // A node nobody reaches.
  CHECK(Has(with({{std::nanf(""), 9u, 1}, Leaf(1), Leaf(0)}), "threshold"));
  ArtifactSpec spec = SampleSpec();
  spec.leaf_weights[0] = std::numeric_limits<float>::infinity();
  CHECK(Has(ErrorWithSpec(spec), "not finite"));
}

void TheProgramIsCheckedFeatureByFeature() {
  const auto with = [](std::size_t place, auto change) {
    ArtifactSpec spec = SampleSpec();
    change(spec.features[place]);
    return ErrorWithSpec(spec);
  };
  CHECK(Has(with(0, [](auto& f) { f.kind = 13; }), "no kind 13"));
  CHECK(Has(with(0, [](auto& f) { f.name = "hour"; }), "two of the name"));
  CHECK(Has(with(0, [](auto& f) { f.sources = {"candidates.price"}; }), "no path"));
  CHECK(Has(with(0, [](auto& f) { f.sources = {"history.at"}; }), "can not read"));
  CHECK(Has(with(0, [](auto& f) { f.sources = {}; }), "does not take 0"));
  CHECK(Has(with(1, [](auto& f) { f.utc_offset_minutes = 1441; }), "more than a day"));
  CHECK(Has(with(2, [](auto& f) { f.buckets = 1; }), "1 buckets"));
  CHECK(Has(with(2, [](auto& f) { f.lower = 2; }), "neither"));
  CHECK(Has(with(6, [](auto& f) { f.prior = std::nan(""); }), "not finite"));
  CHECK(Has(with(11, [](auto& f) { f.edges = {1.5, 1.5}; }), "ascending"));
  CHECK(Has(with(12, [](auto& f) { f.vocabulary = {-1, 5, 7}; }), "ascending"));
  CHECK(Has(with(0, [](auto& f) { f.name = "\xc3\x28"; }), "UTF-8"));
}

// Bytes are changed at random and the checksums renewed: the scorer must refuse the file, or
// score with it; under the sanitizers it must not do anything else.
void RandomFilesNeverCrash() {
  const Sections sound = SectionsOf(SampleSpec());
  ArrowNodePtr batch = SampleRecords();
  batch->Seal();
  std::mt19937 random(20191130);
  int scored = 0;
  int refused = 0;
  for (int round = 0; round < 6000; ++round) {
    Sections sections = sound;
    for (unsigned change = 0; change <= random() % 3; ++change) {
      std::string& bytes = sections[random() % sections.size()].second;
      if (bytes.empty()) continue;
      const std::size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.resize(at);
          break;
        case 2:
          bytes.append(bytes.substr(at));
          break;
        default: {
          const std::uint32_t words[] = {0,           1,
                                         0x7FFFFFFFu, 0x80000000u,
                                         0xFFFFFFFFu, static_cast<std::uint32_t>(random() % 40)};
          const std::size_t word = at / 4 * 4;
          if (word + 4 <= bytes.size()) std::memcpy(&bytes[word], &words[random() % 6], 4);
        }
      }
    }
    std::string file = FileOf(sections);
    if (random() % 4 == 0) {  // The section table too.
      file[64 + random() % (40 * sections.size())] = static_cast<char>(random());
      SealFile(file);
    }
    try {
      const Scorer scorer(Artifact::FromBytes(file, "hostile"));
      scorer.Score(cpp_serving::Records(batch->schema, batch->array));
      ++scored;
    } catch (const Error&) {
      ++refused;
    }
  }
  CHECK(scored > 50 && refused > 1000);
}

void AFileIsMapped() {
  const auto folder = std::filesystem::temp_directory_path();
  const auto path = folder / ("artifact_test." + std::to_string(getpid()) + ".bin");
  std::ofstream(path, std::ios::binary) << FileOf(SectionsOf(SampleSpec()));
  CHECK(ErrorOf([&] { Scorer(Artifact::Open(path)); }).empty());
  std::ofstream(path, std::ios::trunc) << "";
  CHECK(Has(ErrorOf([&] { Artifact::Open(path); }), "empty"));
  std::filesystem::remove(path);
  CHECK(Has(ErrorOf([&] { Artifact::Open(path); }), "can not be opened"));
  CHECK(Has(ErrorOf([&] { Artifact::Open(folder); }), "no regular file"));
}

}  // namespace

int main() {
  ASoundFileIsOpened();
  AnyCutIsRefused();
  AnyChangedByteIsRefused();
  TheDamagedSectionIsNamed();
  WhatIsWellSealedAndWrongIsRefused();
  TreesAreCheckedNodeByNode();
  TheProgramIsCheckedFeatureByFeature();
  RandomFilesNeverCrash();
  AFileIsMapped();
  return Finish();
}
