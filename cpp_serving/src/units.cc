#include "units.h"

#include <algorithm>

namespace cpp_serving {
namespace {

constexpr std::uint32_t kLevels = 3;  // Of the largest unit.
constexpr std::uint32_t kMaxIds = 256;
constexpr std::uint32_t kMaxPlaces = 256;
// Trees beyond are walked: evaluating all nodes would cost more, and recursion stays shallow.
constexpr std::uint32_t kMaxHeight = 16;

class Compiler {
 public:
  Compiler(const std::vector<TestedNode>& tree, UnitProgram* program)
      : tree_(tree), program_(program), heights_(tree.size(), 0) {
    // Children stand after their parents.
    for (std::size_t i = tree.size(); i-- > 0;) {
      if (tree[i].is_leaf) continue;
      heights_[i] = 1 + std::max(heights_[tree[i].left], heights_[tree[i].left + 1]);
    }
  }

  bool Compile() {
    if (heights_[0] > kMaxHeight) return false;
    Emit(0, 0);
    return fits_;
  }

 private:
  // The ends of the subtree of `levels` below `node`, and its nodes in heap order. Where a path
  // ends early its node is repeated; what is compared there does not matter.
  void Spread(std::uint32_t node, std::uint32_t levels, std::vector<std::uint32_t>* tests,
              std::vector<std::uint32_t>* ends) const {
    std::vector<std::uint32_t> level{node};
    for (std::uint32_t depth = 0; depth < levels; ++depth) {
      std::vector<std::uint32_t> next;
      for (const std::uint32_t each : level) {
        const TestedNode& at = tree_[each];
        const CodeTest test = at.is_leaf ? CodeTest{0, 0} : at.test;
        tests->push_back(test.bound * 0x01010101u);
        tests->push_back(test.plane * static_cast<std::uint32_t>(kBlock));
        next.push_back(at.is_leaf ? each : at.left);
        next.push_back(at.is_leaf ? each : at.left + 1);
      }
      level = std::move(next);
    }
    *ends = std::move(level);
  }

  void Head(std::uint32_t kind, std::uint32_t place, std::uint32_t first_id) {
    if (place >= kMaxPlaces) fits_ = false;
    program_->words.push_back(kind | (place & 0xFF) << 8 | first_id << 16);
    ++program_->num_units;
  }

  // The units of the subtree at `node`, its result in `place`; places above are free.
  void Emit(std::uint32_t node, std::uint32_t place) {
    if (!fits_) return;
    const std::uint32_t height = heights_[node];
    std::vector<std::uint32_t> tests;
    std::vector<std::uint32_t> ends;
    if (height <= kLevels) {
      Spread(node, height, &tests, &ends);
      const auto first = static_cast<std::uint32_t>(program_->leaf_of_id.size());
      if (first + ends.size() > kMaxIds) {
        fits_ = false;
        return;
      }
      for (const std::uint32_t end : ends) program_->leaf_of_id.push_back(tree_[end].left);
      Head(height, place, first);
    } else {
      // So many levels that the largest part below splits into whole units.
      const std::uint32_t over = (height - kLevels) % kLevels;
      const std::uint32_t levels = over == 0 ? kLevels : over;
      Spread(node, levels, &tests, &ends);
      std::vector<std::uint32_t> places;
      std::uint32_t next = place;
      for (std::size_t i = 0; i < ends.size(); ++i) {
        if (i > 0 && ends[i] == ends[i - 1]) {
          places.push_back(places.back());
          continue;
        }
        Emit(ends[i], next);
        places.push_back(next++);
      }
      Head(kLevels + levels, place, 0);
      for (std::size_t i = 0; i < places.size(); i += 4) {
        std::uint32_t word = 0;
        for (std::size_t j = i; j < std::min(i + 4, places.size()); ++j) {
          word |= (places[j] & 0xFF) << (8 * (j - i));
        }
        tests.push_back(word);
      }
    }
    program_->num_nodes += static_cast<std::uint32_t>(tests.size() / 2);
    program_->words.insert(program_->words.end(), tests.begin(), tests.end());
  }

  const std::vector<TestedNode>& tree_;
  UnitProgram* program_;
  std::vector<std::uint32_t> heights_;
  bool fits_ = true;
};

}  // namespace

std::uint32_t DepthOf(const std::vector<TestedNode>& tree) {
  std::vector<std::uint32_t> depths(tree.size(), 0);
  std::uint32_t deepest = 0;
  for (std::size_t i = 0; i < tree.size(); ++i) {
    deepest = std::max(deepest, depths[i]);
    if (!tree[i].is_leaf) depths[tree[i].left] = depths[tree[i].left + 1] = depths[i] + 1;
  }
  return deepest;
}

bool CompileUnits(const std::vector<TestedNode>& tree, UnitProgram* program) {
  return Compiler(tree, program).Compile();
}

}  // namespace cpp_serving
