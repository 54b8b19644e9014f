// Every kernel gives the leaves of the plain walk and one sum, however the rows are split.
#include "cpp_serving/forest.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "check.h"
#include "cpp_serving/trees.h"
#include "forest_builder.h"

using cpp_serving::Faults;
using cpp_serving::Forest;
using cpp_serving::ForestOptions;
using cpp_serving::Isa;
using cpp_serving::Model;

namespace {

std::string Named(const ForestSpec& spec, Isa isa, std::size_t walk_below) {
  return std::string(NameOf(isa)) + ", walk below " + std::to_string(walk_below) + ", " +
         std::to_string(spec.trees) + " trees of depth " + std::to_string(spec.depth) +
         ", values " + std::to_string(spec.values);
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void EveryKernelAgrees(const ForestSpec& spec, std::uint32_t seed, const Faults& faults = {}) {
  const Model model = RandomForest(spec, seed);
  const std::size_t rows = 64 * 3 + 17;
  const std::vector<float> features = RowsFor(spec, model, rows, seed + 1000);
  std::vector<std::int32_t> expected(rows * spec.trees);
  std::vector<double> exact(rows);
  double magnitude = 0.0;
  for (std::size_t row = 0; row < rows; ++row) {
    std::int32_t* leaves = expected.data() + row * spec.trees;
    cpp_serving::WalkTrees(model.trees, faults, features.data() + row * spec.features, leaves);
    const std::uint32_t counted = faults.tree_limit == 0 ? spec.trees : faults.tree_limit;
    for (std::uint32_t t = 0; t < counted; ++t) {
      const double weight =
          model.trees
              .leaf_weights[model.trees.leaf_offsets[t] + static_cast<std::uint32_t>(leaves[t])];
      exact[row] += weight;
      magnitude += std::fabs(weight) / static_cast<double>(rows);
    }
  }
  std::vector<float> first;
  for (const Isa isa : cpp_serving::RunnableIsas()) {
    for (const std::size_t walk_below : {1, 20, 1000}) {
      ForestOptions options;
      options.isa = isa;
      options.walk_below = walk_below;
      const Forest forest(model.trees, faults, options);
      const std::string what = Named(spec, isa, walk_below);
      std::vector<std::int32_t> leaves(expected.size(), -1);
      forest.Leaves(features.data(), rows, leaves.data());
      if (leaves != expected) std::fprintf(stderr, "leaves: %s\n", what.c_str());
      CHECK(leaves == expected);
      std::vector<float> sums(rows, -1.0f);
      forest.LeafSums(features.data(), rows, sums.data());
      if (first.empty()) first = sums;
      if (!SameBits(sums, first)) std::fprintf(stderr, "sums: %s\n", what.c_str());
      CHECK(SameBits(sums, first));
      for (std::size_t row = 0; row < rows; ++row) {
        // Half a unit of the rounding to float32, and the float64 sums' own error.
        const double allowed = std::fabs(exact[row]) * 0x1p-24 + 100 * magnitude * 0x1p-46;
        CHECK(std::fabs(static_cast<double>(sums[row]) - exact[row]) <= allowed);
        CHECK(forest.SumOfLeaves(expected.data() + row * spec.trees) == sums[row]);
      }
      std::vector<float> in_parts(rows, -1.0f);
      for (std::size_t at = 0, part = 1; at < rows; at += part, part = part * 2 + 1) {
        const std::size_t count = std::min(part, rows - at);
        forest.LeafSums(features.data() + at * spec.features, count, in_parts.data() + at);
      }
      CHECK(SameBits(in_parts, first));
    }
  }
}

ForestSpec With(ForestSpec::Values values, std::uint32_t trees, std::uint32_t depth,
                std::uint32_t features = 5, double chance_of_leaf = 0.1) {
  ForestSpec spec;
  spec.values = values;
  spec.trees = trees;
  spec.depth = depth;
  spec.features = features;
  spec.chance_of_leaf = chance_of_leaf;
  return spec;
}

// Parts are shared by threads, from several callers at once, and again after a fork.
void ThreadsChangeNothing() {
  const ForestSpec spec = With(ForestSpec::kNormal, 40, 6);
  const Model model = RandomForest(spec, 77);
  const std::size_t rows = 4000;
  const std::vector<float> features = RowsFor(spec, model, rows, 78);
  std::vector<float> expected(rows);
  std::vector<std::int32_t> leaves(rows * spec.trees);
  const Forest alone(model.trees, {});
  alone.LeafSums(features.data(), rows, expected.data());
  alone.Leaves(features.data(), rows, leaves.data());
  ForestOptions options;
  options.threads = 3;
  const Forest forest(model.trees, {}, options);
  CHECK(forest.threads() == 3);
  const auto agrees = [&] {
    std::vector<float> sums(rows, -1.0f);
    std::vector<std::int32_t> found(leaves.size(), -1);
    forest.LeafSums(features.data(), rows, sums.data());
    forest.Leaves(features.data(), rows, found.data());
    return SameBits(sums, expected) && found == leaves;
  };
  std::vector<std::thread> callers;
  std::atomic<int> agreed{0};
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int i = 0; i < 20; ++i) agreed += agrees() ? 1 : 0;
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(agreed == 80);
  const pid_t child = fork();
  if (child == 0) _exit(agrees() ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  options.threads = 0;
  CHECK(Has(ErrorOf([&] { Forest(model.trees, {}, options); }), "0 threads"));
}

}  // namespace

int main() {
  ThreadsChangeNothing();
  std::uint32_t seed = 0;
  for (const auto values : {ForestSpec::kNormal, ForestSpec::kCounts, ForestSpec::kHeavyTailed,
                            ForestSpec::kCrowded, ForestSpec::kAnyBits}) {
    for (std::uint32_t depth = 0; depth <= 9; ++depth) {
      EveryKernelAgrees(With(values, 9, depth), ++seed);
    }
    EveryKernelAgrees(With(values, 70, 8, 2, 0.0), ++seed);     // Several columns a feature.
    EveryKernelAgrees(With(values, 300, 4, 35, 0.05), ++seed);  // Several groups and tiles.
    EveryKernelAgrees(With(values, 12, 14, 3, 0.25), ++seed);   // Ragged.
    EveryKernelAgrees(With(values, 3, 40, 4, 0.0), ++seed);     // Too large for ids of a byte.
  }
  // A row's codes in 4, 10 or 16 registers, and too many for those; two parts a tree, and three.
  for (const auto values : {ForestSpec::kNormal, ForestSpec::kAnyBits}) {
    for (const std::uint32_t features : {20, 170, 340, 600}) {
      EveryKernelAgrees(With(values, 20, 6, features, 0.02), ++seed);
      EveryKernelAgrees(With(values, 11, 8, features, 0.02), ++seed);
    }
    EveryKernelAgrees(With(values, 110, 8, 40, 0.0), ++seed);  // Several groups of tests.
  }
  EveryKernelAgrees(With(ForestSpec::kNormal, 530, 7, 3, 0.4), ++seed);  // More than at once.
  for (const double spread : {0.0, 6.0, 12.0, 40.0}) {
    ForestSpec spec = With(ForestSpec::kNormal, 130, 6);
    spec.weight_spread = spread;
    EveryKernelAgrees(spec, ++seed);
  }
  Faults planted;
  planted.threshold_le = true;
  EveryKernelAgrees(With(ForestSpec::kCounts, 40, 6), ++seed, planted);
  EveryKernelAgrees(With(ForestSpec::kAnyBits, 40, 6), ++seed, planted);
  planted = {};
  planted.tree_limit = 7;
  EveryKernelAgrees(With(ForestSpec::kNormal, 40, 6), ++seed, planted);

  CHECK(Has(ErrorOf([] { cpp_serving::IsaFromName("sse9"); }), "sse9"));
  return Finish();
}
