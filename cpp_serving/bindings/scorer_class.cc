// The exported legacy model to Python: logged requests in, outputs and checkpoints out.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arrays.h"
#include "calls.h"
#include "classes.h"
#include "cpp_serving/arrow_abi.h"
#include "cpp_serving/error.h"
#include "cpp_serving/forest.h"
#include "cpp_serving/scorer.h"
#include "cpp_serving/trees.h"

namespace cpp_serving {
namespace {

// A pyarrow.RecordBatch seen through the Arrow PyCapsule protocol; the capsules own what it shows.
class BatchView {
 public:
  explicit BatchView(const py::object& batch) {
    if (!py::hasattr(batch, "__arrow_c_array__")) {
      throw py::type_error("the batch has no __arrow_c_array__: give a pyarrow.RecordBatch");
    }
    std::tie(schema_, array_) =
        batch.attr("__arrow_c_array__")().cast<std::pair<py::capsule, py::capsule>>();
  }
  const ArrowSchema& schema() const {
    return *static_cast<ArrowSchema*>(PyCapsule_GetPointer(schema_.ptr(), "arrow_schema"));
  }
  const ArrowArray& array() const {
    return *static_cast<ArrowArray*>(PyCapsule_GetPointer(array_.ptr(), "arrow_array"));
  }

