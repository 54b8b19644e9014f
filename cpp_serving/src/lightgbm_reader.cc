#include "lightgbm_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "cpp_serving/error.h"
#include "decimal.h"
#include "file_tree.h"
#include "lightgbm_tree.h"
#include "text_fields.h"
#include "utf8.h"

namespace cpp_serving {
namespace {

struct LightgbmObjective {
  const char* name;
  Link link;
};

// src/objective/*.hpp of LightGBM 4.7: ConvertOutput.
constexpr LightgbmObjective kObjectives[] = {
    {"regression", Link::kIdentity},
    {"regression_l1", Link::kIdentity},
    {"huber", Link::kIdentity},
    {"fair", Link::kIdentity},
    {"quantile", Link::kIdentity},
    {"mape", Link::kIdentity},
    {"lambdarank", Link::kIdentity},
    {"rank_xendcg", Link::kIdentity},
    {"custom", Link::kIdentity},
    {"poisson", Link::kExponential},
    {"gamma", Link::kExponential},
    {"tweedie", Link::kExponential},
    {"binary", Link::kLogistic},
    {"multiclassova", Link::kLogistic},
    {"multiclass", Link::kSoftmax},
    {"cross_entropy", Link::kLogistic},
    {"cross_entropy_lambda", Link::kLogOnePlusExp},
};

class Reader {
 public:
  Reader(std::string_view bytes, const std::string& where) : lines_(bytes, where) {}

  BoostedTrees Read() {
    model_.library = "lightgbm";
    Fields header = lines_.Block({"Tree="});
    if (header.Has("tree") && lines_.AtEnd()) {
      header.Refuse("no tree comes after it: the file is cut short, or the model has no trees.");
    }
    ReadHeader(header);
    ColumnSet columns;
    while (lines_.StartsWith("Tree=")) {
      const std::string name = "tree " + std::to_string(model_.trees.size());
      Fields fields =
          lines_.Block({"Tree=", "end of trees", "feature importances:", "feature_importances:"});
      FileTree tree = ReadLightgbmTree(fields, model_.num_features, &columns);
      tree.output = static_cast<std::uint32_t>(model_.trees.size() % model_.num_outputs);
      model_.trees.push_back(CheckedTree(tree, fields.Where() + ", " + name));
    }
    if (lines_.AtEnd()) lines_.Refuse("the file is cut short: no 'end of trees'.");
    model_.columns = columns.Columns();
    AddIterations(header);
    return std::move(model_);
  }

 private:
  void ReadHeader(const Fields& header) {
    if (!header.Has("tree")) header.Refuse("the file does not start with 'tree'.");
    model_.version = header.Text("version");
    if (model_.version != "v2" && model_.version != "v3" && model_.version != "v4") {
      header.RefuseUnknown("the format is '" + model_.version + "': v2, v3 and v4 are read.");
    }
    const std::int64_t last_feature = header.Whole("max_feature_idx");
    const std::int64_t outputs = header.Whole("num_tree_per_iteration");
    if (last_feature >= Node::kFeatureMask) {
      header.Refuse("max_feature_idx is " + std::to_string(last_feature) +
                    ", more than any model has.");
    }
    // Every output has a tree, and a tree has many bytes.
    if (outputs < 1 || static_cast<std::size_t>(outputs) > lines_.Left()) {
      header.Refuse("num_tree_per_iteration is " + std::to_string(outputs) +
                    ", where the file has fewer trees.");
    }
    model_.num_features = static_cast<std::uint32_t>(last_feature + 1);
    model_.num_outputs = static_cast<std::uint32_t>(outputs);
    model_.base_margins.assign(model_.num_outputs, 0.0f);
    model_.averaged = header.Has("average_output");
    ReadNames(header);
    ReadObjective(header);
  }

  void ReadNames(const Fields& header) {
    if (!header.Has("feature_names")) return;
    for (const std::string_view name : header.Words("feature_names")) {
      model_.feature_names.emplace_back(name);
      if (!IsUtf8(model_.feature_names.back())) header.Refuse("a feature name is not UTF-8.");
    }
    if (model_.feature_names.size() != model_.num_features) {
      header.Refuse("there are " + std::to_string(model_.feature_names.size()) +
                    " feature names for " + std::to_string(model_.num_features) + " features.");
    }
  }

  void ReadObjective(const Fields& header) {
    if (!header.Has("objective")) return;  // One of the user's own: margins are predictions.
    const std::vector<std::string_view> words = header.Words("objective");
    model_.objective = words.empty() ? "" : std::string(words[0]);
    const auto* const found =
        std::find_if(std::begin(kObjectives), std::end(kObjectives),
                     [&](const LightgbmObjective& each) { return each.name == model_.objective; });
    if (found == std::end(kObjectives)) {
      header.RefuseUnknown("the objective is '" + model_.objective +
                           "', whose prediction is not known here.");
    }
    model_.link = found->link;
    for (const std::string_view word : words) {
      if (word == "sqrt") model_.link = Link::kSignedSquare;
      constexpr std::string_view kSigmoid = "sigmoid:";
      if (word.substr(0, kSigmoid.size()) != kSigmoid) continue;
      if (!ParseDouble(word.substr(kSigmoid.size()), &model_.steepness) ||
          !std::isfinite(model_.steepness)) {
        header.Refuse("'" + std::string(word) + "' is no parameter of an objective.");
      }
    }
  }

  void AddIterations(const Fields& header) {
    const std::size_t count = model_.trees.size();
    if (count == 0) header.Refuse("the model has no trees.");
    if (count % model_.num_outputs != 0) {
      header.Refuse(std::to_string(count) + " trees are no whole number of iterations.");
    }
    if (header.Has("tree_sizes") && header.Words("tree_sizes").size() != count) {
      header.Refuse("there are " + std::to_string(count) + " trees, where tree_sizes lists " +
                    std::to_string(header.Words("tree_sizes").size()) + ".");
    }
    for (std::size_t tree = 0; tree <= count; tree += model_.num_outputs) {
      model_.iterations.push_back(static_cast<std::uint32_t>(tree));
    }
  }

  Lines lines_;
  BoostedTrees model_;
};

}  // namespace

BoostedTrees ReadLightgbm(std::string_view bytes, const std::string& where) {
  return Reader(bytes, where).Read();
}

}  // namespace cpp_serving
