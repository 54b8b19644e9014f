#include "xgboost_tree.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "decimal.h"

namespace cpp_serving {
namespace {

// XGBoost's: category numbers are exact in float32.
constexpr std::int64_t kMaxCategory = 1 << 24;

struct Parts {
  std::int64_t num_nodes = -1;
  std::optional<std::int64_t> num_deleted;
  std::vector<std::int64_t> left, right, parents, split_index, split_type, default_left;
  std::vector<float> split_condition;
  std::vector<std::int64_t> categories, category_nodes, category_segments, category_sizes;
};

// Where each of the tree's integer parts goes; null for what scoring does not need.
std::vector<std::int64_t>* IntegersOf(Parts* parts, const std::string& name) {
  if (name == "left_children") return &parts->left;
  if (name == "right_children") return &parts->right;
  if (name == "parents") return &parts->parents;
  if (name == "split_indices") return &parts->split_index;
  if (name == "split_type") return &parts->split_type;
  if (name == "default_left") return &parts->default_left;
  if (name == "categories") return &parts->categories;
  if (name == "categories_nodes") return &parts->category_nodes;
  if (name == "categories_segments") return &parts->category_segments;
  if (name == "categories_sizes") return &parts->category_sizes;
  return nullptr;
}

void ReadParam(Document* document, Parts* parts) {
  document->Object([&](const std::string& name) {
    if (name == "num_nodes") {
      parts->num_nodes = WholeIn(document);
    } else if (name == "num_deleted") {
      parts->num_deleted = WholeIn(document);
    } else if (name == "size_leaf_vector") {
      if (WholeIn(document) > 1) {
        document->RefuseUnknown(
            document->Way(),
            "the leaves hold vectors (multi_strategy=multi_output_tree), which can not be scored "
            "here; train with one_output_per_tree.");
      }
    } else {
      document->Skip();
    }
  });
}

// The categories of the k-th categorical node, ascending.
std::vector<std::int32_t> SetOf(const Document& document, const Parts& parts, std::size_t k) {
  const std::int64_t first = parts.category_segments[k];
  const std::int64_t size = parts.category_sizes[k];
  const auto count = static_cast<std::int64_t>(parts.categories.size());
  if (first < 0 || size < 0 || first > count || size > count - first) {
    document.Refuse("the categories of node " + std::to_string(parts.category_nodes[k]) +
                    " lie outside the tree's.");
  }
  std::vector<std::int32_t> set;
  for (std::int64_t i = first; i < first + size; ++i) {
    const std::int64_t category = parts.categories[static_cast<std::size_t>(i)];
    if (category < 0 || category >= kMaxCategory) {
      document.Refuse(std::to_string(category) + " is no category.");
    }
    set.push_back(static_cast<std::int32_t>(category));
  }
  std::sort(set.begin(), set.end());
  set.erase(std::unique(set.begin(), set.end()), set.end());
  return set;
}

// Per node, its place among the categorical ones, or the number of these.
std::vector<std::size_t> CategoricalPlaces(const Document& document, const Parts& parts) {
  const std::size_t count = parts.category_nodes.size();
  if (parts.category_segments.size() != count || parts.category_sizes.size() != count) {
    document.Refuse("the parts of the categorical splits differ in size.");
  }
  std::vector<std::size_t> places(parts.left.size(), count);
  std::int64_t last = -1;
  for (std::size_t k = 0; k < count; ++k) {
    const std::int64_t node = parts.category_nodes[k];
    if (node <= last || node >= static_cast<std::int64_t>(places.size()) ||
        parts.split_type.empty() || parts.split_type[static_cast<std::size_t>(node)] != 1) {
      document.Refuse("categories_nodes does not list the categorical nodes in order.");
    }
    places[static_cast<std::size_t>(node)] = k;
    last = node;
  }
  return places;
}

void CheckSizes(const Document& document, const Parts& parts) {
  const std::size_t count = parts.left.size();
  const auto fits = [count](const auto& part) { return part.size() == count; };
  if (parts.num_nodes != static_cast<std::int64_t>(count) || !fits(parts.right) ||
      !fits(parts.split_index) || !fits(parts.split_condition) || !fits(parts.default_left) ||
      (!parts.parents.empty() && !fits(parts.parents)) ||
      (!parts.split_type.empty() && !fits(parts.split_type))) {
    document.Refuse("tree_param says there are " + std::to_string(parts.num_nodes) +
                    " nodes; the tree's parts are missing, or of other sizes.");
  }
  if (count > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    document.Refuse("the tree has more nodes than its own ids can name.");
  }
}

// Each child that is in range has the parent that it says it has.
void CheckParents(const Document& document, const Parts& parts) {
  if (parts.parents.empty()) return;
  const auto count = static_cast<std::int64_t>(parts.left.size());
  for (std::int64_t i = 0; i < count; ++i) {
    for (const auto* children : {&parts.left, &parts.right}) {
      const std::int64_t child = (*children)[static_cast<std::size_t>(i)];
      if (child < 0 || child >= count) continue;  // CheckedTree refuses what is no leaf's.
      const std::int64_t parent = parts.parents[static_cast<std::size_t>(child)];
      if (parent != i) {
        document.Refuse("node " + std::to_string(child) + " is a child of node " +
                        std::to_string(i) + ", and says its parent is node " +
                        std::to_string(parent) + ".");
      }
    }
  }
}

// Nodes that pruning left behind. XGBoost 1.0 does not count them; all versions mark them.
std::size_t NumDeleted(const Parts& parts) {
  if (parts.num_deleted) return static_cast<std::size_t>(*parts.num_deleted);
  constexpr std::int64_t kMark = 0x7FFFFFFF;  // The split index that the deleted have.
  std::size_t count = 0;
  for (std::size_t i = 0; i < parts.left.size(); ++i) {
    const bool leaf = parts.left[i] == FileNode::kNone && parts.right[i] == FileNode::kNone;
    if (leaf && parts.split_index[i] == kMark) ++count;
  }
  return count;
}

FileNode NodeFrom(const Document& document, const Parts& parts, std::size_t i,
                  std::size_t categorical, ColumnSet* columns) {
  FileNode node;
  node.left = parts.left[i];
  node.right = parts.right[i];
  if (node.left == FileNode::kNone && node.right == FileNode::kNone) {
    node.weight = parts.split_condition[i];
    return node;
  }
  const std::int64_t feature = parts.split_index[i];
  if (feature < 0 || feature > Node::kFeatureMask) {
    document.Refuse("node " + std::to_string(i) + " splits feature " + std::to_string(feature) +
                    ": a bad split index.");
  }
  InputColumn column;
  column.feature = static_cast<std::uint32_t>(feature);
  node.threshold = parts.split_condition[i];
  node.missing_goes_left = parts.default_left[i] != 0;
  if (!parts.split_type.empty() && parts.split_type[i] == 1) {
    if (categorical == parts.category_nodes.size()) {
      document.Refuse("the categorical node " + std::to_string(i) + " has no categories.");
    }
    // In the set goes right; below zero is in no set.
    column.kind = InputColumn::Kind::kIsIn;
    column.above = -std::numeric_limits<float>::denorm_min();
    column.categories = SetOf(document, parts, categorical);
    node.threshold = 0.5f;
  } else if (!parts.split_type.empty() && parts.split_type[i] != 0) {
    document.Refuse("node " + std::to_string(i) + " is of split type " +
                    std::to_string(parts.split_type[i]) + ", which is not known here.");
  }
  node.column = columns->PlaceOf(std::move(column));
  return node;
}

}  // namespace

std::int64_t WholeIn(Document* document) {
  const std::string text = document->Text();
  std::int64_t value;
  if (!ParseInteger(text, &value) || value < 0) {
    document->Refuse("'" + text.substr(0, 40) + "' is no whole number from 0.");
  }
  return value;
}

FileTree ReadXgboostTree(Document* document, ColumnSet* columns) {
  Parts parts;
  document->Object([&](const std::string& name) {
    if (std::vector<std::int64_t>* integers = IntegersOf(&parts, name)) {
      document->Integers(integers);
    } else if (name == "split_conditions") {
      document->Floats(&parts.split_condition);
    } else if (name == "tree_param") {
      ReadParam(document, &parts);
    } else {
      document->Skip();
    }
  });
  CheckSizes(*document, parts);
  CheckParents(*document, parts);
  const std::vector<std::size_t> categorical = CategoricalPlaces(*document, parts);
  FileTree tree;
  tree.siblings_adjacent = true;
  tree.num_deleted = NumDeleted(parts);
  for (std::size_t i = 0; i < parts.left.size(); ++i) {
    // A deleted node is no leaf of any path; its split index says nothing.
    tree.nodes.push_back(NodeFrom(*document, parts, i, categorical[i], columns));
  }
  return tree;
}

}  // namespace cpp_serving
