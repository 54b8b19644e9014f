#include "cpp_serving/tree_scorer.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpp_serving/error.h"
#include "input_columns.h"
#include "link.h"

namespace cpp_serving {
namespace {

// Rows whose columns are filled at once: about half of a second-level cache, and enough rows to
// share among threads.
constexpr std::size_t kColumnBytes = 512 * 1024;
constexpr std::size_t kFewestRows = 256;

// The trees of one output, one after another as a forest wants them.
struct Flat {
  std::vector<std::uint32_t> node_offsets{0};
  std::vector<std::uint32_t> leaf_offsets{0};
  std::vector<Node> nodes;
  std::vector<float> leaf_weights;

  void Add(const BoostedTree& tree, const InputColumns& inputs) {
    for (Node node : tree.nodes) {
      if (node.feature != Node::kLeaf) {
        node.feature = inputs.PlaceOf(node.feature & Node::kFeatureMask) |
                       (node.feature & Node::kMissingGoesLeft);
      }
      nodes.push_back(node);
    }
    leaf_weights.insert(leaf_weights.end(), tree.leaf_weights.begin(), tree.leaf_weights.end());
    node_offsets.push_back(static_cast<std::uint32_t>(nodes.size()));
    leaf_offsets.push_back(static_cast<std::uint32_t>(leaf_weights.size()));
  }

  TreeTable Table(std::uint32_t width) const {
    return {width,
            {node_offsets.data(), node_offsets.size()},
            {leaf_offsets.data(), leaf_offsets.size()},
            {nodes.data(), nodes.size()},
            {leaf_weights.data(), leaf_weights.size()}};
  }
};

template <typename T>
T* Kept(std::vector<T>* values, std::size_t count) {
  if (values->size() < count) values->resize(count);
  return values->data();
}

}  // namespace

struct TreeScorer::Compiled {
  struct Output {
    std::optional<Forest> forest;      // None where no tree counts.
    std::vector<std::uint32_t> trees;  // Places among the trees that count.
  };

  Compiled(BoostedTrees read, const TreeScorerOptions& options)
      : model(std::move(read)), inputs(model.columns, model.num_features, options.missing) {
    const std::uint32_t iterations = static_cast<std::uint32_t>(model.iterations.size() - 1);
    const std::uint32_t end = options.end_iteration == 0 ? iterations : options.end_iteration;
    if (options.first_iteration >= end || end > iterations) {
      throw Error(Error::Kind::kStack,
                  "iterations " + std::to_string(options.first_iteration) + " to " +
                      std::to_string(end) + " are asked for, and there are " +
                      std::to_string(iterations) + ".",
                  "the option 'iterations'", "give a first iteration and an end after it");
    }
    first_tree = model.iterations[options.first_iteration];
    end_tree = model.iterations[end];
    num_iterations = end - options.first_iteration;
    std::vector<Flat> flat(model.num_outputs);
    outputs.resize(model.num_outputs);
    for (std::uint32_t i = first_tree; i < end_tree; ++i) {
      const BoostedTree& tree = model.trees[i];
      flat[tree.output].Add(tree, inputs);
      outputs[tree.output].trees.push_back(i - first_tree);
    }
    for (std::size_t output = 0; output < outputs.size(); ++output) {
      if (outputs[output].trees.empty()) continue;
      const TreeTable table = flat[output].Table(inputs.width());
      outputs[output].forest.emplace(table, Faults{}, options.forest);
      any = &*outputs[output].forest;
    }
  }

  // Calls use(columns, first row, rows) for parts of the rows.
  template <typename Use>
  void ForColumns(const float* features, std::size_t rows, Use use) const {
    if (inputs.as_they_are()) return use(features, 0, rows);
    static thread_local std::vector<float> kept;
    const std::size_t at_once =
        std::max(kFewestRows, kColumnBytes / (inputs.width() * sizeof(float)));
    for (std::size_t row = 0; row < rows; row += at_once) {
      const std::size_t here = std::min(at_once, rows - row);
      float* columns = Kept(&kept, here * inputs.width());
      inputs.Fill(features + row * model.num_features, here, columns);
      use(columns, row, here);
    }
  }

  // Of an output's sum of leaves.
  float Margin(std::size_t output, float sum) const {
    return static_cast<float>(static_cast<double>(model.base_margins[output]) +
                              static_cast<double>(sum));
  }

