// Any bytes, read as LightGBM's text.
#include "lightgbm_reader.h"
#include "model_writers.h"
#include "same_trees.h"
#include "scoring.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  cpp_serving::BoostedTrees model;
  const bool accepted = Accepted([&] {
    model = cpp_serving::ReadLightgbm({reinterpret_cast<const char*>(data), size}, "input");
  });
  if (!accepted) return 0;
  ScoreIt(model, size);
  CLAIM(SameModel(model, cpp_serving::ReadLightgbm(AsLightgbm(model), "written")));
  return 0;
}
