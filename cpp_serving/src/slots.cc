#include "slots.h"

#include <algorithm>
#include <limits>

namespace cpp_serving {

bool Slots::AddSliced(std::uint32_t tree, const std::vector<TestedNode>& nodes,
                      const std::int64_t* weights) {
  std::vector<std::uint32_t> leaf_of_id;
  if (!slices_.Add(nodes, &leaf_of_id)) return false;
  Add(tree, leaf_of_id, weights);
  return true;
}

bool Slots::AddUnits(std::uint32_t tree, const std::vector<TestedNode>& nodes,
                     const std::int64_t* weights) {
  UnitProgram compiled;
  if (!CompileUnits(nodes, &compiled)) return false;
  Add(tree, compiled.leaf_of_id, weights);
  program_at_.back() = static_cast<std::uint32_t>(program_.size());
  num_units_.back() = compiled.num_units;
  program_.insert(program_.end(), compiled.words.begin(), compiled.words.end());
  num_unit_nodes_ += compiled.num_nodes;
  return true;
}

void Slots::Add(std::uint32_t tree, const std::vector<std::uint32_t>& leaf_of_id,
                const std::int64_t* weights) {
  trees_.push_back(tree);
  program_at_.push_back(0);
  num_units_.push_back(0);
  const std::size_t ids = leaf_of_id.size();
  num_ids_.push_back(ids <= 64 ? 64 : ids <= 128 ? 128 : 256);
  const std::size_t first = leaves_.size();
  leaves_.resize(first + kIds, 0);
  weights_.resize(first + kIds, 0);
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (std::size_t id = 0; id < ids; ++id) {
    leaves_[first + id] = static_cast<std::uint8_t>(leaf_of_id[id]);
    weights_[first + id] = weights[leaf_of_id[id]];
    least = std::min(least, weights_[first + id]);
  }
  least_sum_ += least;
  for (std::size_t id = 0; id < ids; ++id) weights_[first + id] -= least;
}

void Slots::Show(Layout* layout) {
  slices_.Finish();
  std::int64_t largest = 1;
  for (const std::int64_t weight : weights_) largest = std::max(largest, weight);
  std::uint32_t num_bytes = 1;
  while (num_bytes < 7 && largest >> (8 * num_bytes) != 0) ++num_bytes;
  for (std::size_t slot = 0; slot < trees_.size(); ++slot) {
    weight_bytes_at_.push_back(static_cast<std::uint32_t>(weight_bytes_.size()));
    for (std::uint32_t byte = 0; byte < num_bytes; ++byte) {
      for (std::uint32_t id = 0; id < num_ids_[slot]; ++id) {
        weight_bytes_.push_back(
            static_cast<std::uint8_t>(weights_[slot * kIds + id] >> (8 * byte)));
      }
    }
  }
  slices_.ShowIn(layout);
  layout->program = program_.data();
  layout->program_at = program_at_.data();
  layout->num_units = num_units_.data();
  layout->num_ids = num_ids_.data();
  layout->weight_bytes = weight_bytes_.data();
  layout->weight_bytes_at = weight_bytes_at_.data();
  layout->weights = weights_.data();
  layout->num_bytes = num_bytes;
}

}  // namespace cpp_serving