  void Margins(const float* columns, std::size_t rows, float* margins) const {
    const std::size_t count = outputs.size();
    if (count == 1) {
      outputs[0].forest->LeafSums(columns, rows, margins);
      for (std::size_t row = 0; row < rows; ++row) margins[row] = Margin(0, margins[row]);
      return;
    }
    static thread_local std::vector<float> kept;
    float* sums = Kept(&kept, rows);
    for (std::size_t output = 0; output < count; ++output) {
      if (outputs[output].forest) {
        outputs[output].forest->LeafSums(columns, rows, sums);
      } else {
        std::fill(sums, sums + rows, 0.0f);
      }
      for (std::size_t row = 0; row < rows; ++row) {
        margins[row * count + output] = Margin(output, sums[row]);
      }
    }
  }

  // May change the margins.
  void ScoreMargins(float* margins, std::size_t rows, float* scores) const {
    if (model.averaged) {
      const auto divisor = static_cast<double>(num_iterations);
      for (std::size_t i = 0; i < rows * model.num_outputs; ++i) {
        margins[i] = static_cast<float>(static_cast<double>(margins[i]) / divisor);
      }
    }
    ApplyLink(model, margins, rows, scores);
  }

  void Leaves(const float* columns, std::size_t rows, std::int32_t* leaves) const {
    static thread_local std::vector<std::int32_t> kept;
    const std::size_t width = end_tree - first_tree;
    for (const Output& output : outputs) {
      if (!output.forest) continue;
      const std::size_t own = output.trees.size();
      std::int32_t* ordinals = own == width ? leaves : Kept(&kept, rows * own);
      output.forest->Leaves(columns, rows, ordinals);
      for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t t = 0; t < own; ++t) {
          const std::uint32_t tree = output.trees[t];
          const std::int32_t ordinal = ordinals[row * own + t];
          leaves[row * width + tree] =
              model.trees[first_tree + tree].leaf_ids[static_cast<std::size_t>(ordinal)];
        }
      }
    }
  }

  // Of a tree that counts: by leaf id the ordinal, -1 where no leaf has the id.
  std::vector<std::int32_t> OrdinalsOf(std::uint32_t tree) const {
    const std::vector<std::int32_t>& ids = model.trees[first_tree + tree].leaf_ids;
    const std::int32_t last = *std::max_element(ids.begin(), ids.end());
    std::vector<std::int32_t> ordinals(static_cast<std::size_t>(last) + 1, -1);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ordinals[static_cast<std::size_t>(ids[i])] = static_cast<std::int32_t>(i);
    }
    return ordinals;
  }

  void MarginsOfLeaves(const std::int32_t* leaves, std::size_t rows, float* margins) const {
    const std::size_t width = end_tree - first_tree;
    std::vector<std::int32_t> found(leaves, leaves + rows * width);
    for (std::uint32_t tree = 0; tree < width; ++tree) {
      const std::vector<std::int32_t> ordinals = OrdinalsOf(tree);
      for (std::size_t row = 0; row < rows; ++row) {
        std::int32_t& leaf = found[row * width + tree];
        const auto id = static_cast<std::size_t>(leaf);  // Negative ones become too large.
        if (id >= ordinals.size() || ordinals[id] < 0) {
          throw Error(Error::Kind::kStack,
                      "leaf " + std::to_string(leaf) + " is given for tree " +
                          std::to_string(tree) + ", which has none of that number.",
                      "leaves, [row, tree]", "give leaves of this model, as it numbers them");
        }
        leaf = ordinals[id];
      }
    }
    std::vector<std::int32_t> own;
    for (std::size_t output = 0; output < outputs.size(); ++output) {
      for (std::size_t row = 0; row < rows; ++row) {
        own.clear();
        for (const std::uint32_t tree : outputs[output].trees) {
          own.push_back(found[row * width + tree]);
        }
        const float sum = own.empty() ? 0.0f : outputs[output].forest->SumOfLeaves(own.data());
        margins[row * outputs.size() + output] = Margin(output, sum);
      }
    }
  }

  BoostedTrees model;
  InputColumns inputs;
  std::vector<Output> outputs;
  const Forest* any = nullptr;
  std::uint32_t first_tree = 0;
  std::uint32_t end_tree = 0;
  std::uint32_t num_iterations = 1;
};

