// Random forests of every shape that kernels treat differently, and rows at their edges.
#ifndef TESTS_CPP_FOREST_BUILDER_H_
#define TESTS_CPP_FOREST_BUILDER_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "artifact_builder.h"
#include "cpp_serving/model.h"

struct ForestSpec {
  std::uint32_t features = 5;
  std::uint32_t trees = 20;
  std::uint32_t depth = 6;
  double chance_of_leaf = 0.1;  // Of a node above the depth: ragged trees.
  enum Values { kNormal, kCounts, kHeavyTailed, kCrowded, kAnyBits } values = kNormal;
  double weight_spread = 0.0;  // Decades between the weights of a forest.
};

inline float DrawnValue(const ForestSpec& spec, std::mt19937& rng) {
  std::normal_distribution<double> normal;
  switch (spec.values) {
    case ForestSpec::kNormal:
      return static_cast<float>(normal(rng));
    case ForestSpec::kCounts:
      return static_cast<float>(std::floor(std::fabs(normal(rng)) * 40) / 2);
    case ForestSpec::kHeavyTailed:
      if (rng() % 20 == 0) return rng() % 2 == 0 ? 0.0f : -0.0f;
      return static_cast<float>(std::exp(8 * normal(rng)) * (rng() % 2 == 0 ? 1 : -1));
    case ForestSpec::kCrowded: {  // Neighbouring floats far from zero, and one outlier.
      float value = rng() % 50 == 0 ? 1e30f : 1e6f;
      for (std::uint32_t i = rng() % 60; i > 0; --i) value = std::nextafterf(value, 2e30f);
      return value;
    }
    case ForestSpec::kAnyBits: {
      float value;
      do {
        const auto bits = static_cast<std::uint32_t>(rng());
        std::memcpy(&value, &bits, sizeof value);
      } while (std::isnan(value));
      return value;
    }
  }
  return 0.0f;
}

inline cpp_serving::Model RandomForest(const ForestSpec& spec, std::uint32_t seed) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<double> uniform;
  ArtifactSpec artifact;
  for (std::uint32_t f = 0; f < spec.features; ++f) {
    const std::string name = "f" + std::to_string(f);
    artifact.features.push_back({0, name, {"candidate." + name}});
  }
  for (std::uint32_t t = 0; t < spec.trees; ++t) {
    std::vector<NodeSpec> nodes{Leaf(0)};
    std::vector<std::uint32_t> depths{0};
    std::uint32_t leaves = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (depths[i] == spec.depth || (i > 0 && uniform(rng) < spec.chance_of_leaf) ||
          nodes.size() > 3000) {
        nodes[i] = Leaf(leaves++);
        continue;
      }
      const auto feature = static_cast<std::uint32_t>(rng() % spec.features);
      nodes[i] = {DrawnValue(spec, rng), feature | (rng() % 2 == 0 ? kMissingLeft : 0u),
                  static_cast<std::uint32_t>(nodes.size())};
      nodes.resize(nodes.size() + 2, Leaf(0));
      depths.resize(nodes.size(), depths[i] + 1);
    }
    artifact.trees.push_back(nodes);
    for (std::uint32_t leaf = 0; leaf < leaves; ++leaf) {
      const double size = std::pow(10.0, spec.weight_spread * (uniform(rng) - 0.5));
      artifact.leaf_weights.push_back(static_cast<float>((uniform(rng) - 0.5) * size));
    }
  }
  return cpp_serving::Model::From(
      cpp_serving::Artifact::FromBytes(FileOf(SectionsOf(artifact)), "random forest"));
}

// Thresholds, their neighbours, what is missing, zeros, infinities, denormals, and drawn values.
inline std::vector<float> RowsFor(const ForestSpec& spec, const cpp_serving::Model& model,
                                  std::size_t rows, std::uint32_t seed) {
  std::mt19937 rng(seed);
  const float inf = std::numeric_limits<float>::infinity();
  const float edges[] = {std::numeric_limits<float>::quiet_NaN(),
                         -std::numeric_limits<float>::quiet_NaN(),
                         0.0f,
                         -0.0f,
                         inf,
                         -inf,
                         std::numeric_limits<float>::denorm_min(),
                         -std::numeric_limits<float>::denorm_min(),
                         std::numeric_limits<float>::max(),
                         std::numeric_limits<float>::lowest()};
  const auto points = cpp_serving::SplitPoints(model.trees);
  std::vector<float> values(rows * spec.features);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::vector<float>& own = points[i % spec.features];
    const float drawn = DrawnValue(spec, rng);
    const float point = own.empty() ? drawn : own[rng() % own.size()];
    switch (rng() % 6) {
      case 0:
        values[i] = edges[rng() % std::size(edges)];
        break;
      case 1:
        values[i] = point;
        break;
      case 2:
        values[i] = std::nextafterf(point, rng() % 2 == 0 ? inf : -inf);
        break;
      default:
        values[i] = drawn;
    }
  }
  return values;
}

#endif  // TESTS_CPP_FOREST_BUILDER_H_
