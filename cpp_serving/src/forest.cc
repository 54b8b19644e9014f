#include "cpp_serving/forest.h"

#include "forest_compiled.h"

namespace cpp_serving {

Forest::Forest(const TreeTable& table, const Faults& faults, ForestOptions options)
    : compiled_(std::make_unique<Compiled>(table, faults, options)) {}
Forest::~Forest() = default;
Forest::Forest(Forest&&) noexcept = default;
Forest& Forest::operator=(Forest&&) noexcept = default;

void Forest::LeafSums(const float* features, std::size_t rows, float* sums) const {
  compiled_->Share(rows, [&](std::size_t first, std::size_t count) {
    SumRows(features + first * compiled_->num_features, count, sums + first);
  });
}

void Forest::Leaves(const float* features, std::size_t rows, std::int32_t* leaves) const {
  compiled_->Share(rows, [&](std::size_t first, std::size_t count) {
    FindLeaves(features + first * compiled_->num_features, count,
               leaves + first * compiled_->num_trees);
  });
}

void Forest::SumRows(const float* features, std::size_t rows, float* sums) const {
  const Compiled& forest = *compiled_;
  const auto on_row = [&](std::size_t row, const std::uint8_t* codes) {
    sums[row] = forest.weights.ToFloat(forest.RowSum(codes));
  };
  const auto on_blocks = [&](std::size_t first, std::size_t blocks, std::size_t count,
                             const std::uint8_t* codes) {
    forest.SumBlocks(blocks, count, codes, sums + first);
  };
  forest.Split(features, rows, on_row, on_blocks);
}

void Forest::FindLeaves(const float* features, std::size_t rows, std::int32_t* leaves) const {
  const Compiled& forest = *compiled_;
  const std::size_t width = forest.num_trees;
  const auto on_row = [&](std::size_t row, const std::uint8_t* codes) {
    forest.RowLeaves(codes, leaves + row * width);
  };
  const auto on_blocks = [&](std::size_t first, std::size_t blocks, std::size_t count,
                             const std::uint8_t* codes) {
    forest.ForBlocks(
        blocks, codes,
        [&](std::size_t b, std::uint32_t begin, std::uint32_t end, const std::uint8_t* ids) {
          const std::size_t present = std::min(kBlock, count - b * kBlock);
          for (std::size_t row = 0; row < present; ++row) {
            std::int32_t* out = leaves + (first + b * kBlock + row) * width;
            for (std::uint32_t slot = begin; slot < end; ++slot) {
              const std::uint8_t id = ids[(slot - begin) * kBlock + row];
              out[forest.slots.tree(slot)] = forest.slots.leaf(slot, id);
            }
          }
        });
    if (forest.large_trees.num_trees() == 0) return;
    for (std::size_t row = 0; row < count; ++row) {
      const std::uint8_t* own = codes + row / kBlock * forest.block_bytes + row % kBlock;
      forest.large_trees.Leaves(own, 6, leaves + (first + row) * width);
    }
  };
  forest.Split(features, rows, on_row, on_blocks);
}

float Forest::SumOfLeaves(const std::int32_t* leaves) const {
  const Compiled& forest = *compiled_;
  std::int64_t sum = 0;
  for (std::uint32_t tree = 0; tree < forest.num_trees; ++tree) {
    sum +=
        forest.weights.fixed[forest.leaf_offsets[tree] + static_cast<std::uint32_t>(leaves[tree])];
  }
  return forest.weights.ToFloat(sum);
}

Isa Forest::isa() const { return compiled_->kernel.isa; }

std::uint32_t Forest::threads() const { return compiled_->pool.num_threads(); }

std::size_t Forest::walk_below() const { return compiled_->walk_below; }

std::size_t Forest::EstimatedNanoseconds(std::size_t rows) const {
  // A block costs as much as the fewest rows for which it is chosen.
  const std::size_t blocks = (rows + kBlock - 1) / kBlock;
  return compiled_->row_nanoseconds *
         std::min(rows, blocks * std::min(compiled_->walk_below, kBlock));
}

}  // namespace cpp_serving
