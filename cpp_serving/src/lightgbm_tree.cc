#include "lightgbm_tree.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace cpp_serving {
namespace {

// LightGBM's kZeroThreshold: what is not farther from zero is zero.
constexpr float kZero = 1e-35f;

// The bits of decision_type.
constexpr std::int64_t kCategorical = 1;
constexpr std::int64_t kDefaultLeft = 2;
enum MissingType { kNone = 0, kZeros = 1, kNans = 2 };

struct Parts {
  explicit Parts(const Fields& fields)
      : split_feature(fields.Integers("split_feature")),
        decision_type(fields.Integers("decision_type")),
        left(fields.Integers("left_child")),
        right(fields.Integers("right_child")),
        threshold(fields.Doubles("threshold")) {}

  std::vector<std::int64_t> split_feature, decision_type, left, right;
  std::vector<double> threshold;
  std::vector<std::int64_t> category_bounds, category_words;
};

// For float32 x, `x <= threshold` in float64 is `x < LessThan(threshold)`: the float after the
// largest one that is not above it.
float LessThan(double threshold) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  // Values near zero count as zero, so a threshold among them parts zero from what lies beyond.
  if (threshold >= 0 && threshold < static_cast<double>(kZero)) {
    threshold = static_cast<double>(kZero);
  }
  if (threshold < 0 && threshold >= -static_cast<double>(kZero)) return -kZero;
  auto below = static_cast<float>(threshold);
  if (static_cast<double>(below) > threshold) below = std::nextafter(below, -kInfinity);
  return std::nextafter(below, kInfinity);
}

// The categories of the node's bit set.
std::vector<std::int32_t> SetOf(const Fields& fields, const Parts& parts, double threshold) {
  const auto sets = static_cast<double>(parts.category_bounds.size()) - 1;
  if (!(threshold >= 0 && threshold < sets)) fields.Refuse("a categorical node has no set.");
  const auto k = static_cast<std::size_t>(threshold);
  const std::int64_t first = parts.category_bounds[k];
  const std::int64_t end = parts.category_bounds[k + 1];
  if (first < 0 || end < first || end > static_cast<std::int64_t>(parts.category_words.size())) {
    fields.Refuse("cat_boundaries does not part cat_threshold.");
  }
  if (end - first > std::numeric_limits<std::int32_t>::max() / 32) {
    fields.Refuse("a categorical node's set is too large.");
  }
  std::vector<std::int32_t> set;
  for (std::int64_t i = first; i < end; ++i) {
    const std::int64_t word = parts.category_words[static_cast<std::size_t>(i)];
    if (word < 0 || word > std::numeric_limits<std::uint32_t>::max()) {
      fields.Refuse("cat_threshold holds " + std::to_string(word) + ", no 32 bits.");
    }
    for (std::int32_t bit = 0; bit < 32; ++bit) {
      if ((word >> bit & 1) != 0) set.push_back(static_cast<std::int32_t>(i - first) * 32 + bit);
    }
  }
  return set;
}

void SetCategorical(const Fields& fields, const Parts& parts, double threshold, InputColumn* column,
                    FileNode* node) {
  // In the set goes left; missing, unknown and negative ones go right.
  column->kind = InputColumn::Kind::kIsOutside;
  column->above = -1.0f;  // The value is cut to a whole number first: -0.5 is category 0.
  column->categories = SetOf(fields, parts, threshold);
  node->threshold = 0.5f;
  node->missing_goes_left = false;
}

void SetNumerical(const Fields& fields, double threshold, std::int64_t decision,
                  InputColumn* column, FileNode* node) {
  node->threshold = LessThan(threshold);
  switch (decision >> 2) {
    case kNone:  // NaN is taken as zero.
      node->missing_goes_left = 0.0 <= threshold;
      break;
    case kZeros:
      column->kind = InputColumn::Kind::kZeroIsMissing;
      [[fallthrough]];
    case kNans:
      node->missing_goes_left = (decision & kDefaultLeft) != 0;
      break;
    default:
      fields.Refuse("decision_type holds " + std::to_string(decision) + ", which is not known.");
  }
  if (threshold == std::numeric_limits<double>::infinity()) {
    // All but the missing are left, infinity too: no float is below -infinity, and right is left.
    node->threshold = -std::numeric_limits<float>::infinity();
    node->missing_goes_left = !node->missing_goes_left;
    std::swap(node->left, node->right);
  }
}

