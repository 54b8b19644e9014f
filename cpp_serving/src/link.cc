#include "link.h"

#include <algorithm>
#include <cmath>

namespace cpp_serving {
namespace {

// exp(m - largest) over their sum, so that nothing overflows.
void Softmax(const float* margins, std::size_t outputs, float* scores) {
  const double largest = *std::max_element(margins, margins + outputs);
  double sum = 0.0;
  for (std::size_t i = 0; i < outputs; ++i) sum += std::exp(margins[i] - largest);
  for (std::size_t i = 0; i < outputs; ++i) {
    scores[i] = static_cast<float>(std::exp(margins[i] - largest) / sum);
  }
}

template <typename Act>
void Each(const float* margins, std::size_t count, float* scores, Act act) {
  for (std::size_t i = 0; i < count; ++i) {
    scores[i] = static_cast<float>(act(static_cast<double>(margins[i])));
  }
}

}  // namespace

std::size_t ScoresPerRow(Link link, std::size_t num_outputs) {
  return link == Link::kLargest ? 1 : num_outputs;
}

void ApplyLink(const BoostedTrees& model, const float* margins, std::size_t rows, float* scores) {
  const std::size_t outputs = model.num_outputs;
  const std::size_t count = rows * outputs;
  switch (model.link) {
    case Link::kIdentity:
      if (scores != margins) std::copy(margins, margins + count, scores);
      return;
    case Link::kLogistic:
      return Each(margins, count, scores,
                  [&](double m) { return 1.0 / (1.0 + std::exp(-model.steepness * m)); });
    case Link::kExponential:
      return Each(margins, count, scores, [](double m) { return std::exp(m); });
    case Link::kHinge:
      return Each(margins, count, scores, [](double m) { return m > 0.0 ? 1.0 : 0.0; });
    case Link::kSignedSquare:
      return Each(margins, count, scores, [](double m) { return std::copysign(m * m, m); });
    case Link::kLogOnePlusExp:
      return Each(margins, count, scores, [](double m) { return std::log1p(std::exp(m)); });
    case Link::kAscending:
      if (scores != margins) std::copy(margins, margins + count, scores);
      for (std::size_t row = 0; row < rows; ++row) {
        std::sort(scores + row * outputs, scores + (row + 1) * outputs);
      }
      return;
    case Link::kSoftmax:
      for (std::size_t row = 0; row < rows; ++row) {
        Softmax(margins + row * outputs, outputs, scores + row * outputs);
      }
      return;
    case Link::kLargest:
      for (std::size_t row = 0; row < rows; ++row) {
        const float* own = margins + row * outputs;
        scores[row] = static_cast<float>(std::max_element(own, own + outputs) - own);
      }
      return;
  }
}

}  // namespace cpp_serving
