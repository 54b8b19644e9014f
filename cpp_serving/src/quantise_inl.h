// A value's key and code, one value at a time; the meaning that the vector kernels reproduce. Every
// function is static: each kernel's file has its own, compiled for its own instruction set.
#ifndef CPP_SERVING_SRC_QUANTISE_INL_H_
#define CPP_SERVING_SRC_QUANTISE_INL_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace cpp_serving {
namespace {

// Rises with the value; -0 and +0 are one.
[[maybe_unused]] inline std::uint32_t MonotoneBits(float x) {
  const float positive_zero = x + 0.0f;
  std::uint32_t bits;
  std::memcpy(&bits, &positive_zero, sizeof bits);
  return bits ^ ((bits & 0x80000000u) != 0 ? 0xFFFFFFFFu : 0x80000000u);
}

// Of a value that is not missing.
[[maybe_unused]] inline std::uint32_t Key(const Column& column, float x) {
  if (column.linear != 0) {
    float y = x * column.scale;
    y = y > column.lowest ? y : column.lowest;
    y = y < column.highest ? y : column.highest;
    std::int32_t whole = static_cast<std::int32_t>(y);
    whole -= y < static_cast<float>(whole) ? 1 : 0;
    const std::int32_t key = whole - static_cast<std::int32_t>(column.first);
    return key < 0 ? 0u : key > 0xFFFF ? 0xFFFFu : static_cast<std::uint32_t>(key);
  }
  const std::uint32_t bits = MonotoneBits(x);
  const std::uint32_t key =
      ((bits > column.first ? bits : column.first) - column.first) >> column.shift;
  return key > 0xFFFFu ? 0xFFFFu : key;
}

// By the floats alone: the number of thresholds <= x.
[[maybe_unused]] inline std::uint8_t ExactCode(const Layout& layout, const Column& column,
                                               float x) {
  const float* thresholds = layout.thresholds + column.thresholds;
  std::uint32_t low = 0;
  std::uint32_t count = column.num_thresholds;
  while (count > 0) {
    const std::uint32_t half = count / 2;
    const bool beyond = x >= thresholds[low + half];
    low += beyond ? half + 1 : 0;
    count = beyond ? count - half - 1 : half;
  }
  return static_cast<std::uint8_t>(low);
}

// From the thresholds that are known to be <= x to all of them. Past the last stands NaN.
[[maybe_unused]] inline std::uint8_t Counted(const float* thresholds, std::uint8_t known, float x) {
  while (x >= thresholds[known]) ++known;
  return known;
}

[[maybe_unused]] inline std::uint8_t Code(const Layout& layout, const Column& column, float x) {
  if (column.fine_rounds > kMaxRounds) return ExactCode(layout, column, x);
  const float* thresholds = layout.thresholds + column.thresholds;
  std::uint32_t code = layout.fine[column.fine + (Key(column, x) >> 6)];
  for (std::uint32_t round = 0; round < column.fine_rounds; ++round) {
    code += x >= thresholds[code] ? 1 : 0;  // Past the last threshold stands NaN.
  }
  return static_cast<std::uint8_t>(code);
}

// Column by column, so that a column's tables are fetched once for all rows.
[[maybe_unused]] void QuantiseRows(const Layout& layout, const float* rows, std::size_t num_rows,
                                   std::uint8_t* codes, std::size_t block_bytes) {
  for (std::uint32_t c = 0; c < layout.num_columns; ++c) {
    const Column& column = layout.columns[c];
    const float* values = rows + column.feature;
    for (std::size_t begin = 0; begin < num_rows; begin += kBlock) {
      const std::size_t count = num_rows - begin < kBlock ? num_rows - begin : kBlock;
      std::uint8_t found[kBlock];
      std::uint8_t missing[kBlock];
      for (std::size_t row = 0; row < count; ++row) {
        const float x = values[(begin + row) * layout.num_features];
        missing[row] = x != x ? 255 : 0;
        found[row] = x != x ? 0 : Code(layout, column, x);
      }
      std::uint8_t* block = codes + begin / kBlock * block_bytes;
      if (column.plane_left != kNoPlane) {
        std::uint8_t* out = block + static_cast<std::size_t>(column.plane_left) * kBlock;
        for (std::size_t row = 0; row < count; ++row) out[row] = found[row];
      }
      if (column.plane_right != kNoPlane) {
        std::uint8_t* out = block + static_cast<std::size_t>(column.plane_right) * kBlock;
        for (std::size_t row = 0; row < count; ++row) out[row] = found[row] | missing[row];
      }
    }
  }
}

[[maybe_unused]] void QuantiseRow(const Layout& layout, const RowLayout& of_row, const float* row,
                                  std::uint8_t* codes) {
  for (std::uint32_t i = 0; i < layout.num_columns; ++i) {
    const Column& column = layout.columns[i];
    const float x = row[column.feature];
    const bool missing = x != x;
    const std::uint8_t code = missing ? 0 : Code(layout, column, x);
    codes[i] = code;
    codes[of_row.padded + i] = missing ? 255 : code;
  }
}

}  // namespace
}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_QUANTISE_INL_H_
