// Scores rows of a file again and again: what instructions.py counts the instructions of.
//   calls SCORER ROWS KERNEL ROWS_A_CALL CALLS
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cpp_serving/scorer.h"

int main(int count, char** arguments) {
  using namespace cpp_serving;
  if (count != 6) return 1;
  ForestOptions options;
  options.isa = IsaFromName(arguments[3]);
  const Scorer scorer(Artifact::Open(arguments[1]), Faults{}, options);
  const std::size_t rows = std::strtoul(arguments[4], nullptr, 10);
  const std::size_t calls = std::strtoul(arguments[5], nullptr, 10);
  const std::size_t width = scorer.model().num_real;
  std::vector<float> values(rows * calls * width);
  std::FILE* file = std::fopen(arguments[2], "rb");
  if (file == nullptr) return 1;
  const bool whole = std::fread(values.data(), sizeof(float), values.size(), file) == values.size();
  std::fclose(file);
  if (!whole) return 1;
  std::vector<float> pctr(rows);
  for (std::size_t call = 0; call < calls; ++call) {
    scorer.ScoreMatrix(values.data() + call * rows * width, rows, pctr.data());
  }
  return 0;
}
