// Scores float32 matrices with a bare model file of XGBoost or LightGBM.
#ifndef CPP_SERVING_TREE_SCORER_H_
#define CPP_SERVING_TREE_SCORER_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "cpp_serving/boosted_trees.h"
#include "cpp_serving/forest.h"

namespace cpp_serving {

struct TreeScorerOptions {
  // The iterations that count: first to end, without the end; 0: to the last.
  std::uint32_t first_iteration = 0;
  std::uint32_t end_iteration = 0;
  // Values equal to this one are missing, beside NaN.
  float missing = std::numeric_limits<float>::quiet_NaN();
  ForestOptions forest = {};
};

class InputColumns;

// What is summed, in which order and type: the leaves of an output's trees as integers (forest.h),
// rounded once to float32; added to the base margin in float64, rounded once to float32. The link
// is computed in float64 from the margin, which an averaged model (LightGBM's random forest)
// divides by its iterations first, rounded to float32; and rounded once. Leaf values of LightGBM,
// which are float64, are rounded to float32 first. Const methods may run on several threads.
class TreeScorer {
 public:
  // Throws Error(kStack) for a range of iterations that the model does not have, and a kernel that
  // can not run here.
  explicit TreeScorer(BoostedTrees model, TreeScorerOptions options = {});
  ~TreeScorer();
  TreeScorer(TreeScorer&&) noexcept;
  TreeScorer& operator=(TreeScorer&&) noexcept;

  const BoostedTrees& model() const;
  std::size_t num_features() const { return model().num_features; }
  std::size_t num_outputs() const { return model().num_outputs; }
  // 1, or the number of outputs where each has a prediction of its own.
  std::size_t scores_per_row() const;
  // Of the iterations that count.
  std::size_t num_trees() const;
  // Place of the first of them in model().trees.
  std::size_t first_tree() const;

  // `features` is [row, feature], C order; NaN is missing. `scores` is filled, [row, score]: the
  // library's own prediction.
  void Score(const float* features, std::size_t rows, float* scores) const;
  // `margins` is filled, [row, output]: before the link.
  void Margins(const float* features, std::size_t rows, float* margins) const;
  // `leaves` is filled, [row, tree], as the library numbers them: XGBoost's node ids, LightGBM's
  // leaf indices.
  void Leaves(const float* features, std::size_t rows, std::int32_t* leaves) const;
  // `margins` is filled, [row, output], from leaves as Leaves numbers them: the bits of Margins.
  // Throws Error(kStack) for a leaf that its tree does not have.
  void MarginsOfLeaves(const std::int32_t* leaves, std::size_t rows, float* margins) const;

  // `scores` is filled, [row, score], from margins, [row, output]: the link alone.
  void ScoresOfMargins(const float* margins, std::size_t rows, float* scores) const;

  // Per feature, the distinct thresholds of its splits, ascending; categorical ones have none.
  std::vector<std::vector<float>> SplitPoints() const;

  Isa isa() const;
  std::uint32_t threads() const;
  // Time of a call, very roughly, in nanoseconds.
  std::size_t EstimatedNanoseconds(std::size_t rows) const;

 private:
  friend class RequestScorer;
  // What trees test, as it is made from the features.
  const InputColumns& Inputs() const;
  // Null where no tree counts in the output.
  const Forest* ForestOf(std::size_t output) const;
  // `margins` is [row, output], sums of leaves, and is changed; `scores` is filled.
  void ScoreSums(float* margins, std::size_t rows, float* scores) const;

  struct Compiled;
  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_TREE_SCORER_H_
