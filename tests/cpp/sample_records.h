// Three requests with two, none and three candidates, and histories of one, two and no steps.
#ifndef TESTS_CPP_SAMPLE_RECORDS_H_
#define TESTS_CPP_SAMPLE_RECORDS_H_

#include <limits>
#include <utility>

#include "arrow_builder.h"

constexpr std::int64_t kHour = 3600000000;

// `skip` rubbish rows lie before every array's first value, each level's hidden by its own offset.
inline ArrowNodePtr SampleRecords(std::size_t skip = 0) {
  const auto more = static_cast<std::int64_t>(skip);
  const auto rows = [skip](auto values) {
    values.insert(values.begin(), skip, values.front());
    return values;
  };
  using Ints = std::vector<std::optional<std::int64_t>>;
  using Reals = std::vector<std::optional<double>>;
  using Strings = std::vector<std::optional<std::string>>;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  auto candidates = Struct(
      "item", 5,
      All(Integers("ad_id", rows(Ints{5, 1099511627777, 7, 16777217, 5}), skip),
          Integers("bid_micros", rows(Ints{1000, 2000, 3000, 3000, 5000}), skip),
          Floats("price", rows(Reals{1.5, std::nullopt, 0.0, nan, -3.0}), skip),
          Integers("clicks", rows(Ints{0, 3, std::nullopt, -2, 9}), skip),
          Integers("shown", rows(Ints{4, 9, 1, 7, std::nullopt}), skip),
          Texts("title", rows(Strings{"two words", "", std::nullopt, "\x0b one\r\n", "z"}), skip)),
      {}, more);
  auto steps = Struct("item", 3,
                      All(Integers("ad_id", rows(Ints{5, 7, std::nullopt}), skip),
                          Times("at", rows(Ints{0, -kHour, std::nullopt}), skip)),
                      {}, more);
  // The struct's own length counts the rows after its offset; lists point past `skip` rows of them.
  std::vector<std::int32_t> candidate_offsets(skip, 0);
  for (const int offset : {0, 2, 2, 5}) candidate_offsets.push_back(offset);
  std::vector<std::int32_t> step_offsets(skip, 0);
  for (const int offset : {0, 1, 3, 3}) step_offsets.push_back(offset);
  auto context =
      Struct("context", 3,
             All(Texts("device", rows(Strings{"Phone", std::nullopt, "tablet"}), skip)), {}, more);
  auto user =
      Struct("user", 3, All(Times("seen_at", rows(Ints{-kHour, std::nullopt, 5 * kHour}), skip)),
             {}, more);
  return Struct("", 3,
                All(Texts("request_id", Strings{"a", "b", "c"}, skip),
                    Times("logged_at", Ints{0, -1, 3 * kHour}, skip), std::move(context),
                    std::move(user), List("history", step_offsets, std::move(steps), more),
                    List("candidates", candidate_offsets, std::move(candidates), more)));
}

#endif  // TESTS_CPP_SAMPLE_RECORDS_H_
