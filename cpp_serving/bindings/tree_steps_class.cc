// A bare model file step by step to Python: leaves, margins of given leaves, the trees themselves.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arrays.h"
#include "classes.h"
#include "cpp_serving/tree_faults.h"
#include "cpp_serving/tree_scorer.h"

namespace cpp_serving {
namespace {

using Iterations = std::optional<std::pair<std::uint32_t, std::uint32_t>>;

// Without faults first: it checks the range of iterations.
std::shared_ptr<TreeScorer> Opened(const py::bytes& data, const std::string& where,
                                   const Iterations& iterations,
                                   const std::vector<std::string>& faults,
                                   const std::string& kernel, std::uint32_t threads) {
  TreeScorerOptions options;
  if (iterations) {
    options.first_iteration = iterations->first;
    options.end_iteration = iterations->second;
  }
  options.forest = OptionsFrom(kernel, threads);
  const BoostedTrees model = ReadBoostedTrees(static_cast<std::string_view>(data), where);
  auto sound = std::make_shared<TreeScorer>(model, options);
  if (faults.empty()) return sound;
  const auto first = static_cast<std::uint32_t>(sound->first_tree());
  const auto end = static_cast<std::uint32_t>(first + sound->num_trees());
  BoostedTrees changed = model;
  for (const std::string& fault : faults) PutFault(fault, first, end, &changed);
  return std::make_shared<TreeScorer>(std::move(changed), options);
}

// A scorer under a name of its own: what it gives on the way is not for serving.
struct TreeSteps {
  std::shared_ptr<TreeScorer> scorer;
  const BoostedTrees& model() const { return scorer->model(); }
};

py::array Leaves(const TreeSteps& steps, const py::handle& features) {
  const TreeScorer& scorer = *steps.scorer;
  const MatrixView in(features.ptr(), scorer.num_features());
  py::array_t<std::int32_t> leaves(
      {static_cast<py::ssize_t>(in.rows), static_cast<py::ssize_t>(scorer.num_trees())});
  scorer.Leaves(in.data, in.rows, leaves.mutable_data());
  return leaves;
}

py::object Margins(const TreeSteps& steps, const py::handle& features) {
  const TreeScorer& scorer = *steps.scorer;
  const MatrixView in(features.ptr(), scorer.num_features());
  NewFloats margins(in.rows, scorer.num_outputs());
  scorer.Margins(in.data, in.rows, margins.data);
  return margins.array;
}

py::object MarginsOfLeaves(const TreeSteps& steps,
                           const py::array_t<std::int32_t, py::array::c_style>& leaves) {
  const TreeScorer& scorer = *steps.scorer;
  if (leaves.ndim() != 2 || static_cast<std::size_t>(leaves.shape(1)) != scorer.num_trees()) {
    throw py::type_error("leaves are not an int32 array [row, " +
                         std::to_string(scorer.num_trees()) + "]");
  }
  const auto rows = static_cast<std::size_t>(leaves.shape(0));
  NewFloats margins(rows, scorer.num_outputs());
  scorer.MarginsOfLeaves(leaves.data(), rows, margins.data);
  return margins.array;
}

py::object ScoresOfMargins(const TreeSteps& steps,
                           const py::array_t<float, py::array::c_style>& margins) {
  const TreeScorer& scorer = *steps.scorer;
  const std::size_t outputs = scorer.num_outputs();
  const bool fits = margins.ndim() == (outputs == 1 ? 1 : 2) &&
                    (outputs == 1 || static_cast<std::size_t>(margins.shape(1)) == outputs);
  if (!fits) throw py::type_error("margins are not a float32 array as margins() gives it");
  const auto rows = static_cast<std::size_t>(margins.shape(0));
  NewFloats scores(rows, scorer.scores_per_row());
  scorer.ScoresOfMargins(margins.data(), rows, scores.data);
  return scores.array;
}

// By node: column, threshold, left child, missing goes left; by leaf: node, id, weight.
py::tuple ArraysOf(const BoostedTree& tree) {
  std::vector<std::int32_t> columns, left, leaf_nodes;
  std::vector<float> thresholds;
  std::vector<std::int8_t> missing_left;
  leaf_nodes.resize(tree.leaf_ids.size());
  for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
    const Node& node = tree.nodes[i];
    const bool leaf = node.feature == Node::kLeaf;
    columns.push_back(leaf ? -1 : static_cast<std::int32_t>(node.feature & Node::kFeatureMask));
    thresholds.push_back(node.threshold);
    left.push_back(leaf ? -1 : static_cast<std::int32_t>(node.left));
    missing_left.push_back(!leaf && (node.feature & Node::kMissingGoesLeft) != 0);
    if (leaf) leaf_nodes[node.left] = static_cast<std::int32_t>(i);
  }
  return py::make_tuple(Owning(std::move(columns)), Owning(std::move(thresholds)),
                        Owning(std::move(left)), Owning(std::move(missing_left)),
                        Owning(std::move(leaf_nodes)), Owning(tree.leaf_ids),
                        Owning(tree.leaf_weights));
}

py::list Trees(const TreeSteps& steps) {
  const TreeScorer& scorer = *steps.scorer;
  py::list trees;
  for (std::size_t i = 0; i < scorer.num_trees(); ++i) {
    trees.append(ArraysOf(scorer.model().trees[scorer.first_tree() + i]));
  }
  return trees;
}

// Of each column that trees test: its feature, and what it makes of the feature's value.
py::list Columns(const TreeSteps& steps) {
  const auto name = [](InputColumn::Kind kind) {
    switch (kind) {
      case InputColumn::Kind::kValue:
        return "value";
      case InputColumn::Kind::kZeroIsMissing:
        return "zero is missing";
      case InputColumn::Kind::kIsIn:
      case InputColumn::Kind::kIsOutside:
        return "categories";
    }
    return "";
  };
  py::list columns;
  for (const InputColumn& column : steps.model().columns) {
    columns.append(py::make_tuple(column.feature, name(column.kind)));
  }
  return columns;
}

}  // namespace

