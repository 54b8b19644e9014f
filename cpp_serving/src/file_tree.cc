#include "file_tree.h"

#include <cmath>
#include <utility>

#include "cpp_serving/error.h"
#include "fixes.h"

namespace cpp_serving {
namespace {

class Checker {
 public:
  Checker(const FileTree& tree, const std::string& where)
      : tree_(tree), where_(where), reached_(tree.nodes.size(), false) {}

  BoostedTree Check() {
    if (tree_.nodes.empty()) Refuse("the tree has no nodes.", 0);
    BoostedTree checked;
    checked.output = tree_.output;
    Reach(0, 0);
    for (std::size_t i = 0; i < order_.size(); ++i) checked.nodes.push_back(Add(i, &checked));
    if (order_.size() + tree_.num_deleted != tree_.nodes.size()) {
      throw Error(Error::Kind::kArtifact,
                  std::to_string(tree_.nodes.size() - order_.size()) +
                      " nodes are on no path from the root, where the file marks " +
                      std::to_string(tree_.num_deleted) + " as deleted.",
                  where_, kSaveAgain);
    }
    return checked;
  }

 private:
  [[noreturn]] void Refuse(std::string what, std::int64_t node) const {
    throw Error(Error::Kind::kArtifact, std::move(what), where_ + ", node " + std::to_string(node),
                kSaveAgain);
  }

  void Reach(std::int64_t child, std::int64_t parent) {
    const auto place = static_cast<std::size_t>(child);
    if (child < 0 || place >= reached_.size()) {
      Refuse("its child is node " + std::to_string(child) + ", and the tree has " +
                 std::to_string(reached_.size()) + " nodes.",
             parent);
    }
    if (reached_[place]) {
      Refuse("its child, node " + std::to_string(child) +
                 ", is on another path already: a cycle, or a child of two parents.",
             parent);
    }
    reached_[place] = true;
    order_.push_back(child);
  }

  // The i-th node in breadth-first order; appends its children to the order.
  Node Add(std::size_t i, BoostedTree* checked) {
    const std::int64_t place = order_[i];
    const FileNode& node = tree_.nodes[static_cast<std::size_t>(place)];
    if (node.left == FileNode::kNone && node.right == FileNode::kNone) {
      if (!std::isfinite(node.weight)) Refuse("its leaf value is not finite.", place);
      const auto ordinal = static_cast<std::uint32_t>(checked->leaf_weights.size());
      checked->leaf_weights.push_back(node.weight);
      checked->leaf_ids.push_back(static_cast<std::int32_t>(place - tree_.first_leaf_id));
      return {0.0f, Node::kLeaf, ordinal};
    }
    if (std::isnan(node.threshold)) Refuse("its threshold is no number.", place);
    const auto left = static_cast<std::uint32_t>(order_.size());
    Reach(node.left, place);
    Reach(node.right, place);
    if (tree_.siblings_adjacent && node.right != node.left + 1) {
      Refuse("its right child is node " + std::to_string(node.right) + ", not the one after node " +
                 std::to_string(node.left) + ", where XGBoost itself would go: siblings swapped.",
             place);
    }
    return {node.threshold, node.column | (node.missing_goes_left ? Node::kMissingGoesLeft : 0),
            left};
  }

  const FileTree& tree_;
  const std::string& where_;
  std::vector<bool> reached_;
  std::vector<std::int64_t> order_;
};

}  // namespace

std::uint32_t ColumnSet::PlaceOf(InputColumn column) {
  const auto next = static_cast<std::uint32_t>(places_.size());
  return places_.emplace(std::move(column), next).first->second;
}

std::vector<InputColumn> ColumnSet::Columns() const {
  std::vector<InputColumn> columns(places_.size());
  for (const auto& [column, place] : places_) columns[place] = column;
  return columns;
}

BoostedTree CheckedTree(const FileTree& tree, const std::string& where) {
  return Checker(tree, where).Check();
}

}  // namespace cpp_serving