 private:
  py::capsule schema_;
  py::capsule array_;
};

py::dtype DTypeOf(DType dtype) {
  constexpr const char* kNames[] = {"float32", "float64", "int32", "int64"};
  return py::dtype(kNames[static_cast<int>(dtype)]);
}

std::vector<py::ssize_t> ShapeOf(const CheckpointInfo& info, std::int64_t rows) {
  std::vector<py::ssize_t> shape{rows};
  if (info.inner) shape.push_back(*info.inner);
  return shape;
}

std::size_t PlaceOf(const Scorer& scorer, const std::string& name) {
  for (std::size_t i = 0; i < scorer.checkpoints().size(); ++i) {
    if (scorer.checkpoints()[i].name == name) return i;
  }
  throw Error(Error::Kind::kStack, "no checkpoint is called '" + name + "'.",
              scorer.model().artifact->where(), "use a name that the scorer declares");
}

Given GivenFrom(const Scorer& scorer, const Records& records, const std::string& name,
                const py::object& value) {
  const std::size_t place = PlaceOf(scorer, name);
  const CheckpointInfo& info = scorer.checkpoints()[place];
  const auto rows = info.axis == Axis::kRequest ? records.num_requests() : records.num_candidates();
  const std::vector<py::ssize_t> shape = ShapeOf(info, rows);
  if (!py::isinstance<py::array>(value)) throw py::type_error(name + " is no numpy array");
  const auto array = py::reinterpret_borrow<py::array>(value);
  constexpr int kFlags = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  if (!array.dtype().equal(DTypeOf(info.dtype)) || (array.flags() & kFlags) != kFlags ||
      !std::equal(shape.begin(), shape.end(), array.shape(), array.shape() + array.ndim())) {
    throw py::type_error(name +
                         " is not a C-ordered array of the checkpoint's dtype and shape; "
                         "values are never converted");
  }
  return {place, array.data()};
}

py::dict ScoreBatch(const Scorer& scorer, const py::object& batch) {
  const BatchView view(batch);
  Scores scores;
  {
    const py::gil_scoped_release release;
    scores = scorer.Score(Records(view.schema(), view.array()));
  }
  py::dict values;
  values["pctr"] = Owning(std::move(scores.pctr));
  if (!scorer.model().money.empty()) values["ecpm_micros"] = Owning(std::move(scores.ecpm_micros));
  values["rank"] = Owning(std::move(scores.rank));
  return values;
}

py::dict TraceBatch(const Scorer& scorer, const py::object& batch,
                    const std::vector<std::string>& capture,
                    const std::map<std::string, py::object>& given) {
  const BatchView view(batch);
  const Records records(view.schema(), view.array());
  std::vector<std::size_t> places;
  for (const std::string& name : capture) places.push_back(PlaceOf(scorer, name));
  std::vector<Given> used;
  for (const auto& [name, value] : given) used.push_back(GivenFrom(scorer, records, name, value));
  std::vector<Recorded> recorded;
  {
    const py::gil_scoped_release release;
    recorded = scorer.Trace(records, places, used);
  }
  py::dict values;
  for (Recorded& each : recorded) {
    const CheckpointInfo& info = scorer.checkpoints()[each.checkpoint];
    std::byte* data = each.values.release();
    const py::capsule free(data, [](void* p) { delete[] static_cast<std::byte*>(p); });
    values[py::str(info.name)] =
        py::array(DTypeOf(info.dtype), ShapeOf(info, each.rows), data, free);
  }
  return values;
}

py::array Leaves(const Scorer& scorer, const py::handle& features) {
  const MatrixView in(features.ptr(), scorer.model().num_real);
  const py::ssize_t trees = scorer.model().trees.num_trees();
  py::array_t<std::int32_t> leaves({static_cast<py::ssize_t>(in.rows), trees});
  std::int32_t* out = leaves.mutable_data();
  WithoutLock(scorer.forest().EstimatedNanoseconds(in.rows),
              [&] { scorer.forest().Leaves(in.data, in.rows, out); });
  return leaves;
}

py::object ScoreMatrix(const Scorer& scorer, PyObject* features) {
  const MatrixView in(features, scorer.model().num_real);
  NewFloats pctr(in.rows, 1);
  WithoutLock(scorer.forest().EstimatedNanoseconds(in.rows),
              [&] { scorer.ScoreMatrix(in.data, in.rows, pctr.data); });
  return std::move(pctr.array);
}

void ScoreInto(const Scorer& scorer, PyObject* features, PyObject* out) {
  const MatrixView in(features, scorer.model().num_real);
  float* pctr = OutView(out, in.rows, 1);
  WithoutLock(scorer.forest().EstimatedNanoseconds(in.rows),
              [&] { scorer.ScoreMatrix(in.data, in.rows, pctr); });
}

const char* NameOf(Axis axis) { return axis == Axis::kRequest ? "request" : "candidate"; }

py::list CheckpointTuples(const Scorer& scorer) {
  py::list declared;
  for (const CheckpointInfo& info : scorer.checkpoints()) {
    py::list after;
    for (const std::size_t parent : info.after) after.append(scorer.checkpoints()[parent].name);
    declared.append(py::make_tuple(info.name, py::str(DTypeOf(info.dtype)), NameOf(info.axis),
                                   info.inner, py::tuple(after)));
  }
  return declared;
}

py::list FeatureTuples(const Scorer& scorer) {
  py::list features;
  for (const Feature& each : scorer.model().features) {
    features.append(
        py::make_tuple(each.name, NameOf(each.kind), each.first_column, each.cardinality));
  }
  return features;
}

PyObject* ScoreMethod(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return Guarded([&] {
    ExpectArguments(count, 1, "(batch)");
    const auto& scorer = SelfOf<Scorer>(self);
    if (py::detail::npy_api::get().PyArray_Check_(arguments[0])) {
      return ScoreMatrix(scorer, arguments[0]).release().ptr();
    }
    return ScoreBatch(scorer, py::reinterpret_borrow<py::object>(arguments[0])).release().ptr();
  });
}

PyObject* ScoreIntoMethod(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return Guarded([&] {
    ExpectArguments(count, 2, "(features, out)");
    ScoreInto(SelfOf<Scorer>(self), arguments[0], arguments[1]);
    return py::none().release().ptr();
  });
}

}  // namespace

void AddScorer(py::module_& m) {
  py::class_<Faults>(m, "Faults")
      .def(py::init([](std::vector<std::string> bucket_edge_side, bool threshold_le,
                       std::uint32_t tree_limit) {
             return Faults{std::move(bucket_edge_side), threshold_le, tree_limit};
           }),
           py::kw_only(), py::arg("bucket_edge_side") = std::vector<std::string>{},
           py::arg("threshold_le") = false, py::arg("tree_limit") = 0);
  py::class_<Scorer> scorer(m, "Scorer");
  scorer
      .def(py::init([](const std::filesystem::path& path, const std::string& kernel,
                       std::uint32_t threads) {
             return std::make_unique<Scorer>(Artifact::Open(path), Faults{},
                                             OptionsFrom(kernel, threads));
           }),
           py::arg("path"), py::kw_only(), py::arg("kernel") = "auto", py::arg("threads") = 1)
      .def_static(
          "from_bytes",
          [](const py::bytes& data, const std::string& where, const Faults& faults,
             const std::string& kernel, std::uint32_t threads) {
            const auto bytes = static_cast<std::string_view>(data);
            return std::make_unique<Scorer>(Artifact::FromBytes(bytes, where), faults,
                                            OptionsFrom(kernel, threads));
          },
          py::arg("data"), py::arg("where"), py::kw_only(), py::arg("faults") = Faults{},
          py::arg("kernel") = "auto", py::arg("threads") = 1)
      .def_static("kernels",
                  [] {
                    std::vector<std::string> names;
                    for (const Isa isa : RunnableIsas()) names.emplace_back(NameOf(isa));
                    return names;
                  })
      .def("trace", &TraceBatch, py::arg("batch"), py::arg("capture"), py::arg("given"))
      .def("leaves", &Leaves, py::arg("features"))
      .def("split_points", [](const Scorer& s) { return OwningEach(SplitPoints(s.model().trees)); })
      .def("checkpoints", &CheckpointTuples)
      .def("features", &FeatureTuples)
      .def_property_readonly("kernel", [](const Scorer& s) { return NameOf(s.forest().isa()); })
      .def_property_readonly("threads", [](const Scorer& s) { return s.forest().threads(); })
      .def_property_readonly("walk_below", [](const Scorer& s) { return s.forest().walk_below(); })
      .def_property_readonly("training_id",
                             [](const Scorer& s) { return s.model().artifact->training_id(); })
      .def_property_readonly("leaf_weights",
                             [](const Scorer& s) { return Copy(s.model().trees.leaf_weights); })
      .def_property_readonly("leaf_offsets",
                             [](const Scorer& s) { return Copy(s.model().trees.leaf_offsets); })
      .def_property_readonly("category_weights",
                             [](const Scorer& s) { return Copy(s.model().category_weights); })
      .def_property_readonly("bias", [](const Scorer& s) { return s.model().bias; })
      .def_property_readonly("slope", [](const Scorer& s) { return s.model().slope; })
      .def_property_readonly("intercept", [](const Scorer& s) { return s.model().intercept; });
  AddMethod<&ScoreMethod>(scorer, "score", "score(self: Scorer, batch: object) -> object");
  AddMethod<&ScoreIntoMethod>(scorer, "score_into",
                              "score_into(self: Scorer, features: object, out: object) -> None");
}

}  // namespace cpp_serving
