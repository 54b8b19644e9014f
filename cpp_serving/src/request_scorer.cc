#include "cpp_serving/request_scorer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cpp_serving/error.h"

namespace cpp_serving {

struct RequestScorer::Parts {
  struct Output {
    const Forest* forest;  // Null where no tree counts.
    std::shared_ptr<const Forest::Part> shared;
    std::shared_ptr<const Forest::Part> own;
    std::size_t first_code;  // Of the own codes.
  };

  Parts(std::shared_ptr<const TreeScorer> opened, std::vector<std::uint32_t> places)
      : scorer(std::move(opened)), shared(std::move(places)) {
    const auto features = static_cast<std::uint32_t>(scorer->num_features());
    if (!std::is_sorted(shared.begin(), shared.end()) ||
        std::adjacent_find(shared.begin(), shared.end()) != shared.end() ||
        (!shared.empty() && shared.back() >= features)) {
      throw Error(Error::Kind::kStack, "the shared features are no places of features, ascending.",
                  "the option 'shared'", "give places from 0 to " + std::to_string(features - 1));
    }
    for (std::uint32_t f = 0; f < features; ++f) {
      if (!std::binary_search(shared.begin(), shared.end(), f)) own.push_back(f);
    }
  }

  void AddOutput(const Forest* forest) {
    if (forest == nullptr) return outputs.push_back({nullptr, nullptr, nullptr, num_codes});
    outputs.push_back({forest, forest->PartOf(shared), forest->PartOf(own), num_codes});
    num_codes += Forest::NumCodes(*outputs.back().own);
  }

  std::shared_ptr<const TreeScorer> scorer;
  std::vector<std::uint32_t> shared;
  std::vector<std::uint32_t> own;
  std::vector<Output> outputs;
  std::size_t num_codes = 0;
};

RequestScorer::RequestScorer(std::shared_ptr<const TreeScorer> scorer,
                             std::vector<std::uint32_t> shared) {
  auto parts = std::make_unique<Parts>(std::move(scorer), std::move(shared));
  if (!parts->scorer->TestsFeatures()) {
    throw Error(Error::Kind::kStack,
                "the model's splits are more than comparisons of features: they have no codes.",
                "a request scorer", "score whole rows");
  }
  for (std::size_t output = 0; output < parts->scorer->num_outputs(); ++output) {
    parts->AddOutput(parts->scorer->ForestOf(output));
  }
  parts_ = std::move(parts);
}
RequestScorer::~RequestScorer() = default;
RequestScorer::RequestScorer(RequestScorer&&) noexcept = default;

const TreeScorer& RequestScorer::scorer() const { return *parts_->scorer; }

std::size_t RequestScorer::num_shared() const { return parts_->shared.size(); }

std::size_t RequestScorer::num_own() const { return parts_->own.size(); }

std::size_t RequestScorer::num_codes() const { return parts_->num_codes; }

void RequestScorer::Quantise(const float* own, std::size_t candidates, std::uint8_t* codes) const {
  for (const Parts::Output& output : parts_->outputs) {
    if (output.forest == nullptr) continue;
    output.forest->Quantise(*output.own, own, candidates, codes + output.first_code, num_codes());
  }
}

void RequestScorer::Score(const float* shared, const float* own, std::size_t candidates,
                          float* scores) const {
  static thread_local std::vector<std::uint8_t> codes;
  if (codes.size() < candidates * num_codes()) codes.resize(candidates * num_codes());
  Quantise(own, candidates, codes.data());
  ScoreCodes(shared, codes.data(), candidates, scores);
}

void RequestScorer::ScoreCodes(const float* shared, const std::uint8_t* codes,
                               std::size_t candidates, float* scores) const {
  static thread_local std::vector<std::uint8_t> shared_codes;
  static thread_local std::vector<float> sums;
  static thread_local std::vector<float> margins;
  const std::size_t count = parts_->outputs.size();
  sums.resize(candidates);
  margins.assign(candidates * count, 0.0f);
  for (std::size_t i = 0; i < count; ++i) {
    const Parts::Output& output = parts_->outputs[i];
    if (output.forest == nullptr) continue;
    shared_codes.resize(Forest::NumCodes(*output.shared));
    output.forest->Quantise(*output.shared, shared, 1, shared_codes.data(), shared_codes.size());
    output.forest->LeafSumsOfCodes(*output.shared, shared_codes.data(), *output.own,
                                   codes + output.first_code, num_codes(), candidates, sums.data());
    for (std::size_t row = 0; row < candidates; ++row) margins[row * count + i] = sums[row];
  }
  scorer().ScoreSums(margins.data(), candidates, scores);
}

}  // namespace cpp_serving
