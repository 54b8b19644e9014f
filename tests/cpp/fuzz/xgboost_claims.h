// Of a model that one of XGBoost's formats held: it scores, and both formats say the same.
#ifndef TESTS_CPP_FUZZ_XGBOOST_CLAIMS_H_
#define TESTS_CPP_FUZZ_XGBOOST_CLAIMS_H_

#include "model_writers.h"
#include "same_trees.h"
#include "scoring.h"

inline void ClaimOfXgboost(const cpp_serving::BoostedTrees& model, std::size_t turn) {
  using cpp_serving::BoostedTrees;
  ScoreIt(model, turn);
  const BoostedTrees from_json = cpp_serving::ReadBoostedTrees(AsJson(model), "written");
  const BoostedTrees from_ubjson = cpp_serving::ReadBoostedTrees(AsUbjson(model), "written");
  CLAIM(SameModel(model, from_json));
  CLAIM(SameModel(model, from_ubjson));
}

#endif  // TESTS_CPP_FUZZ_XGBOOST_CLAIMS_H_
