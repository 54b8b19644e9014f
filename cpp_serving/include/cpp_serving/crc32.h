// CRC-32 as zlib computes it (reflected polynomial 0xEDB88320).
#ifndef CPP_SERVING_CRC32_H_
#define CPP_SERVING_CRC32_H_

#include <cstddef>
#include <cstdint>

namespace cpp_serving {

// The checksum of `size` bytes; `crc` continues an earlier part, as zlib.crc32(data, crc) does.
std::uint32_t Crc32(const void* data, std::size_t size, std::uint32_t crc = 0);

}  // namespace cpp_serving

#endif  // CPP_SERVING_CRC32_H_