TreeScorer::TreeScorer(BoostedTrees model, TreeScorerOptions options)
    : compiled_(std::make_unique<const Compiled>(std::move(model), options)) {}
TreeScorer::~TreeScorer() = default;
TreeScorer::TreeScorer(TreeScorer&&) noexcept = default;
TreeScorer& TreeScorer::operator=(TreeScorer&&) noexcept = default;

const BoostedTrees& TreeScorer::model() const { return compiled_->model; }

std::size_t TreeScorer::scores_per_row() const { return ScoresPerRow(model().link, num_outputs()); }

std::size_t TreeScorer::num_trees() const { return compiled_->end_tree - compiled_->first_tree; }

std::size_t TreeScorer::first_tree() const { return compiled_->first_tree; }

void TreeScorer::Margins(const float* features, std::size_t rows, float* margins) const {
  compiled_->ForColumns(features, rows,
                        [&](const float* columns, std::size_t first, std::size_t count) {
                          compiled_->Margins(columns, count, margins + first * num_outputs());
                        });
}

void TreeScorer::Score(const float* features, std::size_t rows, float* scores) const {
  const std::size_t width = scores_per_row();
  static thread_local std::vector<float> kept;
  compiled_->ForColumns(
      features, rows, [&](const float* columns, std::size_t first, std::size_t count) {
        float* out = scores + first * width;
        float* margins = width == num_outputs() ? out : Kept(&kept, count * num_outputs());
        compiled_->Margins(columns, count, margins);
        compiled_->ScoreMargins(margins, count, out);
      });
}

void TreeScorer::Leaves(const float* features, std::size_t rows, std::int32_t* leaves) const {
  compiled_->ForColumns(features, rows,
                        [&](const float* columns, std::size_t first, std::size_t count) {
                          compiled_->Leaves(columns, count, leaves + first * num_trees());
                        });
}

void TreeScorer::MarginsOfLeaves(const std::int32_t* leaves, std::size_t rows,
                                 float* margins) const {
  compiled_->MarginsOfLeaves(leaves, rows, margins);
}

void TreeScorer::ScoresOfMargins(const float* margins, std::size_t rows, float* scores) const {
  std::vector<float> own(margins, margins + rows * num_outputs());
  compiled_->ScoreMargins(own.data(), rows, scores);
}

const InputColumns& TreeScorer::Inputs() const { return compiled_->inputs; }

const Forest* TreeScorer::ForestOf(std::size_t output) const {
  const std::optional<Forest>& forest = compiled_->outputs[output].forest;
  return forest ? &*forest : nullptr;
}

void TreeScorer::ScoreSums(float* margins, std::size_t rows, float* scores) const {
  for (std::size_t i = 0; i < rows * num_outputs(); ++i) {
    margins[i] = compiled_->Margin(i % num_outputs(), margins[i]);
  }
  compiled_->ScoreMargins(margins, rows, scores);
}

std::vector<std::vector<float>> TreeScorer::SplitPoints() const {
  std::vector<std::vector<float>> points(num_features());
  for (std::uint32_t i = compiled_->first_tree; i < compiled_->end_tree; ++i) {
    for (const Node& node : model().trees[i].nodes) {
      if (node.feature == Node::kLeaf) continue;
      const InputColumn& column = model().columns[node.feature & Node::kFeatureMask];
      const bool numeric = column.kind == InputColumn::Kind::kValue ||
                           column.kind == InputColumn::Kind::kZeroIsMissing;
      if (numeric) points[column.feature].push_back(node.threshold);
    }
  }
  for (std::vector<float>& own : points) {
    std::sort(own.begin(), own.end());
    own.erase(std::unique(own.begin(), own.end()), own.end());
  }
  return points;
}

Isa TreeScorer::isa() const { return compiled_->any->isa(); }

std::uint32_t TreeScorer::threads() const { return compiled_->any->threads(); }

std::size_t TreeScorer::EstimatedNanoseconds(std::size_t rows) const {
  std::size_t sum = 0;
  for (const Compiled::Output& output : compiled_->outputs) {
    if (output.forest) sum += output.forest->EstimatedNanoseconds(rows);
  }
  return sum;
}

}  // namespace cpp_serving
