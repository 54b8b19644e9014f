// Bare model files of XGBoost and LightGBM to Python: matrices in; scores, margins, leaves out.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arrays.h"
#include "calls.h"
#include "classes.h"
#include "cpp_serving/tree_scorer.h"

namespace cpp_serving {
namespace {

using Iterations = std::optional<std::pair<std::uint32_t, std::uint32_t>>;

std::shared_ptr<TreeScorer> Opened(BoostedTrees model, const Iterations& iterations, float missing,
                                   const std::string& kernel, std::uint32_t threads) {
  TreeScorerOptions options;
  if (iterations) {
    options.first_iteration = iterations->first;
    options.end_iteration = iterations->second;
  }
  options.missing = missing;
  options.forest = OptionsFrom(kernel, threads);
  return std::make_shared<TreeScorer>(std::move(model), options);
}

// Which of the scorer's answers a method gives.
struct Scores {
  static std::size_t Width(const TreeScorer& scorer) { return scorer.scores_per_row(); }
  static void Fill(const TreeScorer& scorer, const MatrixView& in, float* out) {
    scorer.Score(in.data, in.rows, out);
  }
};
struct Margins {
  static std::size_t Width(const TreeScorer& scorer) { return scorer.num_outputs(); }
  static void Fill(const TreeScorer& scorer, const MatrixView& in, float* out) {
    scorer.Margins(in.data, in.rows, out);
  }
};

template <typename Answer>
PyObject* NewMethod(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return Guarded([&] {
    ExpectArguments(count, 1, "(features)");
    const auto& scorer = SelfOf<TreeScorer>(self);
    const MatrixView in(arguments[0], scorer.num_features());
    NewFloats answer(in.rows, Answer::Width(scorer));
    WithoutLock(scorer.EstimatedNanoseconds(in.rows),
                [&] { Answer::Fill(scorer, in, answer.data); });
    return answer.array.release().ptr();
  });
}

PyObject* ScoreIntoMethod(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return Guarded([&] {
    ExpectArguments(count, 2, "(features, out)");
    const auto& scorer = SelfOf<TreeScorer>(self);
    const MatrixView in(arguments[0], scorer.num_features());
    float* out = OutView(arguments[1], in.rows, scorer.scores_per_row());
    WithoutLock(scorer.EstimatedNanoseconds(in.rows), [&] { Scores::Fill(scorer, in, out); });
    return py::none().release().ptr();
  });
}

py::array Leaves(const TreeScorer& scorer, const py::handle& features) {
  const MatrixView in(features.ptr(), scorer.num_features());
  py::array_t<std::int32_t> leaves(
      {static_cast<py::ssize_t>(in.rows), static_cast<py::ssize_t>(scorer.num_trees())});
  std::int32_t* out = leaves.mutable_data();
  WithoutLock(scorer.EstimatedNanoseconds(in.rows), [&] { scorer.Leaves(in.data, in.rows, out); });
  return leaves;
}

}  // namespace

void AddTreeScorer(py::module_& m) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  py::class_<TreeScorer, std::shared_ptr<TreeScorer>> scorer(m, "TreeScorer");
  scorer
      .def(py::init([](const std::filesystem::path& path, const Iterations& iterations,
                       float missing, const std::string& kernel, std::uint32_t threads) {
             return Opened(ReadBoostedTrees(path), iterations, missing, kernel, threads);
           }),
           py::arg("path"), py::kw_only(), py::arg("iterations") = py::none(),
           py::arg("missing") = kNan, py::arg("kernel") = "auto", py::arg("threads") = 1)
      .def_static(
          "from_bytes",
          [](const py::bytes& data, const std::string& where, const Iterations& iterations,
             float missing, const std::string& kernel, std::uint32_t threads) {
            BoostedTrees model = ReadBoostedTrees(static_cast<std::string_view>(data), where);
            return Opened(std::move(model), iterations, missing, kernel, threads);
          },
          py::arg("data"), py::arg("where"), py::kw_only(), py::arg("iterations") = py::none(),
          py::arg("missing") = kNan, py::arg("kernel") = "auto", py::arg("threads") = 1)
      .def("leaves", &Leaves, py::arg("features"))
      .def("split_points", [](const TreeScorer& s) { return OwningEach(s.SplitPoints()); })
      .def_property_readonly("library", [](const TreeScorer& s) { return s.model().library; })
      .def_property_readonly("version", [](const TreeScorer& s) { return s.model().version; })
      .def_property_readonly("objective", [](const TreeScorer& s) { return s.model().objective; })
      .def_property_readonly("feature_names",
                             [](const TreeScorer& s) { return s.model().feature_names; })
      .def_property_readonly("num_features", &TreeScorer::num_features)
      .def_property_readonly("num_outputs", &TreeScorer::num_outputs)
      .def_property_readonly("num_trees", &TreeScorer::num_trees)
      .def_property_readonly("num_iterations",
                             [](const TreeScorer& s) { return s.model().iterations.size() - 1; })
      .def_property_readonly("kernel", [](const TreeScorer& s) { return NameOf(s.isa()); })
      .def_property_readonly("threads", &TreeScorer::threads);
  AddMethod<&NewMethod<Scores>>(scorer, "score",
                                "score(self: TreeScorer, features: object) -> object");
  AddMethod<&NewMethod<Margins>>(scorer, "margins",
                                 "margins(self: TreeScorer, features: object) -> object");
  AddMethod<&ScoreIntoMethod>(scorer, "score_into",
                              "score_into(self: TreeScorer, features: object, out: object) -> "
                              "None");
}

}  // namespace cpp_serving
