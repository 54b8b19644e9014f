#include "cpp_serving/model.h"

#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "cpp_serving/error.h"
#include "program.h"
#include "section_reader.h"

namespace cpp_serving {
namespace {

static_assert(std::numeric_limits<float>::is_iec559 && std::numeric_limits<double>::is_iec559,
              "floating point is part of the contract");

struct Calibration {
  float bias;
  std::uint32_t zero;
  double slope;
  double intercept;
};
static_assert(sizeof(Calibration) == 24, "the file holds a calibration of 24 bytes");

// Breadth first with siblings together: the k-th inner node of a tree has its children at 2k + 1
// and 2k + 2. That rules out cycles, shared and unreachable nodes at once.
void CheckTree(const SectionReader& reader, const Model& model, std::uint32_t tree) {
  const auto refuse = [&](const std::string& what) {
    reader.Refuse("trees", "tree " + std::to_string(tree) + ": " + what);
  };
  const Node* nodes = model.trees.nodes.data + model.trees.node_offsets[tree];
  const std::uint32_t count = model.trees.node_offsets[tree + 1] - model.trees.node_offsets[tree];
  const std::uint32_t leaves = model.trees.leaf_offsets[tree + 1] - model.trees.leaf_offsets[tree];
  std::vector<bool> seen(leaves, false);
  std::uint64_t next_child = 1;
  for (std::uint32_t i = 0; i < count; ++i) {
    const Node& node = nodes[i];
    if (node.feature == Node::kLeaf) {
      if (node.left >= leaves || seen[node.left]) {
        refuse("leaf ordinal " + std::to_string(node.left) + " is out of range or there twice.");
      }
      seen[node.left] = true;
      continue;
    }
    if ((node.feature & Node::kFeatureMask) >= model.num_real) {
      refuse("node " + std::to_string(i) + " splits a feature that is not there.");
    }
    if (std::isnan(node.threshold)) refuse("node " + std::to_string(i) + " has no threshold.");
    if (node.left != next_child || node.left <= i || next_child + 1 >= count) {
      refuse("the children of node " + std::to_string(i) + " are out of place.");
    }
    next_child += 2;
  }
  if (next_child != count || std::uint64_t{leaves} * 2 != std::uint64_t{count} + 1) {
    refuse("it has " + std::to_string(count) + " nodes and " + std::to_string(leaves) + " leaves.");
  }
}

void ReadTrees(const SectionReader& reader, Model* model) {
  const auto header = reader.Part<std::uint32_t>("trees", 0, 4);
  const std::uint64_t trees = header[0];
  model->trees.num_features = model->num_real;
  std::size_t at = 16;
  model->trees.node_offsets = reader.Part<std::uint32_t>("trees", at, trees + 1);
  at += 4 * model->trees.node_offsets.size;
  model->trees.leaf_offsets = reader.Part<std::uint32_t>("trees", at, trees + 1);
  at += 4 * model->trees.leaf_offsets.size;
  model->trees.nodes = reader.Part<Node>("trees", at, header[2]);
  at += sizeof(Node) * model->trees.nodes.size;
  model->trees.leaf_weights = reader.Values<float>("leaf_weights");
  if (at != reader.artifact().Section("trees").size || header[1] != model->num_real ||
      model->trees.node_offsets[0] != 0 || model->trees.node_offsets[trees] != header[2] ||
      model->trees.leaf_offsets[0] != 0 || model->trees.leaf_offsets[trees] != header[3] ||
      model->trees.leaf_weights.size != header[3]) {
    reader.Refuse("trees", "its counts do not fit each other, the features or the leaf weights.");
  }
  for (std::uint32_t tree = 0; tree < trees; ++tree) {
    if (model->trees.node_offsets[tree + 1] <= model->trees.node_offsets[tree] ||
        model->trees.node_offsets[tree + 1] > header[2] ||
        model->trees.leaf_offsets[tree + 1] <= model->trees.leaf_offsets[tree] ||
        model->trees.leaf_offsets[tree + 1] > header[3]) {
      reader.Refuse("trees", "tree " + std::to_string(tree) + " is empty or out of place.");
    }
    CheckTree(reader, *model, tree);
  }
}

void CheckFinite(const SectionReader& reader, const std::string& section,
                 const Span<float>& weights) {
  for (std::size_t i = 0; i < weights.size; ++i) {
    if (!std::isfinite(weights[i])) {
      reader.Refuse(section, "weight " + std::to_string(i) + " is not finite.");
    }
  }
}

void ReadRegression(const SectionReader& reader, Model* model) {
  CheckFinite(reader, "leaf_weights", model->trees.leaf_weights);
  model->category_weights = reader.Values<float>("category_weights");
  if (model->category_weights.size != model->num_columns) {
    reader.Refuse("category_weights", "there are " + std::to_string(model->category_weights.size) +
                                          " weights for " + std::to_string(model->num_columns) +
                                          " columns.");
  }
  CheckFinite(reader, "category_weights", model->category_weights);
  const auto calibration = reader.Values<Calibration>("calibration");
  if (calibration.size != 1 || calibration[0].zero != 0 || !std::isfinite(calibration[0].bias) ||
      !std::isfinite(calibration[0].slope) || !std::isfinite(calibration[0].intercept)) {
    reader.Refuse("calibration", "it does not hold one finite bias, slope and intercept.");
  }
  model->bias = calibration[0].bias;
  model->slope = calibration[0].slope;
  model->intercept = calibration[0].intercept;
}

}  // namespace

Model Model::From(std::shared_ptr<const Artifact> artifact) {
  Model model;
  model.artifact = std::move(artifact);
  const SectionReader reader(*model.artifact);
  constexpr std::size_t kNumSections = 8;
  ReadProgram(reader, &model);
  ReadTrees(reader, &model);
  ReadRegression(reader, &model);
  if (model.artifact->sections().size() != kNumSections) {
    throw Error(Error::Kind::kArtifact, "the file holds sections that version 1 does not have.",
                model.artifact->where(), "export it with the version of this scorer");
  }
  return model;
}

}  // namespace cpp_serving
