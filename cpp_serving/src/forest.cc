#include "cpp_serving/forest.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "cpp_serving/error.h"
#include "heaps.h"
#include "isa.h"
#include "kernels.h"
#include "leaf_weights.h"
#include "line_walk.h"
#include "pool.h"
#include "quantiser.h"
#include "scratch.h"
#include "units.h"
#include "walk.h"

namespace cpp_serving {
namespace {

// Codes of the rows in work stay below this: about half of a second-level cache.
constexpr std::size_t kCodeBytes = 512 * 1024;
constexpr std::size_t kMaxBlocks = 32;

// Below twice this many rows another thread costs more than it saves.
constexpr std::size_t kPart = 4 * kBlock;
constexpr std::uint32_t kMaxThreads = 256;

std::uint32_t Checked(std::uint32_t threads) {
  if (threads >= 1 && threads <= kMaxThreads) return threads;
  throw Error(Error::Kind::kStack, std::to_string(threads) + " threads are asked for.",
              "the option 'threads'", "use 1 to " + std::to_string(kMaxThreads));
}

// x <= t goes left where x < the next float does.
float Threshold(const Node& node, const Faults& faults) {
  if (!faults.threshold_le) return node.threshold;
  return std::nextafterf(node.threshold, std::numeric_limits<float>::infinity());
}

}  // namespace

struct Forest::Compiled {
  Compiled(const TreeTable& table, const Faults& faults, ForestOptions options)
      : kernel(KernelOf(options.isa)),
        pool(Checked(options.threads)),
        leaf_offsets(table.leaf_offsets.begin(), table.leaf_offsets.end()),
        weights(table.leaf_weights, table.leaf_offsets,
                faults.tree_limit == 0 ? table.num_trees() : faults.tree_limit),
        num_trees(table.num_trees()),
        num_features(table.num_features),
        quantiser(Thresholds(table, faults)) {
    std::vector<std::vector<TestedNode>> trees;
    for (std::uint32_t tree = 0; tree < num_trees; ++tree) {
      trees.push_back(Tested(table, faults, tree));
      AddTree(tree, trees.back());
    }
    walk.Finish(weights, leaf_offsets.data(), quantiser.num_planes());
    large_trees.Finish(weights, leaf_offsets.data(), quantiser.num_planes());
    Show();
    side_by_side.Show(layout, quantiser.num_planes(), &of_row);
    if (heaps.fit() && kernel.find_ends != nullptr) heaps.Show(&of_row);
    num_steps = walk.num_steps();
    if (of_row.num_trees == 0) AddLines(trees);
    if (of_row.num_trees != 0 || lines) walk = Walk();
    walk_below = options.walk_below != 0 ? options.walk_below : CheaperFrom();
  }

  static std::vector<std::vector<float>> Thresholds(const TreeTable& table, const Faults& faults) {
    std::vector<std::vector<float>> thresholds(table.num_features);
    for (const Node& node : table.nodes) {
      if (node.feature == Node::kLeaf) continue;
      thresholds[node.feature & Node::kFeatureMask].push_back(Threshold(node, faults));
    }
    return thresholds;
  }

  std::vector<TestedNode> Tested(const TreeTable& table, const Faults& faults, std::uint32_t tree) {
    std::vector<TestedNode> nodes;
    for (std::uint32_t i = table.node_offsets[tree]; i < table.node_offsets[tree + 1]; ++i) {
      const Node& node = table.nodes[i];
      const bool is_leaf = node.feature == Node::kLeaf;
      nodes.push_back({is_leaf, node.left, {}});
      if (is_leaf) continue;
      nodes.back().test =
          quantiser.TestFor(node.feature & Node::kFeatureMask, Threshold(node, faults),
                            (node.feature & Node::kMissingGoesLeft) != 0);
    }
    return nodes;
  }

