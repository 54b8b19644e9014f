// Methods that Python calls without pybind11's dispatch, which costs more than scoring a row; and
// when the interpreter's lock is released.
#ifndef CPP_SERVING_BINDINGS_CALLS_H_
#define CPP_SERVING_BINDINGS_CALLS_H_

#include <pybind11/pybind11.h>

#include <cstddef>
#include <exception>
#include <new>
#include <string>

#include "errors.h"

namespace cpp_serving {

// Below, taking the lock again costs more than others gain by it.
constexpr std::size_t kReleaseAboveNanoseconds = 20000;

template <typename Act>
void WithoutLock(std::size_t estimated_nanoseconds, Act act) {
  if (estimated_nanoseconds < kReleaseAboveNanoseconds) return act();
  const pybind11::gil_scoped_release release;
  act();
}

// The result of act(), or null with Python's error set.
template <typename Act>
PyObject* Guarded(Act act) {
  namespace py = pybind11;
  try {
    return act();
  } catch (const Error& error) {
    try {
      RaisePython(error);
    } catch (py::error_already_set& failed) {
      failed.restore();
    }
  } catch (py::error_already_set& failed) {
    failed.restore();
  } catch (const py::builtin_exception& failed) {
    failed.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& failed) {
    PyErr_SetString(PyExc_RuntimeError, failed.what());
  }
  return nullptr;
}

// What `self` holds. A method that was added by AddMethod is given no object of another class; a
// class of several bases keeps its values elsewhere, which pybind11 looks up.
template <typename T>
const T& SelfOf(PyObject* self) {
  const auto* instance = reinterpret_cast<const pybind11::detail::instance*>(self);
  if (!instance->simple_layout) return *pybind11::handle(self).cast<const T*>();
  const void* value = instance->simple_value_holder[0];
  if (value == nullptr) throw pybind11::type_error("__init__ was not called");
  return *static_cast<const T*>(value);
}

inline void ExpectArguments(Py_ssize_t given, Py_ssize_t expected, const char* signature) {
  if (given != expected) throw pybind11::type_error(std::string("takes ") + signature);
}

// Adds a method with positional arguments only; `signature` is its docstring.
template <PyObject* (*kMethod)(PyObject*, PyObject* const*, Py_ssize_t)>
void AddMethod(const pybind11::handle& type, const char* name, const char* signature) {
  namespace py = pybind11;
  static PyMethodDef definition{
      name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(kMethod)), METH_FASTCALL,
      signature};
  PyObject* method = PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &definition);
  if (method == nullptr) throw py::error_already_set();
  py::setattr(type, name, py::reinterpret_steal<py::object>(method));
}

}  // namespace cpp_serving

#endif  // CPP_SERVING_BINDINGS_CALLS_H_
