// Text as UTF-8.
#ifndef CPP_SERVING_SRC_UTF8_H_
#define CPP_SERVING_SRC_UTF8_H_

#include <cstdint>
#include <string>

namespace cpp_serving {

// Also no overlong forms, no surrogates.
bool IsUtf8(const std::string& text);

// Appends a code point up to 0x10FFFF; of a surrogate, bytes that are not UTF-8.
void AppendUtf8(std::uint32_t point, std::string* text);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_UTF8_H_
