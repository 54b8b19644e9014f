// A tree's leaf ids from the bits of its tests, over any vector of 64-bit words. `B` has:
//   Vector, kBlocks (words a test), Load(words), Choose(right, on_right, on_left)
// Everything is static: each kernel's file has its own, compiled for its own instruction set.
#ifndef CPP_SERVING_SRC_SLICES_INL_H_
#define CPP_SERVING_SRC_SLICES_INL_H_

#include <cstddef>
#include <cstdint>

#include "kernels.h"

// A tree's whole nest of nodes becomes one function, except where that is too much to compile:
// without optimisation, or with a sanitizer's checks at every access.
#if defined(__has_feature)
#define CPP_SERVING_HAS_FEATURE(x) __has_feature(x)
#else
#define CPP_SERVING_HAS_FEATURE(x) 0
#endif
#if !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    CPP_SERVING_HAS_FEATURE(address_sanitizer) || CPP_SERVING_HAS_FEATURE(thread_sanitizer)
#define CPP_SERVING_NESTED inline
#else
#define CPP_SERVING_NESTED inline __attribute__((always_inline))
#endif

namespace cpp_serving {
namespace {

// The id's bits, highest first, of the subtree of `kDepth` levels whose nodes start at `nodes`.
template <typename B, int kDepth>
CPP_SERVING_NESTED void IdBits(const std::uint16_t* nodes, const std::uint64_t* bits,
                               typename B::Vector* id) {
  if constexpr (kDepth > 0) {
    typename B::Vector left[kDepth];
    typename B::Vector right[kDepth];
    IdBits<B, kDepth - 1>(nodes + 1, bits, left);
    IdBits<B, kDepth - 1>(nodes + (1 << (kDepth - 1)), bits, right);
    id[0] = B::Load(bits + std::size_t{nodes[0]} * B::kBlocks);
    for (int i = 1; i < kDepth; ++i) id[i] = B::Choose(id[0], right[i - 1], left[i - 1]);
  }
}

// Calls S::Slice<depth>(nodes, bits, ids of the slot) for each.
template <typename S>
inline void SliceSlots(const Layout& layout, std::uint32_t begin, std::uint32_t end,
                       const std::uint64_t* bits, std::uint8_t* ids) {
  for (std::uint32_t slot = begin; slot < end; ++slot, ids += kBlock) {
    const std::uint16_t* nodes = layout.sliced_nodes + layout.sliced_at[slot];
    switch (layout.depths[slot]) {
      case 0:
        S::template Slice<0>(nodes, bits, ids);
        break;
      case 1:
        S::template Slice<1>(nodes, bits, ids);
        break;
      case 2:
        S::template Slice<2>(nodes, bits, ids);
        break;
      case 3:
        S::template Slice<3>(nodes, bits, ids);
        break;
      case 4:
        S::template Slice<4>(nodes, bits, ids);
        break;
      case 5:
        S::template Slice<5>(nodes, bits, ids);
        break;
      case 6:
        S::template Slice<6>(nodes, bits, ids);
        break;
      case 7:
        S::template Slice<7>(nodes, bits, ids);
        break;
      default:
        S::template Slice<8>(nodes, bits, ids);
        break;
    }
  }
}

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_SLICES_INL_H_
