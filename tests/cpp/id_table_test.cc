// Ids are found by their table as by a search of the list, also where they were made to collide.
#include "cpp_serving/id_table.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "check.h"

using cpp_serving::IdTable;

namespace {

void CheckFinds(const std::vector<std::int64_t>& ids) {
  const IdTable table({ids.data(), ids.size()});
  std::vector<std::int64_t> asked{-1, 0, 1, std::numeric_limits<std::int64_t>::max()};
  for (const std::int64_t id : ids) {
    asked.push_back(id);
    asked.push_back(id + (id < std::numeric_limits<std::int64_t>::max() ? 1 : 0));
    asked.push_back(id - 1);
  }
  for (const std::int64_t id : asked) {
    const auto found = std::lower_bound(ids.begin(), ids.end(), id);
    const auto place = static_cast<std::int32_t>(found - ids.begin());
    CHECK(table.CodeOf(id) == (found != ids.end() && *found == id ? place + 1 : 0));
  }
}

}  // namespace

int main() {
  CheckFinds({});
  CheckFinds({0});
  CheckFinds({5, 1099511627777, std::numeric_limits<std::int64_t>::max()});
  std::vector<std::int64_t> spread;
  for (std::int64_t i = 0; i < 5000; ++i) spread.push_back(i * i * 1000003);
  CheckFinds(spread);
  // The inverse of the table's factor: k times it starts at the slot of k, which is 0 for small k.
  std::uint64_t inverse = 1;
  for (int i = 0; i < 6; ++i) inverse *= 2 - 0x9E3779B97F4A7C15u * inverse;
  std::vector<std::int64_t> colliding;
  for (std::uint64_t k = 1; k < 4000; ++k) {
    if (k * inverse >> 63 == 0) colliding.push_back(static_cast<std::int64_t>(k * inverse));
  }
  std::sort(colliding.begin(), colliding.end());
  CHECK(colliding.size() > 1000);
  CheckFinds(colliding);
  return Finish();
}
