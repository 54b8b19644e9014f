#include "cpp_serving/rank.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>

#include "cpp_serving/error.h"

namespace cpp_serving {

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
  static thread_local std::vector<std::int64_t> order;  // Kept, so that calls allocate nothing.
  for (std::int64_t request = 0; request < records_.num_requests(); ++request) {
    const std::int64_t begin = records_.CandidateBegin(request);
    order.resize(static_cast<std::size_t>(records_.CandidateBegin(request + 1) - begin));
    std::iota(order.begin(), order.end(), begin);
    std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      const bool a_missing = value[a] != value[a];
      const bool b_missing = value[b] != value[b];
      if (a_missing != b_missing) return b_missing;
      if (!a_missing && value[a] != value[b]) return value[a] > value[b];
      if (AdBefore(a, b)) return true;
      if (AdBefore(b, a)) return false;
      return a < b;
    });
    for (std::size_t place = 0; place < order.size(); ++place) {
      rank[order[place]] = static_cast<std::int32_t>(place);
    }
  }
}

template void Ranker::Rank<float>(const float*, std::int32_t*) const;
template void Ranker::Rank<double>(const double*, std::int32_t*) const;

}  // namespace cpp_serving
