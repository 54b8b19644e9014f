// The one exception that leaves the scorer: what is wrong, where to look, what to do.
#ifndef CPP_SERVING_ERROR_H_
#define CPP_SERVING_ERROR_H_

#include <exception>
#include <string>
#include <utility>

namespace cpp_serving {

class Error : public std::exception {
 public:
  // Which part of the input is at fault: the scorer's file, the logged records, or the caller.
  enum class Kind { kArtifact, kLog, kStack };

  Error(Kind kind, std::string what, std::string where, std::string fix)
      : kind_(kind), what_(std::move(what)), where_(std::move(where)), fix_(std::move(fix)) {}

  const char* what() const noexcept override { return what_.c_str(); }
  Kind kind() const { return kind_; }
  const std::string& where() const { return where_; }
  const std::string& fix() const { return fix_; }

 private:
  Kind kind_;
  std::string what_;
  std::string where_;
  std::string fix_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_ERROR_H_
