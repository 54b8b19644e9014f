// Leaf weights as integers of one common scale, whose sums do not depend on their order.
#ifndef CPP_SERVING_SRC_LEAF_WEIGHTS_H_
#define CPP_SERVING_SRC_LEAF_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "cpp_serving/span.h"

namespace cpp_serving {

struct LeafWeights {
  // `leaf_offsets` is [tree + 1]; trees from `num_counted` on weigh nothing.
  LeafWeights(Span<float> weights, Span<std::uint32_t> leaf_offsets, std::uint32_t num_counted);

  float ToFloat(std::int64_t sum) const {
    return static_cast<float>(static_cast<double>(sum) * unit);
  }

  std::vector<std::int64_t> fixed;  // [leaf]
  double unit;                      // 2^-k (forest.h)
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_LEAF_WEIGHTS_H_
