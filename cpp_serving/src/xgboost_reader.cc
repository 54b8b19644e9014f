#include "xgboost_reader.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "file_tree.h"
#include "xgboost_objectives.h"
#include "xgboost_tree.h"

namespace cpp_serving {
namespace {

// What the file says of the learner, whatever the order of its members.
struct Learner {
  std::vector<std::int64_t> version;
  std::string booster;
  std::string objective;
  std::string base_score = "5E-1";  // XGBoost's default
  std::vector<std::string> feature_names;
  std::int64_t num_feature = -1;
  std::int64_t num_class = 0;
  std::int64_t num_target = 1;
  std::int64_t num_trees = -1;
  std::int64_t num_parallel_tree = 1;
  std::vector<FileTree> trees;
  ColumnSet columns;
  std::vector<std::int64_t> tree_info;
  std::optional<std::vector<std::int64_t>> iteration_indptr;
  std::optional<std::vector<float>> weight_drop;  // Of DART: its place differs between versions.
};

class Reader {
 public:
  explicit Reader(Document* document) : document_(*document) {}

  BoostedTrees Read() {
    document_.Object([&](const std::string& name) {
      if (name == "learner") {
        ReadLearner();
      } else if (name == "version") {
        document_.Integers(&file_.version);
      } else {
        document_.Skip();
      }
    });
    document_.End();
    return Checked();
  }

 private:
  void ReadLearner() {
    document_.Object([&](const std::string& name) {
      if (name == "gradient_booster") {
        ReadBooster(0);
      } else if (name == "learner_model_param") {
        ReadModelParam();
      } else if (name == "objective") {
        document_.Object([&](const std::string& member) {
          if (member != "name") return document_.Skip();
          file_.objective = document_.Text();
        });
      } else if (name == "feature_names") {
        document_.Array([&] { file_.feature_names.push_back(document_.Text()); });
      } else {
        document_.Skip();
      }
    });
  }

  void ReadModelParam() {
    document_.Object([&](const std::string& name) {
      if (name == "num_feature") {
        file_.num_feature = WholeIn(&document_);
      } else if (name == "num_class") {
        file_.num_class = WholeIn(&document_);
      } else if (name == "num_target") {
        file_.num_target = WholeIn(&document_);
      } else if (name == "base_score") {
        file_.base_score = document_.Text();
      } else {
        document_.Skip();
      }
    });
  }

  // DART up to 3.3 holds its trees' booster in a member of its own.
  void ReadBooster(int depth) {
    document_.Object([&](const std::string& name) {
      if (name == "name") {
        const std::string booster = document_.Text();
        if (depth == 0) file_.booster = booster;
      } else if (name == "model") {
        ReadModel();
      } else if (name == "gbtree" && depth == 0) {
        ReadBooster(depth + 1);
      } else if (name == "weight_drop") {
        ReadWeightDrop();
      } else {
        document_.Skip();
      }
    });
  }

  void ReadWeightDrop() {
    if (file_.weight_drop) document_.Refuse("the weights of trees are there twice.");
    document_.Floats(&file_.weight_drop.emplace());
  }

  void ReadModel() {
    if (file_.num_trees >= 0 || !file_.trees.empty()) {
      document_.Refuse("the file holds two models.");
    }
    model_way_ = document_.Way();
    document_.Object([&](const std::string& name) {
      if (name == "gbtree_model_param") {
        document_.Object([&](const std::string& member) {
          if (member == "num_trees") {
            file_.num_trees = WholeIn(&document_);
          } else if (member == "num_parallel_tree") {
            file_.num_parallel_tree = WholeIn(&document_);
          } else {
            document_.Skip();
          }
        });
      } else if (name == "trees") {
        document_.Array(
            [&] { file_.trees.push_back(ReadXgboostTree(&document_, &file_.columns)); });
      } else if (name == "tree_info") {
        document_.Integers(&file_.tree_info);
      } else if (name == "iteration_indptr") {
        document_.Integers(&file_.iteration_indptr.emplace());
      } else if (name == "weight_drop") {
        ReadWeightDrop();
      } else {
        document_.Skip();
      }
    });
  }

