// The one exception type that crosses into Python, as the toolkit's own errors.
#ifndef CPP_SERVING_BINDINGS_ERRORS_H_
#define CPP_SERVING_BINDINGS_ERRORS_H_

#include <pybind11/pybind11.h>

#include "cpp_serving/error.h"

namespace cpp_serving {

// Sets ArtifactError, LogError or StackError with its three parts.
inline void RaisePython(const Error& error) {
  namespace py = pybind11;
  const char* kind = error.kind() == Error::Kind::kArtifact ? "ArtifactError"
                     : error.kind() == Error::Kind::kLog    ? "LogError"
                                                            : "StackError";
  const py::object type = py::module_::import("replay.errors").attr(kind);
  const py::object value =
      type(error.what(), py::arg("where") = error.where(), py::arg("fix") = error.fix());
  PyErr_SetObject(type.ptr(), value.ptr());
}

}  // namespace cpp_serving

#endif  // CPP_SERVING_BINDINGS_ERRORS_H_
