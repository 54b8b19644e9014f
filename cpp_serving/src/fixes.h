// What to do about a model file that is refused.
#ifndef CPP_SERVING_SRC_FIXES_H_
#define CPP_SERVING_SRC_FIXES_H_

namespace cpp_serving {

// A damaged one.
inline constexpr char kSaveAgain[] =
    "save the model again with the library that trained it, or copy the file again";
// A sound one that holds what can not be scored here.
inline constexpr char kScoreElsewhere[] =
    "score it with the library that wrote it; docs/model_files.md lists what is read here";

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_FIXES_H_
