#include "cpp_serving/murmur3.h"

#include <cstddef>
#include <cstring>

namespace cpp_serving {
namespace {

constexpr std::uint32_t kC1 = 0xCC9E2D51u;
constexpr std::uint32_t kC2 = 0x1B873593u;

constexpr std::uint32_t Rotate(std::uint32_t x, int by) { return (x << by) | (x >> (32 - by)); }

constexpr std::uint32_t Scramble(std::uint32_t block) { return Rotate(block * kC1, 15) * kC2; }

}  // namespace

std::uint32_t Murmur3(std::string_view bytes, std::uint32_t seed) {
  std::uint32_t hash = seed;
  const std::size_t whole = bytes.size() / 4 * 4;
  for (std::size_t i = 0; i < whole; i += 4) {
    std::uint32_t block;
    std::memcpy(&block, bytes.data() + i, 4);
    hash = Rotate(hash ^ Scramble(block), 13) * 5 + 0xE6546B64u;
  }
  std::uint32_t tail = 0;
  for (std::size_t i = bytes.size(); i > whole; --i) {
    tail = (tail << 8) | static_cast<unsigned char>(bytes[i - 1]);
  }
  hash ^= Scramble(tail);
  hash ^= static_cast<std::uint32_t>(bytes.size());
  hash = (hash ^ (hash >> 16)) * 0x85EBCA6Bu;
  hash = (hash ^ (hash >> 13)) * 0xC2B2AE35u;
  return hash ^ (hash >> 16);
}

}  // namespace cpp_serving
