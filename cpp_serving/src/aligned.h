// Vectors that start on a cache line, so that no 64-byte load touches two.
#ifndef CPP_SERVING_SRC_ALIGNED_H_
#define CPP_SERVING_SRC_ALIGNED_H_

#include <cstddef>
#include <new>
#include <vector>

namespace cpp_serving {

template <typename T>
struct CacheLineAllocator {
  using value_type = T;
  CacheLineAllocator() = default;
  template <typename U>
  explicit CacheLineAllocator(const CacheLineAllocator<U>& /*other*/) {}
  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{64}));
  }
  void deallocate(T* values, std::size_t /*count*/) {
    ::operator delete(values, std::align_val_t{64});
  }
  template <typename U>
  bool operator==(const CacheLineAllocator<U>& /*other*/) const {
    return true;
  }
  template <typename U>
  bool operator!=(const CacheLineAllocator<U>& /*other*/) const {
    return false;
  }
};

template <typename T>
using AlignedVector = std::vector<T, CacheLineAllocator<T>>;

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_ALIGNED_H_
