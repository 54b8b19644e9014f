// The Python door of the scorer. It only translates: check, view, release the GIL, call, return.
#include <pybind11/pybind11.h>

#include <exception>

#include "classes.h"
#include "errors.h"

namespace py = pybind11;

PYBIND11_MODULE(_core, m) {
  m.doc() = "Tree models, scored in C++.";
  py::register_local_exception_translator([](std::exception_ptr raised) {
    try {
      if (raised) std::rethrow_exception(raised);
    } catch (const cpp_serving::Error& error) {
      cpp_serving::RaisePython(error);
    }
  });
  cpp_serving::AddScorer(m);
  cpp_serving::AddTreeScorer(m);
  cpp_serving::AddRequestScorer(m);
  cpp_serving::AddTreeSteps(m);
}
