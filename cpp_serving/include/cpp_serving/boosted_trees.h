// What a bare model file of XGBoost or LightGBM says, validated entirely before use.
#ifndef CPP_SERVING_BOOSTED_TREES_H_
#define CPP_SERVING_BOOSTED_TREES_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "cpp_serving/tree_table.h"

namespace cpp_serving {

// A column that trees test: a feature's value, or what a kind of split makes of it. NaN stays NaN.
struct InputColumn {
  enum class Kind : std::uint8_t {
    kValue,
    kZeroIsMissing,  // NaN where |x| <= 1e-35 (LightGBM).
    kIsIn,           // 1 where the value's whole part is one of the categories, else 0.
    kIsOutside,      // 0 where it is, else 1.
  };
  std::uint32_t feature = 0;
  Kind kind = Kind::kValue;
  float above = 0.0f;  // A category's value is above this one; others are in no set.
  std::vector<std::int32_t> categories = {};  // Ascending.
};

bool operator<(const InputColumn& a, const InputColumn& b);
bool operator==(const InputColumn& a, const InputColumn& b);

// One tree, breadth first as in a TreeTable; a node's feature is the place of an InputColumn.
struct BoostedTree {
  std::uint32_t output = 0;  // The margin that its leaves count in.
  std::vector<Node> nodes;
  std::vector<float> leaf_weights;     // [leaf]
  std::vector<std::int32_t> leaf_ids;  // [leaf], as the library that wrote the file numbers them
};

// From margins to the library's own prediction.
enum class Link : std::uint8_t {
  kIdentity,
  kLogistic,       // 1 / (1 + exp(-steepness * m))
  kExponential,    // exp(m)
  kHinge,          // 1 where m > 0, else 0
  kSignedSquare,   // sign(m) * m^2
  kLogOnePlusExp,  // log(1 + exp(m))
  kAscending,      // the outputs' margins in ascending order
  kSoftmax,        // over the outputs
  kLargest,        // the number of the output with the largest margin, the first of equal ones
};

struct BoostedTrees {
  std::string library;    // "xgboost" or "lightgbm"
  std::string version;    // As the file has it: "3.2.0", "v4"
  std::string objective;  // As the library calls it.
  std::uint32_t num_features = 0;
  std::vector<std::string> feature_names;  // [feature], or empty
  std::uint32_t num_outputs = 1;
  std::vector<float> base_margins;  // [output]
  bool averaged = false;            // Predictions are of the margins by iteration.
  Link link = Link::kIdentity;
  double steepness = 1.0;
  std::vector<InputColumn> columns;
  std::vector<BoostedTree> trees;
  std::vector<std::uint32_t> iterations;  // [iteration + 1], the first tree of each
};

// Reads a file that XGBoost 1.x to 3.4 saved as JSON or UBJSON, or LightGBM's text; which one is
// seen from its first bytes. `where` names it in errors. Throws Error(kArtifact) for a file that is
// damaged and, by name, for what can not be scored here: vector leaves, linear boosters and leaves,
// unknown objectives, other formats.
BoostedTrees ReadBoostedTrees(std::string_view bytes, const std::string& where);

// Of a file, which is read at once. Throws Error(kArtifact) also where it can not be read.
BoostedTrees ReadBoostedTrees(const std::filesystem::path& path);

}  // namespace cpp_serving

#endif  // CPP_SERVING_BOOSTED_TREES_H_
