// What features are made of again and again, kept: logarithms of counts, and a request's hashes.
#ifndef CPP_SERVING_SRC_KEPT_VALUES_H_
#define CPP_SERVING_SRC_KEPT_VALUES_H_

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace cpp_serving {

// log1p of counts, which are small mostly: the library's own values, kept.
class LogOfCounts {
 public:
  LogOfCounts() {
    for (std::size_t i = 0; i < values_.size(); ++i)
      values_[i] = std::log1p(static_cast<double>(i));
  }

  // x is not negative.
  double Of(double x) const {
    if (!(x < static_cast<double>(values_.size()))) return std::log1p(x);
    const auto whole = static_cast<std::size_t>(x);
    return static_cast<double>(whole) == x ? values_[whole] : std::log1p(x);
  }

 private:
  std::array<double, 2048> values_;  // Half of a first-level cache.
};

inline const LogOfCounts& CountLogs() {
  static const LogOfCounts logs;
  return logs;
}

// The hashes of a request's latest integers: candidates have groups and categories in common, and a
// text and its hash take ten times as long as a look.
class RecentHashes {
 public:
  template <typename Make>
  std::int64_t Of(std::int64_t request, std::int64_t value, Make make) {
    if (request != request_) Forget(request);
    Slot& slot = slots_[static_cast<std::uint64_t>(value) * 0x9E3779B97F4A7C15u >> 56];
    if (slot.hash == kNone || slot.value != value) slot = {value, make()};
    return slot.hash;
  }
  void Forget(std::int64_t request) {
    request_ = request;
    slots_.fill({0, kNone});
  }

 private:
  static constexpr std::int64_t kNone = -1;  // Hashes are not negative.
  struct Slot {
    std::int64_t value;
    std::int64_t hash;
  };
  std::int64_t request_ = -1;
  std::array<Slot, 256> slots_;  // 4 KiB
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_KEPT_VALUES_H_
