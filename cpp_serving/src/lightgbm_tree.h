// One tree of a LightGBM model.
#ifndef CPP_SERVING_SRC_LIGHTGBM_TREE_H_
#define CPP_SERVING_SRC_LIGHTGBM_TREE_H_

#include <cstdint>

#include "file_tree.h"
#include "text_fields.h"

namespace cpp_serving {

// The tree of a block, its parts' sizes checked against each other; what it tests is added to
// `columns`.
FileTree ReadLightgbmTree(const Fields& fields, std::uint32_t num_features, ColumnSet* columns);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_LIGHTGBM_TREE_H_