  void AddTree(std::uint32_t tree, const std::vector<TestedNode>& nodes) {
    UnitProgram compiled;
    if (CompileUnits(nodes, &compiled)) {
      AddSlot(tree, compiled);
    } else {
      large_trees.Add(tree, nodes);
    }
    heaps.Add(nodes, weights.fixed.data() + leaf_offsets[tree]);
    walk.Add(tree, nodes);
  }

  void AddLines(const std::vector<std::vector<TestedNode>>& trees) {
    if (walk.depth() > LineWalk::kMaxDepth || quantiser.num_planes() > LineWalk::kMaxPlanes) return;
    lines.emplace(trees, weights, leaf_offsets.data());
  }

  void AddSlot(std::uint32_t tree, const UnitProgram& compiled) {
    slot_trees.push_back(tree);
    program_at.push_back(static_cast<std::uint32_t>(program.size()));
    num_units.push_back(compiled.num_units);
    program.insert(program.end(), compiled.words.begin(), compiled.words.end());
    num_nodes += compiled.num_nodes;
    const std::size_t ids = compiled.leaf_of_id.size();
    num_ids.push_back(ids <= 64 ? 64 : ids <= 128 ? 128 : 256);
    const std::size_t first = slot_leaves.size();
    slot_leaves.resize(first + 256, 0);
    slot_weights.resize(first + 256, 0);
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (std::size_t id = 0; id < ids; ++id) {
      slot_leaves[first + id] = static_cast<std::uint8_t>(compiled.leaf_of_id[id]);
      slot_weights[first + id] = weights.fixed[leaf_offsets[tree] + compiled.leaf_of_id[id]];
      least = std::min(least, slot_weights[first + id]);
    }
    // Weights are counted from their tree's least, so that bytes need no sign.
    least_sum += least;
    for (std::size_t id = 0; id < ids; ++id) slot_weights[first + id] -= least;
  }

  void Show() {
    std::int64_t largest = 1;
    for (const std::int64_t weight : slot_weights) largest = std::max(largest, weight);
    std::uint32_t num_bytes = 1;
    while (num_bytes < 7 && largest >> (8 * num_bytes) != 0) ++num_bytes;
    for (std::size_t slot = 0; slot < slot_trees.size(); ++slot) {
      weight_bytes_at.push_back(static_cast<std::uint32_t>(weight_bytes.size()));
      for (std::uint32_t byte = 0; byte < num_bytes; ++byte) {
        for (std::uint32_t id = 0; id < num_ids[slot]; ++id) {
          weight_bytes.push_back(
              static_cast<std::uint8_t>(slot_weights[slot * 256 + id] >> (8 * byte)));
        }
      }
    }
    quantiser.ShowIn(&layout);
    layout.program = program.data();
    layout.program_at = program_at.data();
    layout.num_units = num_units.data();
    layout.num_ids = num_ids.data();
    layout.weight_bytes = weight_bytes.data();
    layout.weight_bytes_at = weight_bytes_at.data();
    layout.weights = slot_weights.data();
    layout.num_bytes = num_bytes;
    block_bytes = std::max<std::size_t>(1, quantiser.num_planes()) * kBlock;
  }

  // Rows from which a block is cheaper than as many walks, by the processor cycles of each part as
  // measured on a Zen 4 (docs/scorer.md).
  std::size_t CheaperFrom() const {
    if (kernel.isa == Isa::kScalar) return kBlock + 1;
    const bool wide = kernel.isa != Isa::kAvx2;
    const bool tables = kernel.isa == Isa::kAvx512Vbmi;
    const auto slots = static_cast<double>(slot_trees.size());
    const double block = static_cast<double>(num_nodes) * (wide ? 1.6 : 3.0) +
                         slots * (tables ? 30.0 : 120.0) +
                         static_cast<double>(layout.num_columns) * (tables ? 50.0 : 150.0);
    const double steps = static_cast<double>(num_steps) * (lines ? 2.5 : 3.5);
    const double row = (of_row.num_trees > 0 ? slots * 5.0 : steps) +
                       static_cast<double>(layout.num_columns) * 8.0 + 2.0 * slots;
    return static_cast<std::size_t>(std::min(std::max(2.0, std::ceil(block / row)), 65.0));
  }

