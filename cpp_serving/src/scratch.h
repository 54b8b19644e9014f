// Memory that a thread keeps from call to call, so that calls allocate nothing.
#ifndef CPP_SERVING_SRC_SCRATCH_H_
#define CPP_SERVING_SRC_SCRATCH_H_

#include <cstddef>
#include <cstdint>

#include "aligned.h"

namespace cpp_serving {

struct Scratch {
  AlignedVector<std::uint8_t> ends;
  AlignedVector<std::uint8_t> codes;
  AlignedVector<std::uint64_t> bits;
  AlignedVector<std::uint8_t> ids;
  AlignedVector<std::int64_t> sums;
};

inline Scratch& OwnScratch() {
  static thread_local Scratch scratch;
  return scratch;
}

// Memory for `count` values; what it held may be gone.
template <typename T>
T* Room(AlignedVector<T>* values, std::size_t count) {
  if (values->size() < count) values->resize(count);
  return values->data();
}

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_SCRATCH_H_
