// A request's candidates to Python: shared features once, candidates as values or as kept codes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "arrays.h"
#include "calls.h"
#include "classes.h"
#include "cpp_serving/request_scorer.h"

namespace cpp_serving {
namespace {

const float* SharedView(const RequestScorer& scorer, const py::handle& shared) {
  const auto* array = NativeArray::OfFloats(shared.ptr(), 1);
  if (array == nullptr || static_cast<std::size_t>(array->dimensions[0]) != scorer.num_shared()) {
    throw py::type_error("shared is not a C-ordered float32 array [" +
                         std::to_string(scorer.num_shared()) + "]; nothing is converted");
  }
  return reinterpret_cast<const float*>(array->data);
}

py::object Score(const RequestScorer& scorer, const py::handle& shared, const py::handle& own) {
  const float* common = SharedView(scorer, shared);
  const MatrixView in(own.ptr(), scorer.num_own());
  NewFloats scores(in.rows, scorer.scorer().scores_per_row());
  WithoutLock(scorer.scorer().EstimatedNanoseconds(in.rows),
              [&] { scorer.Score(common, in.data, in.rows, scores.data); });
  return std::move(scores.array);
}

py::array Quantise(const RequestScorer& scorer, const py::handle& own) {
  const MatrixView in(own.ptr(), scorer.num_own());
  py::array_t<std::uint8_t> codes(
      {static_cast<py::ssize_t>(in.rows), static_cast<py::ssize_t>(scorer.num_codes())});
  std::uint8_t* out = codes.mutable_data();
  WithoutLock(scorer.scorer().EstimatedNanoseconds(in.rows),
              [&] { scorer.Quantise(in.data, in.rows, out); });
  return codes;
}

py::object ScoreCodes(const RequestScorer& scorer, const py::handle& shared,
                      const py::handle& codes) {
  const float* common = SharedView(scorer, shared);
  const auto* array = NativeArray::Of(codes.ptr(), py::detail::npy_api::NPY_UBYTE_, 2);
  if (array == nullptr || static_cast<std::size_t>(array->dimensions[1]) != scorer.num_codes()) {
    throw py::type_error("codes are not a C-ordered uint8 array [candidate, " +
                         std::to_string(scorer.num_codes()) + "]");
  }
  const auto rows = static_cast<std::size_t>(array->dimensions[0]);
  const auto* in = reinterpret_cast<const std::uint8_t*>(array->data);
  NewFloats scores(rows, scorer.scorer().scores_per_row());
  WithoutLock(scorer.scorer().EstimatedNanoseconds(rows),
              [&] { scorer.ScoreCodes(common, in, rows, scores.data); });
  return std::move(scores.array);
}

}  // namespace

void AddRequestScorer(py::module_& m) {
  py::class_<RequestScorer>(m, "RequestScorer")
      .def(py::init<std::shared_ptr<const TreeScorer>, std::vector<std::uint32_t>>(),
           py::arg("scorer"), py::arg("shared"))
      .def("score", &Score, py::arg("shared"), py::arg("own"))
      .def("quantise", &Quantise, py::arg("own"))
      .def("score_codes", &ScoreCodes, py::arg("shared"), py::arg("codes"))
      .def_property_readonly("num_shared", &RequestScorer::num_shared)
      .def_property_readonly("num_own", &RequestScorer::num_own)
      .def_property_readonly("num_codes", &RequestScorer::num_codes);
}

}  // namespace cpp_serving
