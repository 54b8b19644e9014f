// What a kernel reads and does. Plain data only: the kernels' files are compiled for instruction
// sets that this processor may not have, so they may not instantiate anything that is linked
// elsewhere (no standard containers, no inline functions with external linkage).
#ifndef CPP_SERVING_SRC_KERNELS_H_
#define CPP_SERVING_SRC_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "cpp_serving/forest.h"

namespace cpp_serving {

// Rows are evaluated in blocks of this many, a bit of a word each.
constexpr std::size_t kBlock = 64;
// Sliced trees are evaluated for one block or for so many together.
constexpr std::size_t kSpan = 8;
constexpr std::uint32_t kMaxSliceDepth = 8;  // Their ids fit a byte.
constexpr std::uint32_t kTestChunk = 8;      // Tests of a plane whose bits are written together.
// Trees whose leaf ids of a block are kept together; at most 257, so that a sum of as many bytes
// fits 16 bits, and few enough that ids and programs stay in the second-level cache.
constexpr std::uint32_t kGroup = 64;

constexpr std::size_t kCells = 256;       // Cells of a column's byte tables: the key's high byte.
constexpr std::size_t kFineCells = 1024;  // Cells of its scalar table: the key's highest 10 bits.
constexpr std::uint32_t kMaxRounds = 16;  // Above, a column is quantised value by value.
constexpr std::int32_t kNoPlane = -1;

// Up to 255 thresholds of one feature, ascending, and how a value's code (the number of thresholds
// that are <= it) is found. A value has a 16-bit key that never falls while the value rises. The
// thresholds whose key has the high byte h are those from base[h] on; the r-th of them has the low
// byte low[r][h]. Where keys are equal, the floats themselves are compared, except in a column
// that is `exact`: there each threshold is the smallest float of its key.
struct Column {
  std::uint32_t feature;
  std::uint32_t num_thresholds;
  std::int32_t plane_left;   // Where a missing value has code 0, and goes left; or kNoPlane.
  std::int32_t plane_right;  // Where it has code 255, and goes right; or kNoPlane.
  std::uint32_t linear;      // The key is floor(x * scale) - first, else (bits - first) >> shift.
  float scale;
  float lowest;  // Bounds of x * scale.
  float highest;
  std::uint32_t first;
  std::uint32_t shift;
  std::uint32_t exact;
  std::uint32_t rounds;       // Most thresholds with one high byte.
  std::uint32_t fine_rounds;  // Most thresholds in one cell of the scalar table.
  std::uint32_t thresholds;   // Places in the pools of Layout.
  std::uint32_t tables;       // [1 + rounds, 256]: base, then low
  std::uint32_t fine;         // [1024]: thresholds below the cell
};

// The tests that a group of sliced trees has of one plane: code > bound goes right. The group's
// bits are [test, block], a word a block.
struct TestedPlane {
  std::uint32_t plane;
  std::uint32_t first_test;  // Of the group.
  std::uint32_t num_tests;   // At most 255, bounds ascending.
  std::uint32_t bounds;      // Place in Layout's.
};

struct TestGroup {
  std::uint32_t begin;  // Slots.
  std::uint32_t end;
  std::uint32_t first_plane;
  std::uint32_t end_plane;
  std::uint32_t num_tests;
};

// The trees that are evaluated in blocks ("slots") and what they are made of.
//
// A block's codes are [plane, 64]. The first slots are sliced: a slot's nodes, depth first (itself,
// left, right) and all 2^depth - 1 of them, name tests of its group; a row's id is its way from the
// root, a bit a level, right being 1.
//
// The others are trees that are too deep for that. Such a slot's program is a sequence of units,
// each a subtree of one to three levels whose every node is compared for all rows of the block:
//   word 0      kind | place of the result << 8 | first id << 16
//   then        2^height - 1 nodes in heap order: code bound (in all four bytes), plane * 64;
//               code > bound goes right
//   then        kinds 4 to 6: 2^height places of results, a byte each
// Kinds 0 to 3 end in leaves, ids first id + 0, 1, ...; kinds 4 to 6 (height kind - 3) end in other
// units' results. The last unit's result is the slot's.
struct Layout {
  const Column* columns;
  const float* thresholds;  // Of each column, then kMaxRounds NaNs.
  const std::uint8_t* tables;
  const std::uint8_t* fine;
  const TestGroup* groups;
  const TestedPlane* tested_planes;
  const std::uint8_t* ranks;  // [tested plane, 256]: the number of bounds below a code
  const std::uint8_t* bounds;
  const std::uint16_t* sliced_nodes;
  const std::uint32_t* sliced_at;        // [sliced slot]
  const std::uint8_t* depths;            // [sliced slot]
  const std::uint32_t* program;          // From here on by slot, sliced ones without program.
  const std::uint32_t* program_at;       // [slot]
  const std::uint32_t* num_units;        // [slot]
  const std::uint32_t* num_ids;          // [slot]: 64, 128 or 256
  const std::uint8_t* weight_bytes;      // Of each slot: [byte of the weight, id]
  const std::uint32_t* weight_bytes_at;  // [slot]
  const std::int64_t* weights;           // [slot, 256]; not negative, below 2^(8 * num_bytes)
  std::uint32_t num_groups;
  std::uint32_t num_columns;
  std::uint32_t num_features;
  std::uint32_t num_bytes;
};

// One row's trees in parts of three levels: bytes of eight trees' first parts, of a middle part, of
// a line (a lowest part with its weights), of a weight; and a tree's middle parts.
constexpr std::size_t kRowGroup = 8;
constexpr std::size_t kRowTop = 128;
constexpr std::size_t kRowMiddle = 16;
constexpr std::size_t kRowMiddles = 4;
constexpr std::size_t kRowLine = 64;
constexpr std::size_t kRowWeights = 16;  // Where they start in a line.
constexpr std::size_t kRowWeight = 6;
constexpr std::size_t kRowCodes = 1024;  // Those that are loaded, at most.

// Thresholds of one column whose keys have the same highest bits, and the number of lower ones.
constexpr std::uint32_t kMostInCell = 15;
struct alignas(64) RowCell {
  float thresholds[kMostInCell];  // Ascending, then NaN.
  std::uint32_t below;
};

// For one row at a time: the columns' parameters side by side (row_columns.h), and, where no tree
// is deeper than eight levels and codes have at most 1,024 places, the trees in parts
// (row_trees.h).
struct RowLayout {
  std::uint32_t padded;           // Columns, padded to a multiple of 64; two codes each.
  std::uint32_t in_order;         // Columns before this one are of features 0, 1, 2, ...
  const std::uint32_t* features;  // [padded column]
  const float* scales;
  const float* lowests;
  const float* highests;
  const std::uint32_t* firsts;
  const std::uint32_t* shifts;
  const std::uint32_t* cell_shifts;  // From a key to its cell, counted from the column's first.
  const std::uint32_t* first_cells;
  const std::uint8_t* linears;  // A bit each.
  const RowCell* cells;
  const std::uint32_t* crowded;  // Columns that have more thresholds in a cell.
  std::uint32_t num_crowded;
  std::uint32_t num_trees;   // 0 where the trees or places are too many or too large.
  std::uint32_t num_places;  // Of codes, those that a tree tests.
  // A part is places of codes [8] and bounds [8], of seven nodes in heap order; right is code >
  // bound. Bit 8 of the nodes' places, a bit each, is the eighth byte of the places; bit 9 that of
  // the bounds.
  const std::uint8_t* tops;     // [eight trees]: places [tree, 8], then bounds [tree, 8]
  const std::uint8_t* middles;  // [tree, 4, 16]; or null: lines follow on the tops.
  // [tree, 8 or 32, 64]: a part, then weights [8] of 48 bits, the lowest byte first.
  const std::uint8_t* lines;
};

// The two steps of sliced trees, for one block or kSpan.
struct Slicer {
  // The codes of block b are at codes + b * block_bytes; `bits` is filled, [test, block], and has
  // room for kTestChunk tests more. The order of a word's bits is the kernel's own.
  void (*test)(const Layout& layout, const TestGroup& group, const std::uint8_t* codes,
               std::size_t block_bytes, std::uint64_t* bits);
  // Fills [slot - begin, 64] at ids + b * kGroup * 64 for each block b. At most kGroup slots.
  void (*slice)(const Layout& layout, std::uint32_t begin, std::uint32_t end,
                const std::uint64_t* bits, std::uint8_t* ids);
};

// How one instruction set does the steps of a block, and the two of a row.
struct Kernel {
  Isa isa;
  Slicer one;
  Slicer span;
  // `rows` is [row, feature], at least one; their codes are [block, plane, 64], blocks being
  // `block_bytes` apart. The codes of rows that the last block lacks mean nothing.
  void (*quantise)(const Layout& layout, const float* rows, std::size_t num_rows,
                   std::uint8_t* codes, std::size_t block_bytes);
  // `ids` is filled, [slot - begin, 64], and ids + kGroup * 64 from the codes of another block,
  // unless that is null. At most kGroup slots.
  void (*evaluate)(const Layout& layout, std::uint32_t begin, std::uint32_t end,
                   const std::uint8_t* codes, const std::uint8_t* others, std::uint8_t* ids);
  // Adds the weights of at most kGroup slots' ids to sums[64].
  void (*accumulate)(const Layout& layout, std::uint32_t begin, std::uint32_t end,
                     const std::uint8_t* ids, std::int64_t* sums);
  // `codes` has room for kRowCodes, and for two of each padded column.
  void (*quantise_row)(const Layout& layout, const RowLayout& of_row, const float* row,
                       std::uint8_t* codes);
  // Of the trees of RowLayout: the sum of the row's weights, and the ends it reaches, [tree] with
  // room up to a multiple of 8: line * 8 + leaf. Null: trees are walked.
  std::int64_t (*row_sum)(const RowLayout& of_row, const std::uint8_t* codes);
  void (*row_ends)(const RowLayout& of_row, const std::uint8_t* codes, std::uint8_t* ends);
};

extern const Kernel kScalarKernel;
#if defined(CPP_SERVING_X86_64)
extern const Kernel kAvx2Kernel;
extern const Kernel kAvx512BwKernel;
extern const Kernel kAvx512VbmiKernel;
#endif

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_KERNELS_H_
