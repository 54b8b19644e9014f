// Scorer's files made by hand from docs/formats.md, sealed with their checksums.
#ifndef TESTS_CPP_ARTIFACT_BUILDER_H_
#define TESTS_CPP_ARTIFACT_BUILDER_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "cpp_serving/crc32.h"

constexpr std::uint32_t kNone = 0xFFFFFFFFu;
constexpr std::uint32_t kMissingLeft = 0x80000000u;

template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

struct FeatureSpec {
  std::uint32_t kind;
  std::string name;
  std::vector<std::string> sources;
  std::uint32_t lower = 0;
  std::int32_t utc_offset_minutes = 0;
  std::uint32_t seed = 0;
  std::uint32_t buckets = 0;
  double prior = 0.0;
  double weight = 0.0;
  std::vector<double> edges = {};
  std::vector<std::int64_t> vocabulary = {};
};

struct NodeSpec {
  float threshold;
  std::uint32_t feature;
  std::uint32_t left;
};

constexpr NodeSpec Leaf(std::uint32_t ordinal) { return {0.0f, kNone, ordinal}; }

struct ArtifactSpec {
  std::vector<FeatureSpec> features;
  std::string money;
  std::vector<std::vector<NodeSpec>> trees;
  std::vector<float> leaf_weights;
  std::vector<float> category_weights;
  float bias = 0.0f;
  double slope = 1.0;
  double intercept = 0.0;
};

using Sections = std::vector<std::pair<std::string, std::string>>;

inline Sections SectionsOf(const ArtifactSpec& spec) {
  std::vector<std::string> names;
  const auto place = [&names](const std::string& name) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == name) return static_cast<std::uint32_t>(i);
    }
    names.push_back(name);
    return static_cast<std::uint32_t>(names.size() - 1);
  };
  std::string program, edges, vocabularies;
  std::uint32_t num_edges = 0, num_ids = 0, num_real = 0;
  Put(program, static_cast<std::uint32_t>(spec.features.size()));
  Put(program, spec.money.empty() ? kNone : place(spec.money));
  for (const FeatureSpec& feature : spec.features) {
    num_real += feature.kind < 10 ? 1 : 0;
    Put(program, feature.kind);
    Put(program, place(feature.name));
    for (std::size_t i = 0; i < 3; ++i) {
      Put(program, i < feature.sources.size() ? place(feature.sources[i]) : kNone);
    }
    Put(program, feature.lower);
    Put(program, feature.utc_offset_minutes);
    Put(program, feature.seed);
    Put(program, feature.buckets);
    Put(program, feature.kind == 10 ? num_edges : feature.kind == 12 ? num_ids : 0u);
    Put(program, static_cast<std::uint32_t>(feature.edges.size() + feature.vocabulary.size()));
    Put(program, 0u);
    Put(program, feature.prior);
    Put(program, feature.weight);
    for (const double edge : feature.edges) Put(edges, edge);
    for (const std::int64_t id : feature.vocabulary) Put(vocabularies, id);
    num_edges += static_cast<std::uint32_t>(feature.edges.size());
    num_ids += static_cast<std::uint32_t>(feature.vocabulary.size());
  }
  std::string name_section, text;
  Put(name_section, static_cast<std::uint32_t>(names.size()));
  Put(name_section, 0u);
  for (const std::string& name : names) {
    text += name;
    Put(name_section, static_cast<std::uint32_t>(text.size()));
  }
  std::string node_offsets, leaf_offsets, nodes;
  std::uint32_t num_nodes = 0, num_leaves = 0;
  Put(node_offsets, 0u);
  Put(leaf_offsets, 0u);
  for (const auto& tree : spec.trees) {
    for (const NodeSpec& node : tree) {
      Put(nodes, node.threshold);
      Put(nodes, node.feature);
      Put(nodes, node.left);
      num_leaves += node.feature == kNone ? 1 : 0;
    }
    num_nodes += static_cast<std::uint32_t>(tree.size());
    Put(node_offsets, num_nodes);
    Put(leaf_offsets, num_leaves);
  }
  std::string trees, leaf_weights, category_weights, calibration;
  Put(trees, static_cast<std::uint32_t>(spec.trees.size()));
  Put(trees, num_real);
  Put(trees, num_nodes);
  Put(trees, num_leaves);
  trees += node_offsets + leaf_offsets + nodes;
  for (const float weight : spec.leaf_weights) Put(leaf_weights, weight);
  for (const float weight : spec.category_weights) Put(category_weights, weight);
  Put(calibration, spec.bias);
  Put(calibration, 0u);
  Put(calibration, spec.slope);
  Put(calibration, spec.intercept);
  return {{"names", name_section + text},
          {"program", program},
          {"edges", edges},
          {"vocabularies", vocabularies},
          {"trees", trees},
          {"leaf_weights", leaf_weights},
          {"category_weights", category_weights},
          {"calibration", calibration}};
}

