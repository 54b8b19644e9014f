// Bare models: what is read is what was written, in each format; and what is scored, on threads
// too.
#include "cpp_serving/boosted_trees.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "check.h"
#include "cpp_serving/tree_faults.h"
#include "cpp_serving/tree_scorer.h"
#include "fuzz/model_writers.h"
#include "fuzz/same_trees.h"
#include "fuzz/scoring.h"

using namespace cpp_serving;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Node Split(std::uint32_t column, float threshold, bool missing_left, std::uint32_t left) {
  return {threshold, column | (missing_left ? Node::kMissingGoesLeft : 0), left};
}
Node Leaf(std::uint32_t ordinal) { return {0.0f, Node::kLeaf, ordinal}; }

// Three features; the third is a category. Two outputs, a tree each in both iterations.
BoostedTrees Sample(const std::string& library) {
  const bool xgboost = library == "xgboost";
  BoostedTrees model;
  model.library = library;
  model.version = xgboost ? "3.2.0" : "v4";
  model.objective = xgboost ? "multi:softprob" : "multiclass";
  model.link = Link::kSoftmax;
  model.num_features = 3;
  model.feature_names = {"a", "b\xc3\xa9", "c"};
  model.num_outputs = 2;
  model.base_margins = {0.5f, 0.5f};
  const auto kind = xgboost ? InputColumn::Kind::kIsIn : InputColumn::Kind::kIsOutside;
  model.columns = {{0}, {1}, {2, kind, xgboost ? -1e-45f : -1.0f, {0, 3, 40}}};
  for (std::uint32_t i = 0; i < 4; ++i) {
    const float shift = static_cast<float>(i);
    BoostedTree tree;
    tree.output = i % 2;
    tree.nodes = {Split(0, 0.5f + shift, i % 2 == 0, 1),
                  Split(2, 0.5f, false, 3),
                  Leaf(0),
                  Split(1, -1e-30f, true, 5),
                  Leaf(1),
                  Leaf(2),
                  Leaf(3)};
    tree.leaf_weights = {1.0f, -2.0f + shift, 0.125f, 3e-6f};
    tree.leaf_ids = {0, 1, 2, 3};
    model.trees.push_back(tree);
  }
  model.iterations = {0, 2, 4};
  return model;
}

void WhatIsWrittenIsRead() {
  const BoostedTrees xgboost = Sample("xgboost");
  const BoostedTrees lightgbm = Sample("lightgbm");
  for (const std::string& bytes : {AsJson(xgboost), AsUbjson(xgboost)}) {
    const BoostedTrees read = ReadBoostedTrees(bytes, "written");
    CHECK(SameModel(read, xgboost));
    CHECK(read.base_margins == xgboost.base_margins);
    CHECK(read.version == "3.2.0" && read.library == "xgboost");
    ScoreIt(read, bytes.size());
  }
  const BoostedTrees read = ReadBoostedTrees(AsLightgbm(lightgbm), "written");
  CHECK(SameModel(read, lightgbm));
  ScoreIt(read, 0);
}

void MarginsAreSumsOfLeaves() {
  const TreeScorer scorer(Sample("xgboost"));
  // Left at 0.5 in tree 0 only where missing; category 3 is in the set, and goes right.
  const float rows[] = {0.25f, 0.0f, 3.0f, kNan, kNan, 1.0f, 9.0f, 0.0f, 0.0f};
  float margins[6];
  scorer.Margins(rows, 3, margins);
  CHECK(margins[0] == 0.5f + -2.0f + 0.0f && margins[1] == 0.5f + -1.0f + 1.0f);
  CHECK(margins[4] == 0.5f + 1.0f + 1.0f && margins[5] == margins[4]);
  std::int32_t leaves[12];
  scorer.Leaves(rows, 3, leaves);
  float again[6];
  scorer.MarginsOfLeaves(leaves, 3, again);
  CHECK(std::equal(margins, margins + 6, again));
  leaves[5] = 4;
  CHECK(Has(ErrorOf([&] { scorer.MarginsOfLeaves(leaves, 3, again); }), "leaf 4 is given"));
  leaves[5] = -1;
  CHECK(Has(ErrorOf([&] { scorer.MarginsOfLeaves(leaves, 3, again); }), "leaf -1 is given"));
  float scores[6];
  scorer.ScoresOfMargins(margins, 3, again);
  scorer.Score(rows, 3, scores);
  CHECK(std::equal(scores, scores + 6, again));
  CHECK(std::fabs(scores[0] + scores[1] - 1.0f) < 1e-6f && scores[4] == 0.5f);
}

