// What a Forest is compiled into, and how rows are split among its ways of evaluation.
#ifndef CPP_SERVING_SRC_FOREST_COMPILED_H_
#define CPP_SERVING_SRC_FOREST_COMPILED_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "cpp_serving/error.h"
#include "cpp_serving/forest.h"
#include "isa.h"
#include "kernels.h"
#include "leaf_weights.h"
#include "line_walk.h"
#include "pool.h"
#include "quantiser.h"
#include "row_columns.h"
#include "row_trees.h"
#include "scratch.h"
#include "slots.h"
#include "units.h"
#include "walk.h"

namespace cpp_serving {

// Codes of the rows in work stay below this: about half of a second-level cache.
constexpr std::size_t kCodeBytes = 512 * 1024;
constexpr std::size_t kMaxBlocks = 16;
// Tests of a group. Its bits take 8 bytes a test and block, 1.5 MB for a span: more than a
// second-level cache, but each group costs 256 bytes of ranks a plane, and groups of a third, whose
// bits would stay there, were 15 % slower for 1,000 trees of depth 8 (docs/scorer.md).
constexpr std::size_t kSpanTests = 24576;
constexpr std::size_t kOneTests = 40000;
// A span of eight blocks costs as much as so many one by one.
constexpr std::size_t kSpanFrom = 4;
constexpr double kCycleNanoseconds = 0.27;  // At 3.7 GHz, as the cycles were measured.

// A thread's part: a whole span, so that no place of one stays empty. Below two of them another
// thread costs more than it saves.
constexpr std::size_t kPart = kSpan * kBlock;
constexpr std::uint32_t kMaxThreads = 256;

inline std::uint32_t Checked(std::uint32_t threads) {
  if (threads >= 1 && threads <= kMaxThreads) return threads;
  throw Error(Error::Kind::kStack, std::to_string(threads) + " threads are asked for.",
              "the option 'threads'", "use 1 to " + std::to_string(kMaxThreads));
}

// x <= t goes left where x < the next float does.
inline float Threshold(const Node& node, const Faults& faults) {
  if (!faults.threshold_le) return node.threshold;
  return std::nextafterf(node.threshold, std::numeric_limits<float>::infinity());
}

struct Forest::Compiled {
  Compiled(const TreeTable& table, const Faults& faults, ForestOptions options)
      : kernel(KernelOf(options.isa)),
        pool(Checked(options.threads)),
        leaf_offsets(table.leaf_offsets.begin(), table.leaf_offsets.end()),
        weights(table.leaf_weights, table.leaf_offsets,
                faults.tree_limit == 0 ? table.num_trees() : faults.tree_limit),
        num_trees(table.num_trees()),
        num_features(table.num_features),
        slots(kernel.span.test != nullptr ? kSpanTests : kOneTests),
        quantiser(Thresholds(table, faults)) {
    std::vector<std::vector<TestedNode>> trees;
    for (std::uint32_t tree = 0; tree < num_trees; ++tree) {
      trees.push_back(Tested(table, faults, tree));
    }
    AddSlots(trees);
    large_trees.Finish(weights, leaf_offsets.data(), quantiser.num_planes());
    quantiser.ShowIn(&layout);
    slots.Show(&layout);
    block_bytes = std::max<std::size_t>(1, quantiser.num_planes()) * kBlock;
    AddRowTrees(std::move(trees));
    walk_below = options.walk_below != 0 ? options.walk_below : CheaperFrom();
    row_nanoseconds = static_cast<std::size_t>(RowCycles() * kCycleNanoseconds) + 1;
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

  void AddSlots(const std::vector<std::vector<TestedNode>>& trees) {
    const auto weights_of = [&](std::uint32_t tree) {
      return weights.fixed.data() + leaf_offsets[tree];
    };
    std::vector<std::uint32_t> deep;
    for (std::uint32_t tree = 0; tree < num_trees; ++tree) {
      if (!slots.AddSliced(tree, trees[tree], weights_of(tree))) deep.push_back(tree);
    }
    for (const std::uint32_t tree : deep) {
      if (!slots.AddUnits(tree, trees[tree], weights_of(tree))) large_trees.Add(tree, trees[tree]);
    }
  }

  // For one row at a time: the fastest way that suits all trees.
  void AddRowTrees(std::vector<std::vector<TestedNode>> trees) {
    columns.emplace(layout, quantiser.num_planes(), &of_row);
    std::uint32_t depth = 0;
    for (std::uint32_t tree = 0; tree < num_trees; ++tree) {
      for (TestedNode& node : trees[tree]) {
        if (!node.is_leaf) node.test.plane = columns->place(node.test.plane);
      }
      const std::uint32_t own = DepthOf(trees[tree]);
      num_steps += own;
      depth = std::max(depth, own);
    }
    if (kernel.row_sum != nullptr) {
      row_trees = RowTrees::From(trees, weights, leaf_offsets.data());
      if (row_trees) return row_trees->Show(&of_row);
    }
    if (depth <= LineWalk::kMaxDepth && 2 * of_row.padded <= LineWalk::kMaxPlanes) {
      lines.emplace(trees, weights, leaf_offsets.data());
      return;
    }
    for (std::uint32_t tree = 0; tree < num_trees; ++tree) walk.Add(tree, std::move(trees[tree]));
    walk.Finish(weights, leaf_offsets.data(), 2 * of_row.padded);
  }

  // Processor cycles of each part as measured on a Zen 4 (docs/scorer.md).
  double RowCycles() const {
    const auto count = static_cast<double>(num_trees);
    const double trees = of_row.num_trees > 0
                             ? count * (of_row.middles == nullptr ? 4.5 : 9.0)
                             : static_cast<double>(num_steps) * (lines ? 4.0 : 5.0) + 2.0 * count;
    return trees + static_cast<double>(layout.num_columns) * 6.0;
  }

  double BlockCycles() const {
    const bool tables = kernel.isa == Isa::kAvx512Vbmi;
    return static_cast<double>(slots.num_unit_nodes()) * (tables ? 1.6 : 3.0) +
           static_cast<double>(slots.slices().num_tests()) * (tables ? 1.0 : 5.0) +
           static_cast<double>(slots.slices().num_nodes()) * (tables ? 2.0 : 6.0) +
           static_cast<double>(slots.size()) * (tables ? 20.0 : 300.0) +
           static_cast<double>(layout.num_columns) * (tables ? 50.0 : 600.0);
  }

  // Rows from which a block is cheaper than as many one by one.
  std::size_t CheaperFrom() const {
    const double rows = std::ceil(BlockCycles() / RowCycles());
    return static_cast<std::size_t>(std::min(std::max(2.0, rows), double{kBlock}));
  }

  // Of a row that is scored by itself.
  std::int64_t RowSum(const std::uint8_t* codes) const {
    if (lines) return lines->Sum(codes);
    if (of_row.num_trees == 0) return walk.Sum(codes, 0);
    return kernel.row_sum(of_row, codes);
  }

  void RowLeaves(const std::uint8_t* codes, std::int32_t* leaves) const {
    if (lines) return lines->Leaves(codes, leaves);
    if (of_row.num_trees == 0) return walk.Leaves(codes, 0, leaves);
    std::uint8_t* ends =
        Room(&OwnScratch().ends, (std::size_t{num_trees} + kRowGroup - 1) / kRowGroup * kRowGroup);
    kernel.row_ends(of_row, codes, ends);
    row_trees->Leaves(ends, leaves);
  }

  // Calls on_row(row, codes) for rows that are walked, and on_blocks(first row, blocks, rows,
  // codes) for those that are evaluated together.
  template <typename OfRow, typename OfBlocks>
  void Split(const float* features, std::size_t rows, OfRow on_row, OfBlocks on_blocks) const {
    Scratch& scratch = OwnScratch();
    const std::size_t at_once = BlocksAtOnce();
    std::size_t in_blocks = 0;
    if (walk_below <= kBlock) {
      in_blocks = rows / kBlock * kBlock;
      // A place in a span that is used anyway costs a block's codes and weights alone.
      const bool span_has_place =
          kernel.span.test != nullptr && in_blocks / kBlock % at_once % kSpan >= kSpanFrom;
      if (rows - in_blocks >= (span_has_place ? walk_below / 8 : walk_below)) in_blocks = rows;
    }
    if (in_blocks > 0) {
      const std::size_t needed = std::min(at_once, (in_blocks + kBlock - 1) / kBlock);
      // A span's last blocks may lack rows: their codes mean nothing.
      std::uint8_t* codes =
          Room(&scratch.codes, (needed + kSpan - 1) / kSpan * kSpan * block_bytes);
      for (std::size_t row = 0; row < in_blocks; row += at_once * kBlock) {
        const std::size_t here = std::min(at_once * kBlock, in_blocks - row);
        const std::size_t blocks = (here + kBlock - 1) / kBlock;
        kernel.quantise(layout, features + row * num_features, here, codes, block_bytes);
        on_blocks(row, blocks, here, codes);
      }
    }
    if (in_blocks == rows) return;
    std::uint8_t* codes = Room(&scratch.codes, std::max(kRowCodes, 2 * std::size_t{of_row.padded}));
    for (std::size_t row = in_blocks; row < rows; ++row) {
      kernel.quantise_row(layout, of_row, features + row * num_features, codes);
      on_row(row, codes);
    }
  }

  // Whole spans, where their codes have room: one that is part empty takes as long as a full one.
  std::size_t BlocksAtOnce() const {
    const std::size_t room =
        std::min(kMaxBlocks, std::max<std::size_t>(1, kCodeBytes / block_bytes));
    return kernel.span.test != nullptr && room > kSpan ? room / kSpan * kSpan : room;
  }

  // The sums of `count` rows whose codes are in so many blocks.
  void SumBlocks(std::size_t blocks, std::size_t count, const std::uint8_t* codes,
                 float* sums) const {
    std::int64_t* totals = Room(&OwnScratch().sums, blocks * kBlock);
    std::fill(totals, totals + blocks * kBlock, slots.least_sum());
    ForBlocks(blocks, codes,
              [&](std::size_t b, std::uint32_t begin, std::uint32_t end, const std::uint8_t* ids) {
                kernel.accumulate(layout, begin, end, ids, totals + b * kBlock);
              });
    for (std::size_t row = 0; row < count; ++row) {
      std::int64_t total = totals[row];
      if (large_trees.num_trees() > 0) {
        total += large_trees.Sum(codes + row / kBlock * block_bytes + row % kBlock, 6);
      }
      sums[row] = weights.ToFloat(total);
    }
  }

  // Calls task(first row, rows) for parts of the rows, on all threads.
  template <typename Task>
  void Share(std::size_t rows, Task task) const {
    const std::size_t threads = pool.num_threads();
    if (threads == 1 || rows < 2 * kPart) return task(0, rows);
    // Whole spans, at least eight parts a thread: the last to finish is not waited for long.
    const std::size_t part = std::max<std::size_t>(1, rows / (8 * threads) / kPart) * kPart;
    pool.Run((rows + part - 1) / part,
             [&](std::size_t i) { task(i * part, std::min(part, rows - i * part)); });
  }

  // Calls use(block, first slot, end, ids), [slot - first, 64], until every block had every slot.
  template <typename Use>
  void ForBlocks(std::size_t blocks, const std::uint8_t* codes, Use use) const {
    std::uint8_t* ids = Room(&OwnScratch().ids, kSpan * kGroup * kBlock);
    for (std::size_t b = 0; b < blocks;) {
      const std::size_t left = blocks - b;
      const bool span = left >= kSpanFrom && kernel.span.test != nullptr;
      const std::size_t here = span ? std::min(kSpan, left) : 1;
      Slice(span ? kernel.span : kernel.one, span ? kSpan : 1, codes + b * block_bytes, ids,
            [&](std::uint32_t begin, std::uint32_t end) {
              for (std::size_t i = 0; i < here; ++i) {
                use(b + i, begin, end, ids + i * kGroup * kBlock);
              }
            });
      b += here;
    }
    for (std::uint32_t begin = slots.num_sliced(); begin < slots.size(); begin += kGroup) {
      const std::uint32_t end = std::min(begin + kGroup, slots.size());
      for (std::size_t b = 0; b < blocks; b += 2) {
        const bool two = b + 1 < blocks;
        const std::uint8_t* own = codes + b * block_bytes;
        kernel.evaluate(layout, begin, end, own, two ? own + block_bytes : nullptr, ids);
        use(b, begin, end, ids);
        if (two) use(b + 1, begin, end, ids + kGroup * kBlock);
      }
    }
  }

  // Calls done(first slot, end) when `ids` holds those of so many sliced slots, for `width` blocks.
  template <typename Done>
  void Slice(const Slicer& slicer, std::size_t width, const std::uint8_t* codes, std::uint8_t* ids,
             Done done) const {
    std::uint64_t* bits =
        Room(&OwnScratch().bits, (slots.slices().most_tests() + kTestChunk) * width);
    for (std::uint32_t g = 0; g < layout.num_groups; ++g) {
      const TestGroup& group = layout.groups[g];
      slicer.test(layout, group, codes, block_bytes, bits);
      for (std::uint32_t begin = group.begin; begin < group.end; begin += kGroup) {
        const std::uint32_t end = std::min(begin + static_cast<std::uint32_t>(kGroup), group.end);
        slicer.slice(layout, begin, end, bits, ids);
        done(begin, end);
      }
    }
  }

  const Kernel& kernel;
  mutable Pool pool;                        // Makes its own calls safe.
  std::vector<std::uint32_t> leaf_offsets;  // [tree + 1]
  LeafWeights weights;
  std::uint32_t num_trees;
  std::uint32_t num_features;
  Slots slots;
  Quantiser quantiser;
  Walk walk;                      // All trees, unless a faster way is there for them.
  std::optional<LineWalk> lines;  // Where all are shallow, and row_trees is not used.
  Walk large_trees;               // Those without a slot.
  std::optional<RowColumns> columns;
  std::optional<RowTrees> row_trees;
  RowLayout of_row{};
  std::uint64_t num_steps = 0;  // Of a walk through all trees.
  std::size_t block_bytes = 0;
  std::size_t walk_below = 0;
  std::size_t row_nanoseconds = 0;
  Layout layout{};
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_FOREST_COMPILED_H_
