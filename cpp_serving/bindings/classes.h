// The classes of the extension module.
#ifndef CPP_SERVING_BINDINGS_CLASSES_H_
#define CPP_SERVING_BINDINGS_CLASSES_H_

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "cpp_serving/forest.h"

namespace cpp_serving {

// Scorer and Faults: the exported legacy model.
void AddScorer(pybind11::module_& m);
// TreeScorer: a bare model file.
void AddTreeScorer(pybind11::module_& m);
// RequestScorer: a bare model file, request by request.
void AddRequestScorer(pybind11::module_& m);
// TreeSteps: a bare model file step by step, for comparisons.
void AddTreeSteps(pybind11::module_& m);

inline ForestOptions OptionsFrom(const std::string& kernel, std::uint32_t threads) {
  ForestOptions options;
  options.threads = threads;
  options.isa = IsaFromName(kernel);
  return options;
}

}  // namespace cpp_serving

#endif  // CPP_SERVING_BINDINGS_CLASSES_H_
