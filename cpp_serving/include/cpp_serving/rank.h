// Places of the candidates of a request.
#ifndef CPP_SERVING_RANK_H_
#define CPP_SERVING_RANK_H_

#include <cstdint>
#include <vector>

#include "cpp_serving/records.h"

namespace cpp_serving {

// Ranks candidates by value descending, ties by ad id ascending (text by bytes); NaN comes last.
class Ranker {
 public:
  // Throws Error(kLog) when ad ids are absent, null, or neither int64 nor text.
  explicit Ranker(const Records& records);

  // Fills `rank` [candidate] for all requests from `value` [candidate]; 0 is best.
  template <typename T>
  void Rank(const T* value, std::int32_t* rank) const;

 private:
  bool AdBefore(std::int64_t a, std::int64_t b) const;

  const Records& records_;
  Field ad_id_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_RANK_H_