  // --- what was read, checked as a whole -----------------------------------------------------

  [[noreturn]] void Refuse(const std::string& way, std::string what) const {
    document_.RefuseAt(way, std::move(what));
  }

  BoostedTrees Checked() {
    if (file_.booster != "gbtree" && file_.booster != "dart") {
      Refuse("learner.gradient_booster", file_.booster.empty()
                                             ? "the file holds no learner.gradient_booster."
                                             : "the booster is '" + file_.booster +
                                                   "': only gbtree and dart can be scored here.");
    }
    BoostedTrees model;
    model.library = "xgboost";
    for (const std::int64_t part : file_.version) {
      model.version += (model.version.empty() ? "" : ".") + std::to_string(part);
    }
    // What a file means has changed without its format: with 1.3 and 3.4 (xgboost_objectives.cc).
    if (!file_.version.empty() && (file_.version[0] < 0 || file_.version[0] > kLastMajor)) {
      document_.RefuseUnknown("version", "the file was written by XGBoost " + model.version +
                                             ": those of up to " + std::to_string(kLastMajor) +
                                             ".x are read.");
    }
    const std::size_t num_trees = file_.trees.size();
    if (num_trees == 0) Refuse(model_way_, "the model has no trees.");
    if (file_.num_trees != static_cast<std::int64_t>(num_trees) ||
        file_.tree_info.size() != num_trees) {
      Refuse(model_way_, "there are " + std::to_string(num_trees) +
                             " trees, where gbtree_model_param says " +
                             std::to_string(file_.num_trees) + " and tree_info " +
                             std::to_string(file_.tree_info.size()) + ".");
    }
    CheckSizes(&model);
    AddTrees(&model);
    AddIterations(&model);
    AddObjective(&model);
    return model;
  }

  void CheckSizes(BoostedTrees* model) const {
    if (file_.num_feature < 1 || file_.num_feature > kMostFeatures) {
      Refuse(kSizes, "the model says it has " + std::to_string(file_.num_feature) + " features.");
    }
    model->num_features = static_cast<std::uint32_t>(file_.num_feature);
    const std::int64_t outputs = std::max({file_.num_class, file_.num_target, std::int64_t{1}});
    if (outputs > static_cast<std::int64_t>(file_.trees.size())) {
      Refuse(kSizes, "the model says it has " + std::to_string(outputs) + " outputs, and has " +
                         std::to_string(file_.trees.size()) + " trees.");
    }
    model->num_outputs = static_cast<std::uint32_t>(outputs);
    model->feature_names = file_.feature_names;
    if (!model->feature_names.empty() && model->feature_names.size() != model->num_features) {
      Refuse("learner.feature_names", "there are " + std::to_string(model->feature_names.size()) +
                                          " feature names for " +
                                          std::to_string(model->num_features) + " features.");
    }
  }

  void AddTrees(BoostedTrees* model) {
    model->columns = file_.columns.Columns();
    if (file_.booster == "dart" && !file_.weight_drop) {
      Refuse("learner.gradient_booster", "a dart model has no weight_drop.");
    }
    if (file_.weight_drop && file_.weight_drop->size() != file_.trees.size()) {
      Refuse("learner.gradient_booster",
             "weight_drop has " + std::to_string(file_.weight_drop->size()) + " weights for " +
                 std::to_string(file_.trees.size()) + " trees.");
    }
    for (std::size_t i = 0; i < file_.trees.size(); ++i) {
      const std::string way = model_way_ + ".trees[" + std::to_string(i) + "]";
      if (file_.tree_info[i] < 0 || file_.tree_info[i] >= model->num_outputs) {
        Refuse(model_way_ + ".tree_info", "tree " + std::to_string(i) + " belongs to output " +
                                              std::to_string(file_.tree_info[i]) + " of " +
                                              std::to_string(model->num_outputs) + ".");
      }
      FileTree& tree = file_.trees[i];
      tree.output = static_cast<std::uint32_t>(file_.tree_info[i]);
      if (file_.weight_drop) {
        // One float32 product, as XGBoost's own.
        for (FileNode& node : tree.nodes) node.weight *= (*file_.weight_drop)[i];
      }
      CheckSplits(tree, *model, way);
      model->trees.push_back(CheckedTree(tree, document_.WhereOf(way)));
      std::vector<FileNode>().swap(tree.nodes);
    }
  }

