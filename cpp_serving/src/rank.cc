#include "cpp_serving/rank.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "cpp_serving/error.h"

namespace cpp_serving {
namespace {

struct KeyedRow {
  std::uint64_t key;
  std::uint32_t place;
};

// Falls while the value rises: equal for equal values (both zeros), the largest for every NaN.
inline std::uint64_t FallingKey(double value) {
  if (value != value) return ~std::uint64_t{0};
  const double plain = value + 0.0;  // -0 becomes 0.
  std::uint64_t bits;
  std::memcpy(&bits, &plain, sizeof bits);
  // Positive floats rise with their bits, negative ones fall.
  return bits >> 63 != 0 ? bits : ~bits & ~(std::uint64_t{1} << 63);
}

// Rows by rising key, byte by byte from the lowest: a comparison of random values is guessed wrong
// half of the time, and 500 rows take some 4,500 of them.
struct Order {
  static constexpr std::size_t kFewRows = 64;  // Up to here comparing is faster.

  void Sort() {
    if (rows.size() <= kFewRows) {
      std::sort(rows.begin(), rows.end(),
                [](const KeyedRow& a, const KeyedRow& b) { return a.key < b.key; });
      return;
    }
    std::uint64_t all = 0;  // Bits in which keys differ.
    for (const KeyedRow& row : rows) all |= row.key ^ rows[0].key;
    other.resize(rows.size());
    for (int shift = 0; shift < 64; shift += 8) {
      if ((all >> shift & 0xFF) == 0) continue;
      std::array<std::uint32_t, 257> begins{};
      for (const KeyedRow& row : rows) ++begins[(row.key >> shift & 0xFF) + 1];
      for (std::size_t i = 1; i < begins.size(); ++i) begins[i] += begins[i - 1];
      for (const KeyedRow& row : rows) other[begins[row.key >> shift & 0xFF]++] = row;
      rows.swap(other);
    }
  }

  std::vector<KeyedRow> rows;
  std::vector<KeyedRow> other;
};

}  // namespace

Ranker::Ranker(const Records& records) : records_(records), ad_id_(records.At("candidate.ad_id")) {
  const auto refuse = [](const std::string& what) {
    throw Error(Error::Kind::kLog, what, "field 'candidate.ad_id'",
                "every candidate has an ad_id, int64 or text");
  };
  if (ad_id_.type != ValueType::kInt64 && ad_id_.type != ValueType::kUtf8) {
    refuse(std::string("ad ids can not be ") + NameOf(ad_id_.type) + ".");
  }
  for (std::int64_t row = 0; row < records.num_candidates(); ++row) {
    if (ad_id_.IsNull(row)) refuse("candidate row " + std::to_string(row) + " has no ad_id.");
  }
}

bool Ranker::AdBefore(std::int64_t a, std::int64_t b) const {
  return ad_id_.type == ValueType::kInt64 ? ad_id_.Int64(a) < ad_id_.Int64(b)
                                          : ad_id_.Text(a) < ad_id_.Text(b);
}

template <typename T>
void Ranker::Rank(const T* value, std::int32_t* rank) const {
  static thread_local Order order;  // Kept, so that calls allocate nothing.
  for (std::int64_t request = 0; request < records_.num_requests(); ++request) {
    const std::int64_t begin = records_.CandidateBegin(request);
    const auto count = static_cast<std::size_t>(records_.CandidateBegin(request + 1) - begin);
    order.rows.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      order.rows[i] = {FallingKey(value[begin + static_cast<std::int64_t>(i)]),
                       static_cast<std::uint32_t>(i)};
    }
    order.Sort();
    for (std::size_t first = 0; first < count;) {
      std::size_t end = first + 1;
      while (end < count && order.rows[end].key == order.rows[first].key) ++end;
      const auto row = [&](std::size_t i) { return begin + order.rows[i].place; };
      if (end - first > 1) {
        std::sort(order.rows.begin() + static_cast<std::ptrdiff_t>(first),
                  order.rows.begin() + static_cast<std::ptrdiff_t>(end),
                  [&](const KeyedRow& a, const KeyedRow& b) {
                    if (AdBefore(begin + a.place, begin + b.place)) return true;
                    if (AdBefore(begin + b.place, begin + a.place)) return false;
                    return a.place < b.place;
                  });
      }
      for (; first < end; ++first) rank[row(first)] = static_cast<std::int32_t>(first);
    }
  }
}

template void Ranker::Rank<float>(const float*, std::int32_t*) const;
template void Ranker::Rank<double>(const double*, std::int32_t*) const;

}  // namespace cpp_serving
