// One tree as a file has it, and its structure checked before anything is trusted.
#ifndef CPP_SERVING_SRC_FILE_TREE_H_
#define CPP_SERVING_SRC_FILE_TREE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cpp_serving/boosted_trees.h"

namespace cpp_serving {

struct FileNode {
  static constexpr std::int64_t kNone = -1;

  std::int64_t left = kNone;  // Places in the tree; kNone in a leaf.
  std::int64_t right = kNone;
  std::uint32_t column = 0;
  float threshold = 0.0f;  // x < threshold goes left.
  bool missing_goes_left = false;
  float weight = 0.0f;  // Of a leaf.
};

struct FileTree {
  std::uint32_t output = 0;
  std::vector<FileNode> nodes;     // The root is the first.
  std::size_t num_deleted = 0;     // Nodes that no path reaches, as the file says.
  std::int64_t first_leaf_id = 0;  // A leaf's id is its place less this.
  bool siblings_adjacent = false;  // The library walks to left + 1, whatever `right` says.
};

// Columns by what they show, each there once.
class ColumnSet {
 public:
  std::uint32_t PlaceOf(InputColumn column);
  // In the order of their places.
  std::vector<InputColumn> Columns() const;

 private:
  std::map<InputColumn, std::uint32_t> places_;
};

// The same tree breadth first. Refuses children that are out of range, shared, or lead back; nodes
// that no path reaches, swapped siblings, thresholds that are no number, weights that are not
// finite. `where` names the tree.
BoostedTree CheckedTree(const FileTree& tree, const std::string& where);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_FILE_TREE_H_
