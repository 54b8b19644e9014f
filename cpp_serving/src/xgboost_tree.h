// One tree of an XGBoost model.
#ifndef CPP_SERVING_SRC_XGBOOST_TREE_H_
#define CPP_SERVING_SRC_XGBOOST_TREE_H_

#include <cstdint>

#include "document.h"
#include "file_tree.h"

namespace cpp_serving {

// Reads the tree that comes next, its parts' sizes checked against each other; what it tests is
// added to `columns`.
FileTree ReadXgboostTree(Document* document, ColumnSet* columns);

// A whole number from 0, which XGBoost writes as a string.
std::int64_t WholeIn(Document* document);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_XGBOOST_TREE_H_
