// Sparse ids and their codes: one look, mostly, where a search of the list takes six and more.
#ifndef CPP_SERVING_ID_TABLE_H_
#define CPP_SERVING_ID_TABLE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpp_serving/span.h"

namespace cpp_serving {

class IdTable {
 public:
  IdTable() = default;
  // `ids` are distinct, ascending, and outlive the table.
  explicit IdTable(const Span<std::int64_t>& ids) : ids_(ids) {
    std::size_t size = 16;
    while (size < 4 * ids.size) {
      size *= 2;
      --shift_;
    }
    slots_.assign(size, {0, 0});
    for (std::size_t i = 0; i < ids.size; ++i) {
      std::size_t at = Start(ids[i]);
      std::size_t looks = 0;
      while (slots_[at].code != 0 && ++looks < kMostLooks) at = (at + 1) & (size - 1);
      if (looks == kMostLooks) {
        slots_.clear();
        return;
      }
      slots_[at] = {ids[i], static_cast<std::int32_t>(i + 1)};
    }
  }

  // 1 + the id's place in the list, or 0.
  std::int32_t CodeOf(std::int64_t id) const {
    if (slots_.empty()) return Searched(id);
    for (std::size_t at = Start(id);; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].id == id || slots_[at].code == 0) return slots_[at].code;
    }
  }

 private:
  struct Slot {
    std::int64_t id;
    std::int32_t code;  // 0: empty.
  };
  // Only ids that were made to collide need so many, of slots of which three in four are empty:
  // then the list is searched.
  static constexpr std::size_t kMostLooks = 64;

  // The upper bits of a product with 2^64 / the golden ratio (Knuth 6.4).
  std::size_t Start(std::int64_t id) const {
    return static_cast<std::size_t>(static_cast<std::uint64_t>(id) * 0x9E3779B97F4A7C15u >> shift_);
  }
  std::int32_t Searched(std::int64_t id) const {
    const std::int64_t* found = std::lower_bound(ids_.begin(), ids_.end(), id);
    if (found == ids_.end() || *found != id) return 0;
    return static_cast<std::int32_t>(1 + (found - ids_.begin()));
  }

  Span<std::int64_t> ids_;
  int shift_ = 60;  // 64 - log2 of the slots.
  std::vector<Slot> slots_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_ID_TABLE_H_
