#include "decimal.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <system_error>

namespace cpp_serving {
namespace {

// Of a number that a type can not hold: whether it is too small rather than too large.
bool IsTiny(std::string_view text) {
  const std::size_t e = std::min(text.find_first_of("eE"), text.size());
  const std::string_view digits = text.substr(0, e);
  const std::size_t point = std::min(digits.find('.'), digits.size());
  const std::size_t first = std::min(digits.find_first_of("123456789"), digits.size());
  // The number is 0.d * 10^place, before its exponent.
  const auto place =
      static_cast<std::int64_t>(point) - static_cast<std::int64_t>(first) + (first > point ? 1 : 0);
  std::int64_t exponent = 0;
  std::string_view written = text.substr(std::min(e + 1, text.size()));
  if (!written.empty() && written[0] == '+') written.remove_prefix(1);
  if (!written.empty() && !ParseInteger(written, &exponent)) return written[0] == '-';
  constexpr std::int64_t kFar = 100000;  // Beyond any float64, and safe to add to.
  return place + std::max(-kFar, std::min(kFar, exponent)) < 0;
}

template <typename T>
bool Parse(std::string_view text, T* value) {
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, *value);
  if (stopped != end) return false;
  if (error == std::errc::invalid_argument) return false;
  if (error == std::errc::result_out_of_range) {
    const T size = IsTiny(text) ? T{0} : std::numeric_limits<T>::infinity();
    *value = text[0] == '-' ? -size : size;
  }
  return true;
}

}  // namespace

bool ParseFloat(std::string_view text, float* value) { return Parse(text, value); }

bool ParseDouble(std::string_view text, double* value) { return Parse(text, value); }

bool ParseInteger(std::string_view text, std::int64_t* value) {
  const auto [stopped, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && stopped == text.data() + text.size();
}

}  // namespace cpp_serving
