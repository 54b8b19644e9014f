// Scores a request's candidates: what they share is given once, and what comes again is kept as
// codes.
#ifndef CPP_SERVING_REQUEST_SCORER_H_
#define CPP_SERVING_REQUEST_SCORER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cpp_serving/tree_scorer.h"

namespace cpp_serving {

// Same bits as TreeScorer::Score of the candidates' whole rows. Const methods may run on several
// threads.
class RequestScorer {
 public:
  // `shared` are places of features, ascending, that a request's candidates have in common; the
  // others, in their order, are a candidate's own. Throws Error(kStack) for places that are not
  // there.
  RequestScorer(std::shared_ptr<const TreeScorer> scorer, std::vector<std::uint32_t> shared);
  ~RequestScorer();
  RequestScorer(RequestScorer&&) noexcept;

  const TreeScorer& scorer() const;
  std::size_t num_shared() const;
  std::size_t num_own() const;
  // Bytes of a candidate's codes.
  std::size_t num_codes() const;

  // `own` is [candidate, own feature], `codes` is filled, [candidate, code]. Codes fit this model
  // and these shared features only.
  void Quantise(const float* own, std::size_t candidates, std::uint8_t* codes) const;
  // `shared` is [shared feature]; `scores` is filled, [candidate, score].
  void Score(const float* shared, const float* own, std::size_t candidates, float* scores) const;
  void ScoreCodes(const float* shared, const std::uint8_t* codes, std::size_t candidates,
                  float* scores) const;

 private:
  struct Parts;
  std::unique_ptr<const Parts> parts_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_REQUEST_SCORER_H_
