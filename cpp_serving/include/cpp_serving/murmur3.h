// MurmurHash3 x86 32 of bytes, as Austin Appleby published it (public domain).
#ifndef CPP_SERVING_MURMUR3_H_
#define CPP_SERVING_MURMUR3_H_

#include <cstdint>
#include <string_view>

namespace cpp_serving {

std::uint32_t Murmur3(std::string_view bytes, std::uint32_t seed);

}  // namespace cpp_serving

#endif  // CPP_SERVING_MURMUR3_H_
