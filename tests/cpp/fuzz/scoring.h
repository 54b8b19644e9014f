// Scores a model that was accepted: no fault, and the leaves of a plain walk.
#ifndef TESTS_CPP_FUZZ_SCORING_H_
#define TESTS_CPP_FUZZ_SCORING_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "claims.h"
#include "cpp_serving/tree_scorer.h"

// The value that a column of a model shows of a feature's value; written from boosted_trees.h.
inline float ColumnOf(const cpp_serving::InputColumn& column, float x) {
  using Kind = cpp_serving::InputColumn::Kind;
  if (std::isnan(x) || column.kind == Kind::kValue) return x;
  if (column.kind == Kind::kZeroIsMissing) return std::fabs(x) <= 1e-35f ? std::nanf("") : x;
  bool is_in = false;
  for (const std::int32_t category : column.categories) {
    is_in = is_in || (x > column.above && std::trunc(x) == static_cast<float>(category) &&
                      static_cast<double>(x) < 2147483648.0);
  }
  return is_in == (column.kind == Kind::kIsIn) ? 1.0f : 0.0f;
}

inline std::int32_t WalkedLeaf(const cpp_serving::BoostedTrees& model,
                               const cpp_serving::BoostedTree& tree, const float* row) {
  using cpp_serving::Node;
  const Node* node = tree.nodes.data();
  while (node->feature != Node::kLeaf) {
    const auto& column = model.columns[node->feature & Node::kFeatureMask];
    const float x = ColumnOf(column, row[column.feature]);
    const bool left =
        std::isnan(x) ? (node->feature & Node::kMissingGoesLeft) != 0 : x < node->threshold;
    node = tree.nodes.data() + node->left + (left ? 0 : 1);
  }
  return tree.leaf_ids[node->left];
}

// Rows of the model's own thresholds, their neighbours, categories and edges.
inline std::vector<float> RowsOf(const cpp_serving::BoostedTrees& model, std::size_t rows) {
  using cpp_serving::Node;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> values{std::nanf(""), 0.0f, -0.0f, kInfinity, -kInfinity, 1e-45f, -0.5f, 3e9f};
  for (const auto& tree : model.trees) {
    for (const Node& node : tree.nodes) {
      if (node.feature == Node::kLeaf || values.size() > 200) continue;
      values.push_back(node.threshold);
      values.push_back(std::nextafter(node.threshold, -kInfinity));
      const auto& categories = model.columns[node.feature & Node::kFeatureMask].categories;
      if (!categories.empty()) values.push_back(static_cast<float>(categories.back()));
    }
  }
  std::vector<float> features(rows * model.num_features);
  std::uint32_t state = 12345;
  for (float& feature : features) {
    state = state * 1664525u + 1013904223u;
    feature = values[(state >> 8) % values.size()];
  }
  return features;
}

// By a kernel, and a number of rows, that the input's size chooses: in turn they all are.
inline void ScoreIt(const cpp_serving::BoostedTrees& model, std::size_t turn) {
  const std::vector<cpp_serving::Isa> isas = cpp_serving::RunnableIsas();
  cpp_serving::TreeScorerOptions options;
  options.forest.isa = isas[turn % isas.size()];
  const cpp_serving::TreeScorer scorer(model, options);
  // Rows of a model that says it is this wide would be the caller's memory, not ours.
  if (model.num_features > 4096) return;
  const std::size_t rows = turn % 16 < isas.size() && model.num_features <= 64 ? 67 : 3;
  const std::vector<float> features = RowsOf(model, rows);
  std::vector<std::int32_t> leaves(rows * scorer.num_trees());
  scorer.Leaves(features.data(), rows, leaves.data());
  for (std::size_t row = 0; row < rows; row += 2) {
    for (std::size_t tree = 0; tree < model.trees.size(); ++tree) {
      const float* own = features.data() + row * model.num_features;
      CLAIM(leaves[row * model.trees.size() + tree] == WalkedLeaf(model, model.trees[tree], own));
    }
  }
  std::vector<float> scores(rows * scorer.scores_per_row());
  scorer.Score(features.data(), rows, scores.data());
}

#endif  // TESTS_CPP_FUZZ_SCORING_H_
