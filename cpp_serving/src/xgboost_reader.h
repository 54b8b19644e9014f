// XGBoost's model schema, JSON or UBJSON, versions 1.x to 3.4.
#ifndef CPP_SERVING_SRC_XGBOOST_READER_H_
#define CPP_SERVING_SRC_XGBOOST_READER_H_

#include "cpp_serving/boosted_trees.h"
#include "document.h"

namespace cpp_serving {

// Throws Error(kArtifact).
BoostedTrees ReadXgboost(Document* document);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_XGBOOST_READER_H_
