// Leaves at a threshold, one float either side of it, at infinity, and where the value is missing.
#include "cpp_serving/trees.h"

#include <cmath>
#include <limits>

#include "artifact_builder.h"
#include "check.h"
#include "cpp_serving/model.h"

using cpp_serving::Faults;
using cpp_serving::Model;

namespace {

Model OneFeature(float threshold, bool missing_left) {
  ArtifactSpec spec;
  spec.features = {{0, "x", {"candidate.x"}}};
  // The ordinals are not in the nodes' order: the file says them.
  spec.trees = {{{threshold, missing_left ? kMissingLeft : 0u, 1}, Leaf(1), Leaf(0)}};
  spec.leaf_weights = {0.0f, 0.0f};
  return Model::From(cpp_serving::Artifact::FromBytes(FileOf(SectionsOf(spec)), "test"));
}

std::int32_t LeafOf(const Model& model, float x, const Faults& faults = {}) {
  std::int32_t leaf = -1;
  cpp_serving::WalkTrees(model.trees, faults, &x, &leaf);
  return leaf;
}

}  // namespace

int main() {
  constexpr std::int32_t kLeft = 1;
  constexpr std::int32_t kRight = 0;
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float threshold : {0.1f, -3.0f, 0.0f, 1e-40f, 16777216.0f}) {
    const Model model = OneFeature(threshold, true);
    CHECK(LeafOf(model, threshold) == kRight);
    CHECK(LeafOf(model, std::nextafterf(threshold, -inf)) == kLeft);
    CHECK(LeafOf(model, std::nextafterf(threshold, inf)) == kRight);
    CHECK(LeafOf(model, -inf) == kLeft);
    CHECK(LeafOf(model, inf) == kRight);
    CHECK(LeafOf(model, nan) == kLeft);
    CHECK(LeafOf(OneFeature(threshold, false), nan) == kRight);
    Faults planted;
    planted.threshold_le = true;
    CHECK(LeafOf(model, threshold, planted) == kLeft);
    CHECK(LeafOf(model, std::nextafterf(threshold, inf), planted) == kRight);
    CHECK(LeafOf(OneFeature(threshold, false), nan, planted) == kRight);
  }
  CHECK(LeafOf(OneFeature(0.0f, true), -0.0f) == kRight);

  ArtifactSpec spec = SampleSpec();
  const Model model =
      Model::From(cpp_serving::Artifact::FromBytes(FileOf(SectionsOf(spec)), "test"));
  const auto points = cpp_serving::SplitPoints(model.trees);
  CHECK(points.size() == 10);
  CHECK(points[0] == std::vector<float>{1.5f} && points[2] == std::vector<float>{2.0f} &&
        points[9] == std::vector<float>{0.5f} && points[1].empty());
  return Finish();
}
