#include "line_walk.h"

#include <algorithm>
#include <numeric>

namespace cpp_serving {
namespace {

constexpr std::uint32_t kLowerLevels = 4;
constexpr std::uint32_t kWords = 16;  // A cache line.
constexpr std::size_t kAhead = 4;     // Groups whose lower lines are fetched while others walk.
constexpr std::uint32_t kAlwaysLeft = 255u << 16;

}  // namespace

LineWalk::LineWalk(const std::vector<std::vector<TestedNode>>& trees, const LeafWeights& weights,
                   const std::uint32_t* first_leaf)
    : order_(trees.size()), num_trees_(trees.size()), scale_(1.0 / weights.unit) {
  std::vector<std::uint32_t> depths;
  for (const auto& tree : trees) depths.push_back(DepthOf(tree));
  std::iota(order_.begin(), order_.end(), 0);
  std::stable_sort(order_.begin(), order_.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return depths[a] > depths[b]; });
  for (std::size_t lane = 0; lane < order_.size(); ++lane) {
    const std::uint32_t tree = order_[lane];
    if (lane % kLanes == 0) {
      upper_levels_.push_back(depths[tree] > kLowerLevels ? depths[tree] - kLowerLevels : 0);
    }
    std::vector<std::uint32_t> ends;
    upper_.push_back(static_cast<std::uint32_t>(words_.size()));
    AddLine(trees[tree], 0, upper_levels_.back(), &ends);
    lower_.push_back(static_cast<std::uint32_t>(words_.size()));
    for (const std::uint32_t end : ends) {
      const std::size_t line = words_.size();
      std::vector<std::uint32_t> leaves;
      AddLine(trees[tree], end, kLowerLevels, &leaves);
      for (std::size_t i = 0; i < leaves.size(); ++i) {
        const std::uint32_t ordinal = trees[tree][leaves[i]].left;
        // At most 24 bits, as the float32 weight itself: exact.
        weights_[line + i] = static_cast<float>(
            static_cast<double>(weights.fixed[first_leaf[tree] + ordinal]) * weights.unit);
        ordinals_[line + i] = static_cast<std::int32_t>(ordinal);
      }
    }
  }
  while (order_.size() % kLanes != 0) {
    order_.push_back(order_.back());
    upper_.push_back(upper_.back());
    lower_.push_back(lower_.back());
  }
}

// Adds the line of `levels` levels below `root`; `ends` are the nodes below them.
void LineWalk::AddLine(const std::vector<TestedNode>& tree, std::uint32_t root,
                       std::uint32_t levels, std::vector<std::uint32_t>* ends) {
  const std::size_t line = words_.size();
  words_.resize(line + kWords, kAlwaysLeft);
  weights_.resize(line + kWords, 0.0f);
  ordinals_.resize(line + kWords, 0);
  *ends = {root};
  for (std::uint32_t level = 0; level < levels; ++level) {
    std::vector<std::uint32_t> next;
    for (std::size_t i = 0; i < ends->size(); ++i) {
      const std::uint32_t each = (*ends)[i];
      const TestedNode& node = tree[each];
      if (!node.is_leaf) {
        words_[line + (std::size_t{1} << level) + i] = node.test.plane | node.test.bound << 16;
      }
      next.push_back(node.is_leaf ? each : node.left);
      next.push_back(node.is_leaf ? each : node.left + 1);
    }
    *ends = std::move(next);
  }
}

template <typename Use>
void LineWalk::ForEnds(const std::uint8_t* codes, Use use) const {
  const std::uint32_t* words = words_.data();
  // From place p of a line that starts at a multiple of 16 to its place 2p or 2p + 1.
  const auto step = [&](std::size_t at) {
    const std::uint32_t word = words[at];
    const std::uint8_t code = codes[word & 0xFFFF];
    const auto bound = static_cast<std::uint8_t>(word >> 16);
    return at + (at & (kWords - 1)) + (bound < code ? 1 : 0);
  };
  std::size_t at[kAhead * kLanes];
  const std::size_t groups = upper_levels_.size();
  for (std::size_t begin = 0; begin < groups; begin += kAhead) {
    const std::size_t end = std::min(begin + kAhead, groups);
    for (std::size_t group = begin; group < end; ++group) {
      const std::uint32_t* upper = upper_.data() + group * kLanes;
      const std::uint32_t* lower = lower_.data() + group * kLanes;
      // Named, not an array: each in a register of its own.
      std::size_t a = upper[0] + 1, b = upper[1] + 1, c = upper[2] + 1, d = upper[3] + 1;
      std::size_t e = upper[4] + 1, f = upper[5] + 1, g = upper[6] + 1, h = upper[7] + 1;
      for (std::uint32_t left = upper_levels_[group]; left > 0; --left) {
        a = step(a), b = step(b), c = step(c), d = step(d);
        e = step(e), f = step(f), g = step(g), h = step(h);
      }
      const std::size_t ends = std::size_t{1} << upper_levels_[group];
      const std::size_t places[kLanes] = {a, b, c, d, e, f, g, h};
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const std::size_t line = lower[lane] + (places[lane] - upper[lane] - ends) * kWords;
        __builtin_prefetch(words + line);
        __builtin_prefetch(weights_.data() + line);
        at[(group - begin) * kLanes + lane] = line + 1;
      }
    }
    for (std::size_t group = begin; group < end; ++group) {
      const std::size_t* from = at + (group - begin) * kLanes;
      std::size_t a = from[0], b = from[1], c = from[2], d = from[3];
      std::size_t e = from[4], f = from[5], g = from[6], h = from[7];
      for (std::uint32_t left = kLowerLevels; left > 0; --left) {
        a = step(a), b = step(b), c = step(c), d = step(d);
        e = step(e), f = step(f), g = step(g), h = step(h);
      }
      const std::size_t reached[kLanes] = {a, b, c, d, e, f, g, h};
      const std::size_t first = group * kLanes;
      const std::size_t lanes = std::min<std::size_t>(kLanes, num_trees_ - first);
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        use(order_[first + lane], reached[lane] - kWords);
      }
    }
  }
}

std::int64_t LineWalk::Sum(const std::uint8_t* codes) const {
  std::int64_t sum = 0;
  ForEnds(codes, [&](std::uint32_t, std::size_t end) {
    sum += static_cast<std::int64_t>(static_cast<double>(weights_[end]) * scale_);
  });
  return sum;
}

void LineWalk::Leaves(const std::uint8_t* codes, std::int32_t* leaves) const {
  ForEnds(codes, [&](std::uint32_t tree, std::size_t end) { leaves[tree] = ordinals_[end]; });
}

}  // namespace cpp_serving
