// Scores rows with a model file of XGBoost or LightGBM:
//   score_model model.json < rows.csv
// A row is a line of comma-separated numbers; an empty field is missing. Prints a line of scores
// for each. Ends with 2 where the model or a row can not be used.
#include <cstdlib>
#include <iostream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "cpp_serving/error.h"
#include "cpp_serving/tree_scorer.h"

namespace {

using cpp_serving::Error;
using cpp_serving::TreeScorer;

std::vector<float> RowFrom(const std::string& line, std::size_t width, std::size_t number) {
  const auto refuse = [&](const std::string& what) {
    throw Error(Error::Kind::kStack, what, "line " + std::to_string(number),
                "give " + std::to_string(width) + " numbers with commas between them");
  };
  std::vector<float> row;
  std::istringstream fields(line + ",");
  for (std::string field; std::getline(fields, field, ',');) {
    char* end = nullptr;
    const float value = std::strtof(field.c_str(), &end);
    if (*end != '\0') refuse("'" + field + "' is no number.");
    row.push_back(field.empty() ? std::numeric_limits<float>::quiet_NaN() : value);
  }
  if (row.size() != width) refuse("the row has " + std::to_string(row.size()) + " fields.");
  return row;
}

void ScoreLines(const TreeScorer& scorer) {
  std::vector<float> scores(scorer.scores_per_row());
  std::size_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const std::vector<float> row = RowFrom(line, scorer.num_features(), ++number);
    scorer.Score(row.data(), 1, scores.data());
    for (std::size_t i = 0; i < scores.size(); ++i) {
      std::cout << (i == 0 ? "" : ",") << scores[i];
    }
    std::cout << '\n';
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: score_model MODEL < rows.csv\n";
    return 2;
  }
  try {
    ScoreLines(TreeScorer(cpp_serving::ReadBoostedTrees(std::filesystem::path(arguments[1]))));
  } catch (const Error& error) {
    std::cerr << error.what() << "\n  where: " << error.where() << "\n  fix:   " << error.fix()
              << '\n';
    return 2;
  }
  return 0;
}
