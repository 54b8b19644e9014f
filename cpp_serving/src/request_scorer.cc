#include "cpp_serving/request_scorer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cpp_serving/error.h"
#include "input_columns.h"

namespace cpp_serving {
namespace {

// Some of the features, and the columns that are made from them.
struct Side {
  Side(const InputColumns& all, const std::vector<std::uint32_t>& own)
      : features(own), inputs(all.Part(own, &places)) {}

  // [row, column] from [row, feature]; what is returned lasts until the thread's next call.
  const float* Columns(const float* values, std::size_t rows) const {
    if (inputs.as_they_are()) return values;
    static thread_local std::vector<float> columns;
    columns.resize(rows * inputs.width());
    inputs.Fill(values, rows, columns.data());
    return columns.data();
  }

  std::vector<std::uint32_t> features;
  std::vector<std::uint32_t> places;  // Of its columns, among all.
  InputColumns inputs;
};

}  // namespace

struct RequestScorer::Parts {
  struct Output {
    const Forest* forest;  // Null where no tree counts.
    std::shared_ptr<const Forest::Part> shared;
    std::shared_ptr<const Forest::Part> own;
    std::size_t first_code;  // Of the own codes.
  };

  Parts(std::shared_ptr<const TreeScorer> opened, const InputColumns& inputs,
        const std::vector<std::uint32_t>& places)
      : scorer(std::move(opened)),
        shared(inputs, Checked(places, *scorer)),
        own(inputs, Others(places, *scorer)) {}

  static const std::vector<std::uint32_t>& Checked(const std::vector<std::uint32_t>& places,
                                                   const TreeScorer& scorer) {
    if (std::is_sorted(places.begin(), places.end()) &&
        std::adjacent_find(places.begin(), places.end()) == places.end() &&
        (places.empty() || places.back() < scorer.num_features())) {
      return places;
    }
    throw Error(Error::Kind::kStack, "the shared features are no places of features, ascending.",
                "the option 'shared'",
                "give places from 0 to " + std::to_string(scorer.num_features() - 1));
  }

  static std::vector<std::uint32_t> Others(const std::vector<std::uint32_t>& places,
                                           const TreeScorer& scorer) {
    std::vector<std::uint32_t> others;
    for (std::uint32_t f = 0; f < scorer.num_features(); ++f) {
      if (!std::binary_search(places.begin(), places.end(), f)) others.push_back(f);
    }
    return others;
  }

  void AddOutput(const Forest* forest) {
    if (forest == nullptr) return outputs.push_back({nullptr, nullptr, nullptr, num_codes});
    outputs.push_back(
        {forest, forest->PartOf(shared.places), forest->PartOf(own.places), num_codes});
    num_codes += Forest::NumCodes(*outputs.back().own);
  }

  std::shared_ptr<const TreeScorer> scorer;
  Side shared;
  Side own;
  std::vector<Output> outputs;
  std::size_t num_codes = 0;
};

RequestScorer::RequestScorer(std::shared_ptr<const TreeScorer> scorer,
                             std::vector<std::uint32_t> shared) {
  const InputColumns& inputs = scorer->Inputs();
  auto parts = std::make_unique<Parts>(std::move(scorer), inputs, shared);
  for (std::size_t output = 0; output < parts->scorer->num_outputs(); ++output) {
    parts->AddOutput(parts->scorer->ForestOf(output));
  }
  parts_ = std::move(parts);
}
RequestScorer::~RequestScorer() = default;
RequestScorer::RequestScorer(RequestScorer&&) noexcept = default;

const TreeScorer& RequestScorer::scorer() const { return *parts_->scorer; }

std::size_t RequestScorer::num_shared() const { return parts_->shared.features.size(); }

std::size_t RequestScorer::num_own() const { return parts_->own.features.size(); }

std::size_t RequestScorer::num_codes() const { return parts_->num_codes; }

void RequestScorer::Quantise(const float* own, std::size_t candidates, std::uint8_t* codes) const {
  const float* columns = parts_->own.Columns(own, candidates);
  for (const Parts::Output& output : parts_->outputs) {
    if (output.forest == nullptr) continue;
    output.forest->Quantise(*output.own, columns, candidates, codes + output.first_code,
                            num_codes());
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
  const float* columns = parts_->shared.Columns(shared, 1);
  for (std::size_t i = 0; i < count; ++i) {
    const Parts::Output& output = parts_->outputs[i];
    if (output.forest == nullptr) continue;
    shared_codes.resize(Forest::NumCodes(*output.shared));
    output.forest->Quantise(*output.shared, columns, 1, shared_codes.data(), shared_codes.size());
    output.forest->LeafSumsOfCodes(*output.shared, shared_codes.data(), *output.own,
                                   codes + output.first_code, num_codes(), candidates, sums.data());
    for (std::size_t row = 0; row < candidates; ++row) margins[row * count + i] = sums[row];
  }
  scorer().ScoreSums(margins.data(), candidates, scores);
}

}  // namespace cpp_serving
