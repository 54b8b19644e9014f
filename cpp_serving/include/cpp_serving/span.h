// A view of consecutive values; it does not own them.
#ifndef CPP_SERVING_SPAN_H_
#define CPP_SERVING_SPAN_H_

#include <cstddef>

namespace cpp_serving {

template <typename T>
struct Span {
  const T* data = nullptr;
  std::size_t size = 0;

  const T* begin() const { return data; }
  const T* end() const { return data + size; }
  const T& operator[](std::size_t i) const { return data[i]; }
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SPAN_H_
