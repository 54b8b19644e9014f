// From a tree to the units that evaluate all its nodes for a block of rows (kernels.h, Layout).
#ifndef CPP_SERVING_SRC_UNITS_H_
#define CPP_SERVING_SRC_UNITS_H_

#include <cstdint>
#include <vector>

#include "quantiser.h"

namespace cpp_serving {

// A node with its test; of a leaf, `left` is its ordinal.
struct TestedNode {
  bool is_leaf;
  std::uint32_t left;  // The right child is the next node.
  CodeTest test;
};

// Levels of tests. Children stand after their parents.
std::uint32_t DepthOf(const std::vector<TestedNode>& tree);

struct UnitProgram {
  std::vector<std::uint32_t> words;
  std::uint32_t num_units = 0;
  std::vector<std::uint32_t> leaf_of_id;  // At most 256; an id no row can get repeats a leaf.
  std::uint32_t num_nodes = 0;            // Compared, padding included.
};

// False where the tree is too large or too ragged for ids of one byte: it is walked instead.
bool CompileUnits(const std::vector<TestedNode>& tree, UnitProgram* program);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_UNITS_H_