void FaultsChangeTheTreesThatCount() {
  const float rows[] = {1.5f, -1.0f, 9.0f, kNan, 0.0f, 0.0f};
  TreeScorerOptions second;
  second.first_iteration = 1;
  const auto margins = [&](const char* fault) {
    BoostedTrees model = Sample("xgboost");
    PutFault(fault, 2, 4, &model);
    std::vector<float> found(4);
    TreeScorer(std::move(model), second).Margins(rows, 2, found.data());
    return found;
  };
  std::vector<float> sound(4);
  TreeScorer(Sample("xgboost"), second).Margins(rows, 2, sound.data());
  // 1.5 is below 2.5; in tree 3 a missing value goes right, in tree 2 left: so to the other side.
  CHECK(margins("threshold_le") == sound);
  CHECK(margins("nan_direction")[2] != sound[2] && margins("nan_direction")[0] == sound[0]);
  CHECK(margins("tree_limit")[1] == 0.5f && margins("tree_limit")[0] == sound[0]);
  CHECK(margins("weight_scale")[0] != sound[0] && margins("weight_scale")[1] == sound[1]);
  CHECK(margins("bias_dropped")[0] == sound[0] - 0.5f);
  CHECK(Has(ErrorOf([&] { margins("no_such"); }), "no_such"));
}

void ThreadsAnswerAlike() {
  TreeScorerOptions options;
  options.forest.threads = 3;
  const TreeScorer scorer(Sample("lightgbm"), options);
  const std::size_t rows = 3000;
  const std::vector<float> features = RowsOf(scorer.model(), rows);
  std::vector<float> expected(rows * 2);
  TreeScorer(Sample("lightgbm")).Score(features.data(), rows, expected.data());
  std::vector<std::vector<float>> scores(4, std::vector<float>(rows * 2));
  std::vector<std::thread> callers;
  for (std::vector<float>& own : scores) {
    callers.emplace_back([&] { scorer.Score(features.data(), rows, own.data()); });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::vector<float>& own : scores) CHECK(own == expected);
}

void WhatCanNotBeScoredIsRefused() {
  const std::string json = AsJson(Sample("xgboost"));
  const auto refusal = [](std::string bytes, const std::string& from, const std::string& to) {
    bytes.replace(bytes.find(from), from.size(), to);
    return ErrorOf([&] { ReadBoostedTrees(bytes, "changed"); });
  };
  CHECK(Has(refusal(json, "multi:softprob", "reg:mine"), "reg:mine"));
  CHECK(Has(refusal(json, "\"gbtree\"", "\"gblinear\""), "gblinear"));
  CHECK(Has(refusal(json, "\"left_children\":[1,", "\"left_children\":[0,"), "a cycle"));
  CHECK(
      Has(ErrorOf([] { ReadBoostedTrees(std::filesystem::path("/nowhere")); }), "can not be read"));
  TreeScorerOptions options;
  options.end_iteration = 3;
  CHECK(Has(ErrorOf([&] { TreeScorer(Sample("xgboost"), options); }), "there are 2"));
}

}  // namespace

int main() {
  WhatIsWrittenIsRead();
  MarginsAreSumsOfLeaves();
  FaultsChangeTheTreesThatCount();
  ThreadsAnswerAlike();
  WhatCanNotBeScoredIsRefused();
  return Finish();
}
