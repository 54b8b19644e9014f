// The Python door of the scorer. It only translates: check, view, release the GIL, call, return.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cpp_serving/arrow_abi.h"
#include "cpp_serving/error.h"
#include "cpp_serving/scorer.h"
#include "cpp_serving/trees.h"

namespace py = pybind11;
using namespace cpp_serving;  // NOLINT: this file stands at the library's edge.
using Matrix = py::array_t<float, py::array::c_style>;  // no forcecast

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

template <typename T>
py::array Owning(std::vector<T> values) {
  auto owner = std::make_unique<std::vector<T>>(std::move(values));
  T* data = owner->data();
  const auto size = static_cast<py::ssize_t>(owner->size());
  py::capsule free(owner.release(), [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(size, data, free);
}

template <typename T>
py::array Copy(const Span<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size), values.data);
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

py::array Leaves(const Scorer& scorer, const Matrix& features) {
  const Model& model = scorer.model();
  if (features.ndim() != 2 || features.shape(1) != model.num_real) {
    throw py::type_error("features are not [row, " + std::to_string(model.num_real) + "]");
  }
  py::array_t<std::int32_t> leaves({features.shape(0), py::ssize_t{model.num_trees()}});
  const float* in = features.data();
  std::int32_t* out = leaves.mutable_data();
  const py::ssize_t rows = features.shape(0);
  {
    const py::gil_scoped_release release;
    for (py::ssize_t row = 0; row < rows; ++row) {
      WalkTrees(model, scorer.faults(), in + row * model.num_real, out + row * model.num_trees());
    }
  }
  return leaves;
}

py::list SplitPointArrays(const Scorer& scorer) {
  py::list points;
  for (std::vector<float>& of_feature : SplitPoints(scorer.model())) {
    points.append(Owning(std::move(of_feature)));
  }
  return points;
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
    features.append(py::make_tuple(each.name, cpp_serving::NameOf(each.kind), each.first_column,
                                   each.cardinality));
  }
  return features;
}

void RaisePython(const Error& error) {
  const char* kind = error.kind() == Error::Kind::kArtifact ? "ArtifactError"
                     : error.kind() == Error::Kind::kLog    ? "LogError"
                                                            : "StackError";
  const py::object type = py::module_::import("replay.errors").attr(kind);
  const py::object value =
      type(error.what(), py::arg("where") = error.where(), py::arg("fix") = error.fix());
  PyErr_SetObject(type.ptr(), value.ptr());
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "The exported legacy model, scored in C++.";
  py::register_local_exception_translator([](std::exception_ptr raised) {
    try {
      if (raised) std::rethrow_exception(raised);
    } catch (const Error& error) {
      RaisePython(error);
    }
  });
  py::class_<Faults>(m, "Faults")
      .def(py::init([](std::vector<std::string> bucket_edge_side, bool threshold_le,
                       std::uint32_t tree_limit) {
             return Faults{std::move(bucket_edge_side), threshold_le, tree_limit};
           }),
           py::kw_only(), py::arg("bucket_edge_side") = std::vector<std::string>{},
           py::arg("threshold_le") = false, py::arg("tree_limit") = 0);
  py::class_<Scorer>(m, "Scorer")
      .def(py::init([](const std::filesystem::path& path) {
             return std::make_unique<Scorer>(Artifact::Open(path));
           }),
           py::arg("path"))
      .def_static(
          "from_bytes",
          [](const py::bytes& data, const std::string& where, const Faults& faults) {
            const auto bytes = static_cast<std::string_view>(data);
            return std::make_unique<Scorer>(Artifact::FromBytes(bytes, where), faults);
          },
          py::arg("data"), py::arg("where"), py::kw_only(), py::arg("faults") = Faults{})
      .def("score", &ScoreBatch, py::arg("batch"))
      .def("trace", &TraceBatch, py::arg("batch"), py::arg("capture"), py::arg("given"))
      .def("leaves", &Leaves, py::arg("features").noconvert())
      .def("split_points", &SplitPointArrays)
      .def("checkpoints", &CheckpointTuples)
      .def("features", &FeatureTuples)
      .def_property_readonly("training_id",
                             [](const Scorer& s) { return s.model().artifact->training_id(); })
      .def_property_readonly("leaf_weights",
                             [](const Scorer& s) { return Copy(s.model().leaf_weights); })
      .def_property_readonly("leaf_offsets",
                             [](const Scorer& s) { return Copy(s.model().leaf_offsets); })
      .def_property_readonly("category_weights",
                             [](const Scorer& s) { return Copy(s.model().category_weights); })
      .def_property_readonly("bias", [](const Scorer& s) { return s.model().bias; })
      .def_property_readonly("slope", [](const Scorer& s) { return s.model().slope; })
      .def_property_readonly("intercept", [](const Scorer& s) { return s.model().intercept; });
}
