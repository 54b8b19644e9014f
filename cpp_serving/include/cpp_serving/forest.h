// Trees compiled for scoring: the same leaves and the same sums, bit for bit, whatever the
// instruction set, the number of rows in a call and their order.
#ifndef CPP_SERVING_FOREST_H_
#define CPP_SERVING_FOREST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cpp_serving/faults.h"
#include "cpp_serving/tree_table.h"

namespace cpp_serving {

// The instruction sets that kernels are written for, slowest first.
enum class Isa { kScalar, kAvx2, kAvx512Bw, kAvx512Vbmi };

// "scalar", "avx2", "avx512bw", "avx512vbmi".
const char* NameOf(Isa isa);

// Those that were compiled and that this processor and operating system can run; never empty.
std::vector<Isa> RunnableIsas();

// By name, or for "auto": what the environment variable CPP_SERVING_KERNEL names, else the last of
// RunnableIsas. Throws Error(kStack) for a name that is unknown or can not run here.
Isa IsaFromName(const std::string& name);

struct ForestOptions {
  Isa isa = IsaFromName("auto");
  // Rows left over from whole blocks are walked one by one below this number and evaluated as a
  // block from it on; above 64 every row is walked. 0: as measured for the trees' size. Changes
  // time, never a bit.
  std::size_t walk_below = 0;
  // Threads that share a call of many rows, the caller's among them; the others are kept waiting
  // for the next one. 1 to 256.
  std::uint32_t threads = 1;
};

// Leaf weights are summed as integers: a weight w counts as fix(w) = w * 2^k rounded to nearest,
// and the sum of a row is (sum of fix(w_t) over trees) * 2^-k, rounded once to float32. k is the
// smallest that makes every fix exact, but no larger than keeps every possible sum below 2^53. So
// the sum is that of exact arithmetic wherever the weights' bits span less than 53 places, and
// within num_trees * 2^-(k + 1) of it elsewhere, before the one rounding: at most num_trees *
// 2^-53 * (sum over trees of the largest |w|).
//
// Const methods may run on several threads; each thread keeps its own scratch memory, which
// grows to what the largest call needed.
class Forest {
 public:
  // Compiles the trees, which need not outlive the call. Throws Error(kStack) for an instruction
  // set that can not run here and for a number of threads out of range.
  Forest(const TreeTable& table, const Faults& faults, ForestOptions options = {});
  ~Forest();
  Forest(Forest&&) noexcept;
  Forest& operator=(Forest&&) noexcept;

  // `features` is [row, feature], C order; NaN is missing. `sums` is filled, [row].
  void LeafSums(const float* features, std::size_t rows, float* sums) const;

  // `leaves` is filled, [row, tree]: ordinals. float32 x < threshold goes left.
  void Leaves(const float* features, std::size_t rows, std::int32_t* leaves) const;

  // The sum of one row's leaves, [tree]; each ordinal must be one of its tree's.
  float SumOfLeaves(const std::int32_t* leaves) const;

  // Some of the features, by their places, whose codes are kept or shared apart from the others'.
  class Part;
  std::shared_ptr<const Part> PartOf(const std::vector<std::uint32_t>& features) const;
  // Bytes of a row's codes of these features.
  static std::size_t NumCodes(const Part& part);
  // `features` is [row, feature of the part]; `codes` is filled, [row, code], rows being `stride`
  // apart.
  void Quantise(const Part& part, const float* features, std::size_t rows, std::uint8_t* codes,
                std::size_t stride) const;
  // As LeafSums of rows whose features are in the two parts: the shared ones once, the own ones by
  // row.
  void LeafSumsOfCodes(const Part& shared, const std::uint8_t* shared_codes, const Part& own,
                       const std::uint8_t* codes, std::size_t stride, std::size_t rows,
                       float* sums) const;

  Isa isa() const;
  std::size_t walk_below() const;
  std::uint32_t threads() const;
  // Time of a call, very roughly, in nanoseconds: what releasing a lock is weighed against.
  std::size_t EstimatedNanoseconds(std::size_t rows) const;

 private:
  struct Compiled;
  void SumRows(const float* features, std::size_t rows, float* sums) const;
  void FindLeaves(const float* features, std::size_t rows, std::int32_t* leaves) const;

  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_FOREST_H_
