// LightGBM's text model, versions 2 to 4.
#ifndef CPP_SERVING_SRC_LIGHTGBM_READER_H_
#define CPP_SERVING_SRC_LIGHTGBM_READER_H_

#include <string>
#include <string_view>

#include "cpp_serving/boosted_trees.h"

namespace cpp_serving {

// Throws Error(kArtifact); `where` names the bytes in it.
BoostedTrees ReadLightgbm(std::string_view bytes, const std::string& where);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_LIGHTGBM_READER_H_
