// numpy arrays as they are: checked, viewed, handed over; never converted.
#ifndef CPP_SERVING_BINDINGS_ARRAYS_H_
#define CPP_SERVING_BINDINGS_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cpp_serving/span.h"

namespace cpp_serving {

namespace py = pybind11;

// A numpy array's own fields: reading them costs nothing, py::array_t's checks a microsecond.
struct NativeArray {
  // Null where the object is no native array of the type and number of dimensions, C order,
  // aligned.
  static const py::detail::PyArray_Proxy* Of(PyObject* object, int type_num, int ndim) {
    static const auto& api = py::detail::npy_api::get();
    constexpr int kFlags = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if (!api.PyArray_Check_(object)) return nullptr;
    const auto* array = py::detail::array_proxy(object);
    const auto* dtype = py::detail::array_descriptor_proxy(array->descr);
    const bool fits = dtype->type_num == type_num &&
                      (dtype->byteorder == '=' || dtype->byteorder == '|') && array->nd == ndim &&
                      (array->flags & kFlags) == kFlags;
    return fits ? array : nullptr;
  }
  static const py::detail::PyArray_Proxy* OfFloats(PyObject* object, int ndim) {
    return Of(object, py::detail::npy_api::NPY_FLOAT_, ndim);
  }
};

// Float32 [row, width].
struct MatrixView {
  MatrixView(PyObject* object, std::size_t width) {
    const auto* array = NativeArray::OfFloats(object, 2);
    if (array == nullptr || static_cast<std::size_t>(array->dimensions[1]) != width) {
      throw py::type_error("features are not a C-ordered float32 array [row, " +
                           std::to_string(width) + "]; nothing is converted");
    }
    data = reinterpret_cast<const float*>(array->data);
    rows = static_cast<std::size_t>(array->dimensions[0]);
  }
  const float* data;
  std::size_t rows;
};

// Where scores go: writeable float32 [row], or [row, width] for a width above 1.
inline float* OutView(PyObject* object, std::size_t rows, std::size_t width) {
  const auto* array = NativeArray::OfFloats(object, width == 1 ? 1 : 2);
  if (array == nullptr || static_cast<std::size_t>(array->dimensions[0]) != rows ||
      (width != 1 && static_cast<std::size_t>(array->dimensions[1]) != width) ||
      (array->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_) == 0) {
    throw py::type_error("out is not a writeable float32 array [" + std::to_string(rows) +
                         (width == 1 ? "" : ", " + std::to_string(width)) + "]");
  }
  return reinterpret_cast<float*>(array->data);
}

// A new float32 array [row], or [row, width] for a width above 1; by numpy's own call, which costs
// a third of py::array_t's way to it.
struct NewFloats {
  NewFloats(std::size_t rows, std::size_t width) {
    static const auto& api = py::detail::npy_api::get();
    const Py_intptr_t dimensions[] = {static_cast<Py_intptr_t>(rows),
                                      static_cast<Py_intptr_t>(width)};
    array = py::reinterpret_steal<py::object>(api.PyArray_NewFromDescr_(
        api.PyArray_Type_, api.PyArray_DescrFromType_(py::detail::npy_api::NPY_FLOAT_),
        width == 1 ? 1 : 2, dimensions, nullptr, nullptr, 0, nullptr));
    if (!array) throw py::error_already_set();
    data = reinterpret_cast<float*>(py::detail::array_proxy(array.ptr())->data);
  }
  py::object array;
  float* data;
};

// An array that owns the values.
template <typename T>
py::array Owning(std::vector<T> values) {
  auto owner = std::make_unique<std::vector<T>>(std::move(values));
  T* data = owner->data();
  const auto size = static_cast<py::ssize_t>(owner->size());
  py::capsule free(owner.release(), [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(size, data, free);
}

template <typename T>
py::list OwningEach(std::vector<std::vector<T>> arrays) {
  py::list all;
  for (std::vector<T>& values : arrays) all.append(Owning(std::move(values)));
  return all;
}

template <typename T>
py::array Copy(const Span<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size), values.data);
}

}  // namespace cpp_serving

#endif  // CPP_SERVING_BINDINGS_ARRAYS_H_
