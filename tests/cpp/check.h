// Claims of a test program: a failed one is printed, and the program exits with 1 at its end.
#ifndef TESTS_CPP_CHECK_H_
#define TESTS_CPP_CHECK_H_

#include <cstdio>
#include <string>

#include "cpp_serving/error.h"

inline int& Failures() {
  static int failures = 0;
  return failures;
}

inline int Finish() {
  if (Failures() > 0) std::fprintf(stderr, "%d claims failed\n", Failures());
  return Failures() == 0 ? 0 : 1;
}

#define CHECK(claim)                                                           \
  do {                                                                         \
    if (!(claim)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
      ++Failures();                                                            \
    }                                                                          \
  } while (false)

// The message of the error that `act` throws; empty when it throws none. Every part must be there.
template <typename Act>
std::string ErrorOf(Act act) {
  try {
    act();
  } catch (const cpp_serving::Error& error) {
    CHECK(!std::string(error.what()).empty() && !error.where().empty() && !error.fix().empty());
    return std::string(error.what()) + " " + error.where();
  }
  return "";
}

inline bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

#endif  // TESTS_CPP_CHECK_H_