  // Of a row that is scored by itself.
  std::int64_t RowSum(const std::uint8_t* codes) const {
    if (lines) return lines->Sum(codes);
    if (of_row.num_trees == 0) return walk.Sum(codes, 0);
    return heaps.Sum(Ends(codes));
  }

  void RowLeaves(const std::uint8_t* codes, std::int32_t* leaves) const {
    if (lines) return lines->Leaves(codes, leaves);
    if (of_row.num_trees == 0) return walk.Leaves(codes, 0, leaves);
    heaps.Leaves(Ends(codes), leaves);
  }

  const std::uint8_t* Ends(const std::uint8_t* codes) const {
    const std::size_t room = (std::size_t{num_trees} + 7) / 8 * 8;
    std::uint8_t* ends = Room(&OwnScratch().ends, room);
    kernel.find_ends(of_row, codes, Room(&OwnScratch().masks, room), ends);
    return ends;
  }

  std::uint32_t num_slots() const { return static_cast<std::uint32_t>(slot_trees.size()); }

  // Calls on_row(row, codes) for rows that are walked, and on_blocks(first row, blocks, rows,
  // codes) for those that are evaluated together.
  template <typename OfRow, typename OfBlocks>
  void Split(const float* features, std::size_t rows, OfRow on_row, OfBlocks on_blocks) const {
    Scratch& scratch = OwnScratch();
    std::size_t in_blocks = 0;
    if (walk_below <= kBlock) {
      in_blocks = rows / kBlock * kBlock;
      if (rows - in_blocks >= walk_below) in_blocks = rows;
    }
    const std::size_t at_once =
        std::min(kMaxBlocks, std::max<std::size_t>(1, kCodeBytes / block_bytes));
    if (in_blocks > 0) {
      const std::size_t needed = std::min(at_once, (in_blocks + kBlock - 1) / kBlock);
      std::uint8_t* codes = Room(&scratch.codes, needed * block_bytes);
      for (std::size_t row = 0; row < in_blocks; row += at_once * kBlock) {
        const std::size_t here = std::min(at_once * kBlock, in_blocks - row);
        const std::size_t blocks = (here + kBlock - 1) / kBlock;
        kernel.quantise(layout, features + row * num_features, here, codes, block_bytes);
        on_blocks(row, blocks, here, codes);
      }
    }
    if (in_blocks == rows) return;
    // Room for the plane that absent ones are written to, and for whole tables of 256.
    std::uint8_t* codes =
        Room(&scratch.codes, std::max<std::size_t>(256, quantiser.num_planes() + 1));
    for (std::size_t row = in_blocks; row < rows; ++row) {
      kernel.quantise_row(layout, of_row, features + row * num_features, codes);
      on_row(row, codes);
    }
  }

  // Calls task(first row, rows) for parts of the rows, on all threads.
  template <typename Task>
  void Share(std::size_t rows, Task task) const {
    const std::size_t threads = pool.num_threads();
    if (threads == 1 || rows < 2 * kPart) return task(0, rows);
    // Whole blocks, four parts a thread: the last to finish is not waited for long.
    const std::size_t part = std::max(kPart, (rows / (4 * threads) + kBlock - 1) / kBlock * kBlock);
    pool.Run((rows + part - 1) / part,
             [&](std::size_t i) { task(i * part, std::min(part, rows - i * part)); });
  }

  // Calls use(block, ids) for every block, its slots' ids evaluated.
  template <typename Use>
  void ForBlocks(std::uint32_t begin, std::uint32_t end, std::size_t blocks,
                 const std::uint8_t* codes, std::uint8_t* ids, Use use) const {
    for (std::size_t b = 0; b < blocks; b += 2) {
      const bool two = b + 1 < blocks;
      const std::uint8_t* own = codes + b * block_bytes;
      kernel.evaluate(layout, begin, end, own, two ? own + block_bytes : nullptr, ids);
      use(b, ids);
      if (two) use(b + 1, ids + kGroup * kBlock);
    }
  }