FileNode InnerNode(const Fields& fields, const Parts& parts, std::size_t i,
                   std::uint32_t num_features, ColumnSet* columns) {
  const auto inner = static_cast<std::int64_t>(parts.left.size());
  // Leaves are numbered ~leaf, and stand after the inner nodes here.
  const auto place = [&](std::int64_t child) { return child >= 0 ? child : inner + ~child; };
  const auto checked = [&](std::int64_t child) {
    if (child >= inner || child < -inner - 1) {
      fields.Refuse("node " + std::to_string(i) + " has the child " + std::to_string(child) +
                    ", and the tree has " + std::to_string(inner) + " inner nodes.");
    }
    return place(child);
  };
  FileNode node;
  node.left = checked(parts.left[i]);
  node.right = checked(parts.right[i]);
  const std::int64_t feature = parts.split_feature[i];
  if (feature < 0 || feature >= num_features) {
    fields.Refuse("node " + std::to_string(i) + " splits feature " + std::to_string(feature) +
                  ", and there are " + std::to_string(num_features) + ": a bad split index.");
  }
  InputColumn column;
  column.feature = static_cast<std::uint32_t>(feature);
  const std::int64_t decision = parts.decision_type[i];
  if (decision < 0) fields.Refuse("decision_type holds " + std::to_string(decision) + ".");
  if ((decision & kCategorical) != 0) {
    SetCategorical(fields, parts, parts.threshold[i], &column, &node);
  } else {
    SetNumerical(fields, parts.threshold[i], decision, &column, &node);
  }
  node.column = columns->PlaceOf(std::move(column));
  return node;
}

}  // namespace

FileTree ReadLightgbmTree(const Fields& fields, std::uint32_t num_features, ColumnSet* columns) {
  if (fields.Has("is_linear") && fields.Whole("is_linear") != 0) {
    fields.RefuseUnknown("the leaves are linear (linear_tree=true), which can not be scored here.");
  }
  const std::int64_t num_leaves = fields.Whole("num_leaves");
  const std::vector<double> leaf_values = fields.Doubles("leaf_value");
  FileTree tree;
  if (num_leaves != static_cast<std::int64_t>(leaf_values.size()) || num_leaves < 1) {
    fields.Refuse("num_leaves is " + std::to_string(num_leaves) + ", and there are " +
                  std::to_string(leaf_values.size()) + " leaf values.");
  }
  if (num_leaves > 1) {
    Parts parts(fields);
    const auto inner = static_cast<std::size_t>(num_leaves - 1);
    if (parts.left.size() != inner || parts.right.size() != inner ||
        parts.split_feature.size() != inner || parts.threshold.size() != inner ||
        parts.decision_type.size() != inner) {
      fields.Refuse("the parts of a tree of " + std::to_string(num_leaves) +
                    " leaves are of other sizes.");
    }
    if (fields.Has("num_cat") && fields.Whole("num_cat") > 0) {
      parts.category_bounds = fields.Integers("cat_boundaries");
      parts.category_words = fields.Integers("cat_threshold");
    }
    tree.first_leaf_id = num_leaves - 1;
    for (std::size_t i = 0; i < inner; ++i) {
      tree.nodes.push_back(InnerNode(fields, parts, i, num_features, columns));
    }
  }
  for (const double value : leaf_values) {
    FileNode leaf;
    leaf.weight = static_cast<float>(value);
    tree.nodes.push_back(leaf);
  }
  return tree;
}

}  // namespace cpp_serving
