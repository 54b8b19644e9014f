// Arrow arrays made by hand, with offsets and bitmaps wherever a test wants them.
#ifndef TESTS_CPP_ARROW_BUILDER_H_
#define TESTS_CPP_ARROW_BUILDER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpp_serving/arrow_abi.h"

// One node of schema and array, with the memory it points to.
struct ArrowNode {
  ArrowSchema schema{};
  ArrowArray array{};
  std::string format;
  std::string name;
  std::vector<std::uint8_t> validity;
  std::vector<std::uint8_t> bits;
  std::vector<std::int64_t> integers;
  std::vector<double> floats;
  std::vector<std::int32_t> offsets;
  std::string text;
  std::vector<std::unique_ptr<ArrowNode>> children;
  std::vector<ArrowSchema*> schema_children;
  std::vector<ArrowArray*> array_children;
  std::vector<const void*> buffers;

  // Points both structures at the memory; call again after a change.
  ArrowNode& Seal() {
    schema_children.clear();
    array_children.clear();
    for (auto& child : children) {
      child->Seal();
      schema_children.push_back(&child->schema);
      array_children.push_back(&child->array);
    }
    const void* valid = validity.empty() ? nullptr : validity.data();
    if (format == "+s") buffers = {valid};
    if (format == "+l") buffers = {valid, offsets.data()};
    if (format == "u") buffers = {valid, offsets.data(), text.data()};
    if (format == "b") buffers = {valid, bits.data()};
    if (format == "l" || format == "tsu:UTC") buffers = {valid, integers.data()};
    if (format == "g") buffers = {valid, floats.data()};
    schema.format = format.c_str();
    schema.name = name.c_str();
    schema.n_children = static_cast<std::int64_t>(children.size());
    schema.children = schema_children.data();
    schema.release = [](ArrowSchema*) {};
    array.null_count = valid == nullptr ? 0 : -1;
    array.n_buffers = static_cast<std::int64_t>(buffers.size());
    array.buffers = buffers.data();
    array.n_children = schema.n_children;
    array.children = array_children.data();
    array.release = [](ArrowArray*) {};
    return *this;
  }

  ArrowNode& Child(const std::string& wanted) {
    for (auto& child : children) {
      if (child->name == wanted) return *child;
    }
    return *children.at(children.size());  // throws
  }
};

using ArrowNodePtr = std::unique_ptr<ArrowNode>;

inline void SetBit(std::vector<std::uint8_t>& bits, std::size_t place, bool value) {
  if (bits.size() <= place / 8) bits.resize(place / 8 + 1, 0);
  if (value) bits[place / 8] = static_cast<std::uint8_t>(bits[place / 8] | (1 << (place % 8)));
}

// `skip` values of rubbish lie before the first one, hidden by the array's offset.
template <typename T, typename Put>
ArrowNodePtr Values(std::string name, std::string format,
                    const std::vector<std::optional<T>>& values, std::size_t skip, const T& rubbish,
                    Put put) {
  auto node = std::make_unique<ArrowNode>();
  node->name = std::move(name);
  node->format = std::move(format);
  for (std::size_t i = 0; i < skip + values.size(); ++i) {
    const bool hidden = i < skip;
    SetBit(node->validity, i, hidden || values[i - skip].has_value());
    put(*node, i, hidden ? rubbish : values[i - skip].value_or(rubbish));
  }
  node->array.length = static_cast<std::int64_t>(values.size());
  node->array.offset = static_cast<std::int64_t>(skip);
  return node;
}

inline ArrowNodePtr Integers(std::string name, std::vector<std::optional<std::int64_t>> values,
                             std::size_t skip = 0, std::string format = "l") {
  return Values<std::int64_t>(
      std::move(name), std::move(format), values, skip, -77,
      [](ArrowNode& node, std::size_t, std::int64_t value) { node.integers.push_back(value); });
}

inline ArrowNodePtr Times(std::string name, std::vector<std::optional<std::int64_t>> values,
                          std::size_t skip = 0) {
  return Integers(std::move(name), std::move(values), skip, "tsu:UTC");
}

inline ArrowNodePtr Floats(std::string name, std::vector<std::optional<double>> values,
                           std::size_t skip = 0) {
  return Values<double>(
      std::move(name), "g", values, skip, -7.5,
      [](ArrowNode& node, std::size_t, double value) { node.floats.push_back(value); });
}

inline ArrowNodePtr Bools(std::string name, std::vector<std::optional<bool>> values,
                          std::size_t skip = 0) {
  return Values<bool>(
      std::move(name), "b", values, skip, true,
      [](ArrowNode& node, std::size_t place, bool value) { SetBit(node.bits, place, value); });
}

inline ArrowNodePtr Texts(std::string name, std::vector<std::optional<std::string>> values,
                          std::size_t skip = 0) {
  auto node =
      Values<std::string>(std::move(name), "u", values, skip, "rubbish",
                          [](ArrowNode& made, std::size_t, const std::string& value) {
                            if (made.offsets.empty()) made.offsets.push_back(0);
                            made.text += value;
                            made.offsets.push_back(static_cast<std::int32_t>(made.text.size()));
                          });
  if (node->offsets.empty()) node->offsets.push_back(0);
  return node;
}

// The children hold `skip` rubbish rows more than `length`.
inline ArrowNodePtr Struct(std::string name, std::int64_t length,
                           std::vector<ArrowNodePtr> children, std::vector<bool> valid = {},
                           std::int64_t skip = 0) {
  auto node = std::make_unique<ArrowNode>();
  node->name = std::move(name);
  node->format = "+s";
  node->array.length = length;
  node->array.offset = skip;
  for (std::size_t i = 0; i < valid.size(); ++i) SetBit(node->validity, i, valid[i]);
  node->children = std::move(children);
  return node;
}

inline ArrowNodePtr List(std::string name, std::vector<std::int32_t> offsets, ArrowNodePtr elements,
                         std::int64_t skip = 0) {
  auto node = std::make_unique<ArrowNode>();
  node->name = std::move(name);
  node->format = "+l";
  node->array.length = static_cast<std::int64_t>(offsets.size()) - 1 - skip;
  node->array.offset = skip;
  node->offsets = std::move(offsets);
  elements->name = "item";
  node->children.push_back(std::move(elements));
  return node;
}

template <typename... Children>
std::vector<ArrowNodePtr> All(Children... children) {
  std::vector<ArrowNodePtr> all;
  (all.push_back(std::move(children)), ...);
  return all;
}

#endif  // TESTS_CPP_ARROW_BUILDER_H_