void AddTreeSteps(py::module_& m) {
  py::class_<TreeSteps>(m, "TreeSteps")
      .def(py::init([](const py::bytes& data, const std::string& where,
                       const Iterations& iterations, const std::vector<std::string>& faults,
                       const std::string& kernel, std::uint32_t threads) {
             return TreeSteps{Opened(data, where, iterations, faults, kernel, threads)};
           }),
           py::arg("data"), py::arg("where"), py::kw_only(), py::arg("iterations") = py::none(),
           py::arg("faults") = std::vector<std::string>(), py::arg("kernel") = "auto",
           py::arg("threads") = 1)
      .def("leaves", &Leaves, py::arg("features"))
      .def("margins", &Margins, py::arg("features"))
      .def("margins_of_leaves", &MarginsOfLeaves, py::arg("leaves").noconvert())
      .def("scores_of_margins", &ScoresOfMargins, py::arg("margins").noconvert())
      .def("trees", &Trees)
      .def("columns", &Columns)
      .def_property_readonly("library", [](const TreeSteps& s) { return s.model().library; })
      .def_property_readonly("objective", [](const TreeSteps& s) { return s.model().objective; })
      .def_property_readonly("feature_names",
                             [](const TreeSteps& s) { return s.model().feature_names; })
      .def_property_readonly("num_features",
                             [](const TreeSteps& s) { return s.scorer->num_features(); })
      .def_property_readonly("num_outputs",
                             [](const TreeSteps& s) { return s.scorer->num_outputs(); })
      .def_property_readonly("base_margins",
                             [](const TreeSteps& s) { return s.model().base_margins; })
      .def_property_readonly("averaged", [](const TreeSteps& s) { return s.model().averaged; })
      .def_property_readonly("steepness", [](const TreeSteps& s) { return s.model().steepness; })
      .def_property_readonly("kernel", [](const TreeSteps& s) { return NameOf(s.scorer->isa()); });
}

}  // namespace cpp_serving
