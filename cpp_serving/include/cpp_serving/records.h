// Logged requests as the Arrow C data interface hands them over: fields by path, rows by axis.
#ifndef CPP_SERVING_RECORDS_H_
#define CPP_SERVING_RECORDS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "cpp_serving/arrow_abi.h"
#include "cpp_serving/model.h"

namespace cpp_serving {

// The canonical types of a logged value.
enum class ValueType { kBool, kInt64, kFloat64, kUtf8, kTimestamp };

const char* NameOf(ValueType type);

// The values of one logged field, one a row of its axis. A view: the arrays outlive it.
class Field {
 public:
  ValueType type = ValueType::kInt64;
  Axis axis = Axis::kRequest;

  // Null at the value's own level or at that of the struct around it.
  bool IsNull(std::int64_t row) const {
    return !Bit(struct_validity_, struct_base_ + row) || !Bit(validity_, base_ + row);
  }
  bool Bool(std::int64_t row) const { return Bit(bits_, base_ + row); }
  std::int64_t Int64(std::int64_t row) const {  // Also microseconds of a timestamp.
    return static_cast<const std::int64_t*>(values_)[base_ + row];
  }
  double Float64(std::int64_t row) const {
    return static_cast<const double*>(values_)[base_ + row];
  }
  std::string_view Text(std::int64_t row) const;

 private:
  friend class Records;
  // No bitmap means: all set.
  static bool Bit(const std::uint8_t* bits, std::int64_t i) {
    return bits == nullptr || ((bits[i >> 3] >> (i & 7)) & 1) != 0;
  }

  const std::uint8_t* validity_ = nullptr;
  const std::uint8_t* struct_validity_ = nullptr;
  const std::uint8_t* bits_ = nullptr;
  const void* values_ = nullptr;
  const std::int32_t* offsets_ = nullptr;
  const char* text_ = nullptr;
  std::int64_t base_ = 0;
  std::int64_t struct_base_ = 0;
};

// A batch of requests. Offsets and validity bitmaps count at every level. A view: it releases
// nothing, and schema and array must outlive it. The producer vouches for the size of its buffers,
// which the interface does not carry; everything else is checked.
class Records {
 public:
  // Throws Error(kLog) when the batch is no record of requests.
  Records(const ArrowSchema& schema, const ArrowArray& array);

  std::int64_t num_requests() const { return num_requests_; }
  std::int64_t num_candidates() const { return candidates_.num_rows; }
  // First candidate row of a request; CandidateBegin(num_requests()) ends the last one.
  std::int64_t CandidateBegin(std::int64_t request) const { return candidates_.Begin(request); }
  std::int64_t StepBegin(std::int64_t request) const { return steps_.Begin(request); }

  // The field at a path: logged_at, context.*, user.*, candidate.*, history.*.
  // Throws Error(kLog), naming the path and what is there, when it is absent or of no canonical
  // type.
  Field At(const std::string& path) const;

 private:
  // A list column: the structs of all rows, one after another.
  struct Lists {
    const ArrowSchema* schema = nullptr;  // of the elements
    const ArrowArray* array = nullptr;
    const std::int32_t* offsets = nullptr;  // of the first request of the batch
    std::int64_t first = 0;
    std::int64_t num_rows = 0;

    std::int64_t Begin(std::int64_t request) const {
      return offsets == nullptr ? 0 : offsets[request] - first;
    }
  };

  int Find(std::string_view name) const;
  Lists ListsOf(const char* column) const;

  const ArrowSchema& schema_;
  const ArrowArray& array_;
  std::int64_t num_requests_ = 0;
  Lists candidates_;
  Lists steps_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_RECORDS_H_
