// LightGBM's text.
#include <cmath>
#include <limits>
#include <vector>

#include "model_writers.h"

using namespace cpp_serving;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::string Number(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

struct Lines {
  std::string split_feature, threshold, decision_type, left, right, bounds = "0", words;
  std::size_t num_words = 0;
  std::size_t num_sets = 0;
};

void AddSet(const InputColumn& column, Lines* lines) {
  std::vector<std::uint32_t> words;
  for (const std::int32_t category : column.categories) {
    words.resize(static_cast<std::size_t>(category) / 32 + 1, 0);
    words.back() |= 1u << (category % 32);
  }
  for (const std::uint32_t word : words) lines->words += " " + std::to_string(word);
  lines->num_words += words.size();
  lines->bounds += " " + std::to_string(lines->num_words);
  lines->threshold += " " + std::to_string(lines->num_sets++);
}

std::string WriteTree(const BoostedTrees& model, const BoostedTree& tree) {
  // Inner nodes are numbered in their order, leaves by their ordinal.
  std::vector<std::string> numbers(tree.nodes.size());
  std::int64_t inner = 0;
  for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
    const Node& node = tree.nodes[i];
    numbers[i] =
        std::to_string(node.feature == Node::kLeaf ? -1 - std::int64_t{node.left} : inner++);
  }
  Lines lines;
  for (const Node& node : tree.nodes) {
    if (node.feature == Node::kLeaf) continue;
    const InputColumn& column = model.columns[node.feature & Node::kFeatureMask];
    lines.split_feature += " " + std::to_string(column.feature);
    const bool categorical = column.kind == InputColumn::Kind::kIsOutside;
    // Below -infinity is nothing: the reader's form of an infinite threshold, its sides swapped.
    const bool swapped = !categorical && node.threshold == -kInfinity;
    const bool missing_left = (node.feature & Node::kMissingGoesLeft) != 0;
    lines.left += " " + numbers[node.left + (swapped ? 1 : 0)];
    lines.right += " " + numbers[node.left + (swapped ? 0 : 1)];
    if (categorical) {
      lines.decision_type += " 1";
      AddSet(column, &lines);
      continue;
    }
    const int type = column.kind == InputColumn::Kind::kZeroIsMissing ? 4 : 8;
    lines.decision_type += " " + std::to_string(type + (missing_left != swapped ? 2 : 0));
    // x < t is x <= the float before t.
    const float largest = std::nextafter(node.threshold, -kInfinity);
    lines.threshold += " " + (swapped ? std::string("inf") : Number(static_cast<double>(largest)));
  }
  std::string text = "num_leaves=" + std::to_string(tree.leaf_weights.size()) +
                     "\nnum_cat=" + std::to_string(lines.num_sets) +
                     "\nsplit_feature=" + lines.split_feature + "\nthreshold=" + lines.threshold +
                     "\ndecision_type=" + lines.decision_type + "\nleft_child=" + lines.left +
                     "\nright_child=" + lines.right + "\ncat_boundaries=" + lines.bounds +
                     "\ncat_threshold=" + lines.words + "\nleaf_value=";
  for (const float weight : tree.leaf_weights) text += " " + Number(static_cast<double>(weight));
  return text + "\n";
}

}  // namespace

std::string AsLightgbm(const BoostedTrees& model) {
  std::string text = "tree\nversion=" + model.version +
                     "\nnum_tree_per_iteration=" + std::to_string(model.num_outputs) +
                     "\nmax_feature_idx=" + std::to_string(model.num_features - 1) + "\n";
  if (!model.objective.empty()) {
    text += "objective=" + model.objective + (model.link == Link::kSignedSquare ? " sqrt" : "") +
            " sigmoid:" + Number(model.steepness) + "\n";
  }
  if (model.averaged) text += "average_output\n";
  if (!model.feature_names.empty()) {
    text += "feature_names=";
    for (const std::string& name : model.feature_names) text += " " + name;
    text += "\n";
  }
  for (std::size_t i = 0; i < model.trees.size(); ++i) {
    text += "Tree=" + std::to_string(i) + "\n" + WriteTree(model, model.trees[i]);
  }
  return text + "end of trees\n";
}
