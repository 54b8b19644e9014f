// Would it pay to fold the features that a request's candidates share out of the trees? Prints what
// scoring 500 candidates costs with all trees and with folded ones, and what folding itself costs.
//
//   g++ -O2 -std=c++17 -Icpp_serving/include benchmarks/scorer/folding.cc LIBRARY -lpthread
//   ./a.out build/scorer/a-300x6x100/scorer.bin
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "cpp_serving/forest.h"
#include "cpp_serving/model.h"

using namespace cpp_serving;

namespace {

constexpr std::size_t kCandidates = 500;

struct Folded {
  std::vector<std::uint32_t> node_offsets{0};
  std::vector<std::uint32_t> leaf_offsets{0};
  std::vector<Node> nodes;
  std::vector<float> weights;
  TreeTable Table(std::uint32_t num_features) const {
    TreeTable table;
    table.num_features = num_features;
    table.node_offsets = {node_offsets.data(), node_offsets.size()};
    table.leaf_offsets = {leaf_offsets.data(), leaf_offsets.size()};
    table.nodes = {nodes.data(), nodes.size()};
    table.leaf_weights = {weights.data(), weights.size()};
    return table;
  }
};

// The child where the shared row goes on, until a node tests what the candidates differ in.
std::uint32_t Settled(const Node* nodes, std::uint32_t at, std::uint32_t shared, const float* row) {
  while (nodes[at].feature != Node::kLeaf && (nodes[at].feature & Node::kFeatureMask) < shared) {
    const float x = row[nodes[at].feature & Node::kFeatureMask];
    const bool left =
        std::isnan(x) ? (nodes[at].feature & Node::kMissingGoesLeft) != 0 : x < nodes[at].threshold;
    at = nodes[at].left + (left ? 0 : 1);
  }
  return at;
}

void Fold(const TreeTable& table, std::uint32_t shared, const float* row, Folded* out) {
  out->node_offsets.resize(1);
  out->leaf_offsets.resize(1);
  out->nodes.clear();
  out->weights.clear();
  std::vector<std::uint32_t> places;  // Breadth first: of each new node, the old one.
  for (std::uint32_t tree = 0; tree < table.num_trees(); ++tree) {
    const Node* nodes = table.nodes.data + table.node_offsets[tree];
    places.assign(1, Settled(nodes, 0, shared, row));
    std::uint32_t leaves = 0;
    for (std::size_t i = 0; i < places.size(); ++i) {
      Node node = nodes[places[i]];
      if (node.feature == Node::kLeaf) {
        out->weights.push_back(table.leaf_weights[table.leaf_offsets[tree] + node.left]);
        node.left = leaves++;
      } else {
        const std::uint32_t left = node.left;
        node.left = static_cast<std::uint32_t>(places.size());
        places.push_back(Settled(nodes, left, shared, row));
        places.push_back(Settled(nodes, left + 1, shared, row));
      }
      out->nodes.push_back(node);
    }
    out->node_offsets.push_back(static_cast<std::uint32_t>(out->nodes.size()));
    out->leaf_offsets.push_back(static_cast<std::uint32_t>(out->weights.size()));
  }
}

template <typename Act>
double Microseconds(Act act) {
  double best = 1e18;
  for (int round = 0; round < 20; ++round) {
    const auto start = std::chrono::steady_clock::now();
    act();
    const std::chrono::duration<double, std::micro> spent =
        std::chrono::steady_clock::now() - start;
    best = std::min(best, spent.count());
  }
  return best;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) return 1;
  const Model model = Model::From(Artifact::Open(arguments[1]));
  const std::uint32_t width = model.num_real;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const Forest whole(model.trees, {});
  std::vector<float> sums(kCandidates);
  std::printf("shared features, nodes left, us: all trees, folded trees, folding, compiling\n");
  for (const std::uint32_t shared : {width / 4, width / 2, 3 * width / 4}) {
    std::vector<float> rows(kCandidates * width);
    for (float& value : rows) value = random() % 10 == 0 ? std::nanf("") : normal(random) * 3;
    for (std::size_t row = 1; row < kCandidates; ++row) {
      std::copy(rows.begin(), rows.begin() + shared, rows.begin() + static_cast<long>(row * width));
    }
    Folded folded;
    const double folding = Microseconds([&] { Fold(model.trees, shared, rows.data(), &folded); });
    const TreeTable table = folded.Table(width);
    const double compiling = Microseconds([&] { Forest(table, {}); });
    const Forest part(table, {});
    std::vector<float> expected(kCandidates);
    whole.LeafSums(rows.data(), kCandidates, expected.data());
    part.LeafSums(rows.data(), kCandidates, sums.data());
    for (std::size_t i = 0; i < kCandidates; ++i) {
      if (std::fabs(sums[i] - expected[i]) > 1e-5f) return 2;
    }
    std::printf("%3u of %u  %6zu of %zu  %7.1f %7.1f %7.1f %9.1f\n", shared, width,
                folded.nodes.size(), model.trees.nodes.size,
                Microseconds([&] { whole.LeafSums(rows.data(), kCandidates, sums.data()); }),
                Microseconds([&] { part.LeafSums(rows.data(), kCandidates, sums.data()); }),
                folding, compiling);
  }
  return 0;
}
