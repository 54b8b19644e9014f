// What a fuzz target claims of any input; a broken claim ends the program, which libFuzzer reports.
#ifndef TESTS_CPP_FUZZ_CLAIMS_H_
#define TESTS_CPP_FUZZ_CLAIMS_H_

#include <cstdio>
#include <cstdlib>

#include "cpp_serving/error.h"

#define CLAIM(claim)                                                           \
  do {                                                                         \
    if (!(claim)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
      std::abort();                                                            \
    }                                                                          \
  } while (false)

// Calls act(); what it refuses says what, where and what to do. False where it refused.
template <typename Act>
bool Accepted(Act act) {
  try {
    act();
    return true;
  } catch (const cpp_serving::Error& error) {
    CLAIM(error.what()[0] != '\0' && !error.where().empty() && !error.fix().empty());
    return false;
  }
}

#endif  // TESTS_CPP_FUZZ_CLAIMS_H_