  void CheckSplits(const FileTree& tree, const BoostedTrees& model, const std::string& way) const {
    for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
      const FileNode& node = tree.nodes[i];
      if (node.left == FileNode::kNone && node.right == FileNode::kNone) continue;
      const std::uint32_t feature = model.columns[node.column].feature;
      if (feature >= model.num_features) {
        Refuse(way + ", node " + std::to_string(i),
               "it splits feature " + std::to_string(feature) + ", and there are " +
                   std::to_string(model.num_features) + ": a bad split index.");
      }
    }
  }

  void AddIterations(BoostedTrees* model) const {
    const auto num_trees = static_cast<std::int64_t>(model->trees.size());
    std::vector<std::int64_t> first;
    if (file_.iteration_indptr) {
      first = *file_.iteration_indptr;
    } else {
      // Files up to 2.0 do not say; up to 1.3 not even how many trees grow in parallel.
      const std::int64_t each = file_.num_parallel_tree * model->num_outputs;
      if (file_.num_parallel_tree < 1 || file_.num_parallel_tree > num_trees ||
          num_trees % each != 0) {
        Refuse(model_way_, std::to_string(num_trees) + " trees are no whole number of iterations.");
      }
      for (std::int64_t tree = 0; tree <= num_trees; tree += each) first.push_back(tree);
    }
    if (first.empty() || first.front() != 0 || first.back() != num_trees ||
        !std::is_sorted(first.begin(), first.end())) {
      Refuse(model_way_, "iteration_indptr does not part the trees.");
    }
    model->iterations.assign(first.begin(), first.end());
  }

  void AddObjective(BoostedTrees* model) const {
    model->objective = file_.objective;
    const std::optional<XgboostObjective> objective =
        XgboostObjectiveOf(file_.objective, file_.version);
    if (!objective) {
      document_.RefuseUnknown("learner.objective", "the objective is '" + file_.objective +
                                                       "', whose prediction is not known here.");
    }
    if (file_.objective == "reg:expectileerror" && model->num_outputs > 1) {
      document_.RefuseUnknown(
          "learner.objective",
          "the objective is 'reg:expectileerror' with several expectiles, which can not be "
          "scored here; train one model for each.");
    }
    model->link = objective->link;
    std::vector<float> scores;
    if (!ParseBaseScore(file_.base_score, &scores) ||
        (scores.size() != 1 && scores.size() != model->num_outputs)) {
      Refuse(kSizes, "base_score is '" + file_.base_score + "' for " +
                         std::to_string(model->num_outputs) + " outputs.");
    }
    if (scores.size() == 1) scores.assign(model->num_outputs, scores[0]);
    for (const float score : scores) {
      const float margin = MarginOf(objective->base, score);
      if (!std::isfinite(margin)) {
        Refuse(kSizes, "base_score is '" + file_.base_score + "', which '" + file_.objective +
                           "' has no margin for.");
      }
      model->base_margins.push_back(margin);
    }
  }

  // A node's word keeps a bit for the way of missing values.
  static constexpr std::int64_t kMostFeatures = Node::kFeatureMask;
  static constexpr std::int64_t kLastMajor = 3;
  static constexpr char kSizes[] = "learner.learner_model_param";

  Document& document_;
  Learner file_;
  std::string model_way_ = "learner.gradient_booster";
};

}  // namespace

BoostedTrees ReadXgboost(Document* document) { return Reader(document).Read(); }

}  // namespace cpp_serving
