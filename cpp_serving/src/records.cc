#include "cpp_serving/records.h"

#include <cstring>
#include <utility>

#include "cpp_serving/error.h"

namespace cpp_serving {
namespace {

[[noreturn]] void Refuse(std::string what, std::string where) {
  throw Error(Error::Kind::kLog, std::move(what), std::move(where),
              "give a record batch of requests in the canonical types (docs/formats.md)");
}

// What an error calls a part of the batch; put together only when there is one.
struct Part {
  std::string_view before;
  std::string_view path;
  std::string Name() const {
    return std::string(before) + std::string(path) + (before.empty() ? "" : "'");
  }
};

// Schema and array of a node fit each other, as far as the interface lets a consumer see.
void CheckNode(const ArrowSchema* schema, const ArrowArray* array, std::int64_t buffers,
               const Part& part) {
  if (schema == nullptr || array == nullptr || schema->format == nullptr) {
    Refuse("the Arrow array is malformed: a part is absent.", part.Name());
  }
  if (schema->dictionary != nullptr) {
    Refuse("the values are dictionary-encoded, which is no canonical type.", part.Name());
  }
  if (array->length < 0 || array->offset < 0 || array->n_buffers != buffers ||
      array->n_children != schema->n_children || (buffers > 0 && array->buffers == nullptr)) {
    Refuse("the Arrow array is malformed: it does not fit its type '" +
               std::string(schema->format) + "'.",
           part.Name());
  }
}

const std::uint8_t* Validity(const ArrowArray& array) {
  return array.null_count == 0 ? nullptr : static_cast<const std::uint8_t*>(array.buffers[0]);
}

bool IsStruct(const ArrowSchema& schema) { return std::strcmp(schema.format, "+s") == 0; }

void CheckStruct(const ArrowSchema* schema, const ArrowArray* array, const Part& part) {
  if (schema != nullptr && schema->format != nullptr && !IsStruct(*schema)) {
    Refuse("there is '" + std::string(schema->format) + "' (Arrow's format string), not a struct.",
           part.Name());
  }
  CheckNode(schema, array, 1, part);
}

int FindChild(const ArrowSchema& schema, std::string_view name) {
  for (std::int64_t i = 0; i < schema.n_children; ++i) {
    const ArrowSchema* child = schema.children[i];
    if (child != nullptr && child->name != nullptr && name == child->name) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

std::string Known(const ArrowSchema& schema, const std::string& prefix) {
  std::string known;
  for (std::int64_t i = 0; i < schema.n_children; ++i) {
    const ArrowSchema* child = schema.children[i];
    const char* name = child == nullptr || child->name == nullptr ? "" : child->name;
    known += (known.empty() ? "" : ", ") + prefix + name;
  }
  return known.empty() ? "none" : known;
}

ValueType TypeOf(const ArrowSchema& schema, const Part& part) {
  const std::string_view format = schema.format;
  if (format == "b") return ValueType::kBool;
  if (format == "l") return ValueType::kInt64;
  if (format == "g") return ValueType::kFloat64;
  if (format == "u") return ValueType::kUtf8;
  if (format == "tsu:UTC") return ValueType::kTimestamp;
  Refuse("there is a value of Arrow's type '" + std::string(format) +
             "', not bool, int64, float64, utf8 or timestamp[us, UTC].",
         part.Name());
}

}  // namespace

const char* NameOf(ValueType type) {
  switch (type) {
    case ValueType::kBool:
      return "bool";
    case ValueType::kInt64:
      return "int64";
    case ValueType::kFloat64:
      return "float64";
    case ValueType::kUtf8:
      return "utf8";
    case ValueType::kTimestamp:
      return "timestamp[us, UTC]";
  }
  return "unknown";
}

std::string_view Field::Text(std::int64_t row) const {
  const std::int32_t begin = offsets_[base_ + row];
  const std::int32_t end = offsets_[base_ + row + 1];
  if (begin < 0 || end < begin) {
    Refuse("the offsets of a text column are not ascending.", "row " + std::to_string(row));
  }
  if (end == begin) return {};
  return {text_ + begin, static_cast<std::size_t>(end - begin)};
}

Records::Records(const ArrowSchema& schema, const ArrowArray& array)
    : schema_(schema), array_(array) {
  if (schema.release == nullptr || array.release == nullptr) {
    Refuse("the record batch was released before it was read.", "the record batch");
  }
  CheckStruct(&schema, &array, {"", "the record batch"});
  num_requests_ = array.length;
  const std::uint8_t* validity = Validity(array);
  for (std::int64_t i = 0; validity != nullptr && i < array.length; ++i) {
    if (!Field::Bit(validity, array.offset + i)) {
      Refuse("row " + std::to_string(i) + " is null.", "the record batch");
    }
  }
  for (std::int64_t i = 0; i < array.n_children; ++i) {
    if (array.children[i] == nullptr || schema.children[i] == nullptr ||
        array.children[i]->length < array.offset + array.length) {
      Refuse("the Arrow array is malformed: column " + std::to_string(i) + " is too short.",
             "the record batch");
    }
  }
  candidates_ = ListsOf("candidates");
  steps_ = ListsOf("history");
}

int Records::Find(std::string_view name) const {
  const int place = FindChild(schema_, name);
  if (place < 0) {
    Refuse("the log has no column '" + std::string(name) + "' (known: " + Known(schema_, "") + ").",
           "the log's schema");
  }
  return place;
}

Records::Lists Records::ListsOf(const char* column) const {
  const int place = Find(column);
  const ArrowSchema* schema = schema_.children[place];
  const ArrowArray* array = array_.children[place];
  const Part part{"column '", column};
  if (schema->format == nullptr || std::strcmp(schema->format, "+l") != 0 ||
      schema->n_children != 1) {
    Refuse("there is '" + std::string(schema->format == nullptr ? "" : schema->format) +
               "' (Arrow's format string), not a list of structs.",
           part.Name());
  }
  CheckNode(schema, array, 2, part);
  Lists lists;
  lists.schema = schema->children[0];
  lists.array = array->children[0];
  CheckStruct(lists.schema, lists.array, part);
  for (std::int64_t i = 0; i < lists.array->n_children; ++i) {
    if (lists.array->children[i] == nullptr ||
        lists.array->children[i]->length < lists.array->offset + lists.array->length) {
      Refuse("the Arrow array is malformed: field " + std::to_string(i) + " is too short.",
             part.Name());
    }
  }
  if (num_requests_ == 0) return lists;
  if (array->buffers[1] == nullptr) Refuse("the list has no offsets.", part.Name());
  const std::int64_t base = array_.offset + array->offset;
  lists.offsets = static_cast<const std::int32_t*>(array->buffers[1]) + base;
  const std::uint8_t* validity = Validity(*array);
  for (std::int64_t i = 0; i < num_requests_; ++i) {
    if (!Field::Bit(validity, base + i)) {
      Refuse("row " + std::to_string(i) + " is null.", part.Name());
    }
    if (lists.offsets[i] < 0 || lists.offsets[i + 1] < lists.offsets[i]) {
      Refuse("the list's offsets are not ascending.", part.Name());
    }
  }
  if (lists.offsets[num_requests_] > lists.array->length) {
    Refuse("the list reaches beyond its values.", part.Name());
  }
  lists.first = lists.offsets[0];
  lists.num_rows = lists.offsets[num_requests_] - lists.first;
  return lists;
}

Field Records::At(const std::string& path) const {
  const std::size_t dot = path.find('.');
  const std::string_view top = std::string_view(path).substr(0, dot);
  const ArrowSchema* schema = nullptr;
  const ArrowArray* array = nullptr;
  std::int64_t base = 0;
  std::int64_t rows = 0;
  Field field;
  if (top == "candidate" || top == "history") {
    const Lists& lists = top == "candidate" ? candidates_ : steps_;
    field.axis = top == "candidate" ? Axis::kCandidate : Axis::kStep;
    schema = lists.schema;
    array = lists.array;
    base = lists.first;
    rows = lists.num_rows;
  } else {
    const int place = Find(top);
    schema = schema_.children[place];
    array = array_.children[place];
    base = array_.offset;
    rows = num_requests_;
  }
  const Part where{"field '", path};
  base += array->offset;
  if (dot != std::string::npos) {
    CheckStruct(schema, array, where);
    const int place = FindChild(*schema, std::string_view(path).substr(dot + 1));
    if (place < 0) {
      Refuse("the log has no field '" + path +
                 "' (known: " + Known(*schema, std::string(top) + ".") + ").",
             "the log's schema");
    }
    field.struct_validity_ = Validity(*array);
    field.struct_base_ = base;
    schema = schema->children[place];
    array = array->children[place];
    if (array != nullptr) base += array->offset;
  }
  if (array == nullptr || schema->format == nullptr) {
    Refuse("the Arrow array is malformed: a part is absent.", where.Name());
  }
  field.type = TypeOf(*schema, where);
  const bool text = field.type == ValueType::kUtf8;
  CheckNode(schema, array, text ? 3 : 2, where);
  if (rows > 0 && (base + rows > array->offset + array->length || array->buffers[1] == nullptr)) {
    Refuse("the Arrow array is malformed: it has too few values.", where.Name());
  }
  field.base_ = base;
  field.validity_ = Validity(*array);
  if (text) {
    field.offsets_ = static_cast<const std::int32_t*>(array->buffers[1]);
    field.text_ = static_cast<const char*>(array->buffers[2]);
    if (rows > 0 && field.text_ == nullptr && field.offsets_[base + rows] != field.offsets_[base]) {
      Refuse("the Arrow array is malformed: the text has no bytes.", where.Name());
    }
  } else if (field.type == ValueType::kBool) {
    field.bits_ = static_cast<const std::uint8_t*>(array->buffers[1]);
  } else {
    field.values_ = array->buffers[1];
  }
  return field;
}

}  // namespace cpp_serving
