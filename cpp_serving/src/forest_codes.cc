// Codes of some of the features: made once for candidates that come again, and shared by a request.
#include <cstring>

#include "forest_compiled.h"

namespace cpp_serving {
namespace {

// Eight rows of eight bytes to eight columns, in one register each: three rounds of exchanges.
void Transpose8(const std::uint8_t* rows, std::size_t stride, std::uint8_t* columns,
                std::size_t column_stride) {
  std::uint64_t x[8];
  for (std::size_t i = 0; i < 8; ++i) std::memcpy(&x[i], rows + i * stride, 8);
  constexpr std::uint64_t kMasks[] = {0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF, 0x00000000FFFFFFFF};
  for (std::size_t round = 0; round < 3; ++round) {
    const std::size_t apart = std::size_t{1} << round;
    const std::size_t shift = 8 * apart;
    for (std::size_t i = 0; i < 8; ++i) {
      if ((i & apart) != 0) continue;
      std::uint64_t& a = x[i];
      std::uint64_t& b = x[i + apart];
      const std::uint64_t exchanged = (a >> shift ^ b) & kMasks[round];
      b ^= exchanged;
      a ^= exchanged << shift;
    }
  }
  for (std::size_t i = 0; i < 8; ++i) std::memcpy(columns + i * column_stride, &x[i], 8);
}

}  // namespace

class Forest::Part {
 public:
  Part(const Layout& whole, const std::vector<std::uint32_t>& features) : layout(whole) {
    for (std::uint32_t c = 0; c < whole.num_columns; ++c) {
      Column column = whole.columns[c];
      const auto found = std::find(features.begin(), features.end(), column.feature);
      if (found == features.end()) continue;
      column.feature = static_cast<std::uint32_t>(found - features.begin());
      for (const std::int32_t plane : {column.plane_left, column.plane_right}) {
        if (plane != kNoPlane) planes.push_back(static_cast<std::uint32_t>(plane));
      }
      columns.push_back(column);
    }
    layout.columns = columns.data();
    layout.num_columns = static_cast<std::uint32_t>(columns.size());
    layout.num_features = static_cast<std::uint32_t>(features.size());
  }

  std::vector<Column> columns;        // The features are the part's.
  std::vector<std::uint32_t> planes;  // [code]
  Layout layout;
};

std::shared_ptr<const Forest::Part> Forest::PartOf(
    const std::vector<std::uint32_t>& features) const {
  return std::make_shared<const Part>(compiled_->layout, features);
}

std::size_t Forest::NumCodes(const Part& part) { return part.planes.size(); }

void Forest::Quantise(const Part& part, const float* features, std::size_t rows,
                      std::uint8_t* codes, std::size_t stride) const {
  const Compiled& forest = *compiled_;
  const std::size_t width = part.planes.size();
  if (part.columns.empty()) return;
  std::uint8_t* block = Room(&OwnScratch().codes, forest.block_bytes);
  for (std::size_t first = 0; first < rows; first += kBlock) {
    const std::size_t here = std::min(kBlock, rows - first);
    forest.kernel.quantise(part.layout, features + first * part.layout.num_features, here, block,
                           forest.block_bytes);
    for (std::size_t row = 0; row < here; ++row) {
      for (std::size_t code = 0; code < width; ++code) {
        codes[(first + row) * stride + code] = block[part.planes[code] * kBlock + row];
      }
    }
  }
}

void Forest::LeafSumsOfCodes(const Part& shared, const std::uint8_t* shared_codes, const Part& own,
                             const std::uint8_t* codes, std::size_t stride, std::size_t rows,
                             float* sums) const {
  const Compiled& forest = *compiled_;
  const std::size_t width = own.planes.size();
  const std::size_t at_once =
      std::min(kMaxBlocks, std::max<std::size_t>(1, kCodeBytes / forest.block_bytes));
  std::uint8_t* blocks =
      Room(&OwnScratch().codes, (at_once + kSpan - 1) / kSpan * kSpan * forest.block_bytes);
  // What is shared is the same in every block, and is laid out once.
  for (std::size_t b = 0; b < std::min(at_once, (rows + kBlock - 1) / kBlock); ++b) {
    for (std::size_t code = 0; code < shared.planes.size(); ++code) {
      std::memset(blocks + b * forest.block_bytes + shared.planes[code] * kBlock,
                  shared_codes[code], kBlock);
    }
  }
  std::uint8_t turned[64];
  for (std::size_t first = 0; first < rows; first += at_once * kBlock) {
    const std::size_t here = std::min(at_once * kBlock, rows - first);
    for (std::size_t row = 0; row < here; row += 8) {
      const std::uint8_t* from = codes + (first + row) * stride;
      std::uint8_t* block = blocks + row / kBlock * forest.block_bytes + row % kBlock;
      std::size_t code = 0;
      for (; here - row >= 8 && code + 8 <= width; code += 8) {
        Transpose8(from + code, stride, turned, 8);
        for (std::size_t i = 0; i < 8; ++i) {
          std::memcpy(block + own.planes[code + i] * kBlock, turned + 8 * i, 8);
        }
      }
      for (; code < width; ++code) {
        for (std::size_t i = 0; i < std::min<std::size_t>(8, here - row); ++i) {
          block[own.planes[code] * kBlock + i] = from[i * stride + code];
        }
      }
    }
    forest.SumBlocks((here + kBlock - 1) / kBlock, here, blocks, sums + first);
  }
}

}  // namespace cpp_serving