inline std::string Padded(std::string bytes) {
  bytes.resize((bytes.size() + 63) / 64 * 64, '\0');
  return bytes;
}

// Renews the whole file's checksum.
inline void SealFile(std::string& file) {
  std::memset(&file[24], 0, 4);
  const std::uint32_t crc = cpp_serving::Crc32(file.data(), file.size());
  std::memcpy(&file[24], &crc, 4);
}

inline std::string FileOf(const Sections& sections, std::uint32_t version = 1) {
  std::string table, body;
  const std::size_t start = (64 + 40 * sections.size() + 63) / 64 * 64;
  for (const auto& [name, bytes] : sections) {
    std::string padded_name = name;
    padded_name.resize(16, '\0');
    table += padded_name;
    Put(table, static_cast<std::uint64_t>(start + body.size()));
    Put(table, static_cast<std::uint64_t>(bytes.size()));
    Put(table, cpp_serving::Crc32(bytes.data(), bytes.size()));
    Put(table, 0u);
    body += Padded(bytes);
  }
  std::string file = "PARITYSC";
  Put(file, version);
  Put(file, static_cast<std::uint32_t>(sections.size()));
  Put(file, static_cast<std::uint64_t>(start + body.size()));
  Put(file, std::uint64_t{0});
  file += "0123456789abcdef0123456789abcdef" + table;
  file.resize(start, '\0');
  file += body;
  SealFile(file);
  return file;
}

// A small model over the records of sample_records.h that uses every kind of feature.
inline ArtifactSpec SampleSpec() {
  ArtifactSpec spec;
  spec.features = {
      {0, "price", {"candidate.price"}},
      {2, "hour", {"logged_at"}, 0, 540},
      {11, "device", {"context.device", "candidate.ad_id"}, 1, 0, 7, 8},
      {1, "clicks", {"candidate.clicks"}},
      {3, "weekday", {"logged_at"}, 0, 540},
      {4, "recency", {"user.seen_at", "logged_at"}},
      {5, "rate", {"candidate.clicks", "candidate.shown"}, 0, 0, 0, 0, 0.5, 2.0},
      {6, "tokens", {"candidate.title"}},
      {7, "steps", {}},
      {8, "age", {"logged_at"}},
      {9, "matches", {"history.ad_id", "candidate.ad_id"}},
  };
  FeatureSpec bucket{10, "bucket", {"candidate.price"}};
  bucket.edges = {0.0, 1.5};
  FeatureSpec id{12, "ad", {"candidate.ad_id"}};
  id.vocabulary = {5, 16777217, 1099511627777};
  spec.features.push_back(bucket);
  spec.features.push_back(id);
  spec.money = "candidate.bid_micros";
  spec.trees = {
      {{1.5f, 0u | kMissingLeft, 1}, Leaf(0), {2.0f, 2u, 3}, Leaf(1), Leaf(2)},
      {{0.5f, 9u, 1}, Leaf(1), Leaf(0)},
      {Leaf(0)},
  };
  spec.leaf_weights = {0.1f, -0.2f, 0.3f, 0.7f, -0.4f, 0.05f};
  spec.category_weights.assign(8 + 4 + 4, 0.0f);
  for (std::size_t i = 0; i < spec.category_weights.size(); ++i) {
    spec.category_weights[i] = 0.01f * static_cast<float>(i) - 0.07f;
  }
  spec.bias = -1.25f;
  spec.slope = 0.9;
  spec.intercept = 0.125;
  return spec;
}

#endif  // TESTS_CPP_ARTIFACT_BUILDER_H_