  const Kernel& kernel;
  mutable Pool pool;                        // Makes its own calls safe.
  std::vector<std::uint32_t> leaf_offsets;  // [tree + 1]
  LeafWeights weights;
  std::uint32_t num_trees;
  std::uint32_t num_features;
  Quantiser quantiser;
  Walk walk;                      // All trees, unless a faster way is there for them.
  std::optional<LineWalk> lines;  // Where all are shallow, and find_ends is not used.
  Walk large_trees;               // Those without a slot.
  std::vector<std::uint32_t> slot_trees;
  AlignedVector<std::uint32_t> program;
  std::vector<std::uint32_t> program_at;
  std::vector<std::uint32_t> num_units;
  std::vector<std::uint32_t> num_ids;
  AlignedVector<std::uint8_t> slot_leaves;   // [slot, 256]: ordinal by id
  AlignedVector<std::int64_t> slot_weights;  // [slot, 256]: above the slot's least, by id
  AlignedVector<std::uint8_t> weight_bytes;
  std::vector<std::uint32_t> weight_bytes_at;
  Heaps heaps;
  ColumnsSideBySide side_by_side;
  RowLayout of_row{};
  std::int64_t least_sum = 0;
  std::uint64_t num_nodes = 0;  // Of the slots' units.
  std::uint64_t num_steps = 0;  // Of a walk through all trees.
  std::size_t block_bytes = 0;
  std::size_t walk_below = 0;
  Layout layout{};
};

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
    std::uint8_t* ids = Room(&OwnScratch().ids, 2 * kGroup * kBlock);
    std::int64_t* totals = Room(&OwnScratch().sums, blocks * kBlock);
    std::fill(totals, totals + blocks * kBlock, forest.least_sum);
    for (std::uint32_t begin = 0; begin < forest.num_slots(); begin += kGroup) {
      const std::uint32_t end = std::min(begin + kGroup, forest.num_slots());
      forest.ForBlocks(begin, end, blocks, codes, ids, [&](std::size_t b, const std::uint8_t* own) {
        forest.kernel.accumulate(forest.layout, begin, end, own, totals + b * kBlock);
      });
    }
    for (std::size_t row = 0; row < count; ++row) {
      std::int64_t total = totals[row];
      if (forest.large_trees.num_trees() > 0) {
        const std::uint8_t* own = codes + row / kBlock * forest.block_bytes + row % kBlock;
        total += forest.large_trees.Sum(own, 6);
      }
      sums[first + row] = forest.weights.ToFloat(total);
    }
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
    std::uint8_t* ids = Room(&OwnScratch().ids, 2 * kGroup * kBlock);
    for (std::uint32_t begin = 0; begin < forest.num_slots(); begin += kGroup) {
      const std::uint32_t end = std::min(begin + kGroup, forest.num_slots());
      forest.ForBlocks(begin, end, blocks, codes, ids, [&](std::size_t b, const std::uint8_t* own) {
        const std::size_t present = std::min(kBlock, count - b * kBlock);
        for (std::size_t row = 0; row < present; ++row) {
          std::int32_t* out = leaves + (first + b * kBlock + row) * width;
          for (std::uint32_t slot = begin; slot < end; ++slot) {
            const std::uint8_t id = own[(slot - begin) * kBlock + row];
            out[forest.slot_trees[slot]] = forest.slot_leaves[std::size_t{slot} * 256 + id];
          }
        }
      });
    }
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
  // A walked row's: less than a nanosecond a step, two a column. A block costs as much as the
  // fewest rows for which it is chosen.
  const std::size_t row = compiled_->num_steps + 2 * std::size_t{compiled_->layout.num_columns};
  const std::size_t blocks = (rows + kBlock - 1) / kBlock;
  return row * std::min(rows, blocks * std::min(compiled_->walk_below, kBlock));
}

}  // namespace cpp_serving
