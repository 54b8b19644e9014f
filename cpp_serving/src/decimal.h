// Decimal text to the nearest value, the same in every locale.
#ifndef CPP_SERVING_SRC_DECIMAL_H_
#define CPP_SERVING_SRC_DECIMAL_H_

#include <cstdint>
#include <string_view>

namespace cpp_serving {

// All of `text`; false where it is no number. Also reads nan, inf and infinity in any case, and
// what is too large for the type as infinite, too small as zero.
bool ParseFloat(std::string_view text, float* value);
bool ParseDouble(std::string_view text, double* value);
// All of `text`; false where it is no whole number that an int64 holds.
bool ParseInteger(std::string_view text, std::int64_t* value);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_DECIMAL_H_
