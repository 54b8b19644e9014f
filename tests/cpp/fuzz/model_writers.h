// Writes a model back in each format that is read: what a second reading is compared with.
#ifndef TESTS_CPP_FUZZ_MODEL_WRITERS_H_
#define TESTS_CPP_FUZZ_MODEL_WRITERS_H_

#include <string>

#include "cpp_serving/boosted_trees.h"

std::string AsJson(const cpp_serving::BoostedTrees& model);
std::string AsUbjson(const cpp_serving::BoostedTrees& model);
std::string AsLightgbm(const cpp_serving::BoostedTrees& model);

#endif  // TESTS_CPP_FUZZ_MODEL_WRITERS_H_
