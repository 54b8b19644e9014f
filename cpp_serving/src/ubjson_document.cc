#include "ubjson_document.h"

#include <cstring>
#include <utility>

namespace cpp_serving {
namespace {

// Bytes of a number, big-endian; 0 of another value.
std::size_t SizeOfNumber(char marker) {
  switch (marker) {
    case 'i':
    case 'U':
      return 1;
    case 'I':
      return 2;
    case 'l':
    case 'd':
      return 4;
    case 'L':
    case 'D':
      return 8;
    default:
      return 0;
  }
}

std::uint64_t BigEndian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

template <typename To, typename From>
To FromBits(From bits) {
  static_assert(sizeof(To) == sizeof(From));
  To value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace

std::string_view UbjsonDocument::Take(std::uint64_t count) {
  if (count > Left()) Refuse("the document is cut short.");
  const std::string_view bytes = bytes_.substr(at_, static_cast<std::size_t>(count));
  at_ += bytes.size();
  return bytes;
}

// The marker that comes next; N, which means nothing, is read over.
char UbjsonDocument::Peek() {
  while (!AtEnd() && bytes_[at_] == 'N') ++at_;
  if (AtEnd()) Refuse("the document is cut short.");
  return bytes_[at_];
}

char UbjsonDocument::Marker() {
  const char marker = Peek();
  ++at_;
  return marker;
}

Document::Kind UbjsonDocument::Next() {
  const char marker = Peek();
  switch (marker) {
    case '{':
      return Kind::kObject;
    case '[':
      return Kind::kArray;
    case 'S':
    case 'C':
      return Kind::kString;
    case 'T':
    case 'F':
      return Kind::kTruth;
    case 'Z':
      return Kind::kNull;
    default:
      if (SizeOfNumber(marker) == 0) Refuse("no value starts with this byte.");
      return Kind::kNumber;
  }
}

std::int64_t UbjsonDocument::IntegerOf(char marker) {
  if (marker == 'T' || marker == 'F') return marker == 'T' ? 1 : 0;
  const std::size_t size = SizeOfNumber(marker);
  if (size == 0 || marker == 'd' || marker == 'D') Refuse("a whole number is expected here.");
  const std::uint64_t bits = BigEndian(Take(size));
  switch (marker) {
    case 'U':
      return static_cast<std::int64_t>(bits);
    case 'i':
      return static_cast<std::int8_t>(bits);
    case 'I':
      return static_cast<std::int16_t>(bits);
    case 'l':
      return static_cast<std::int32_t>(bits);
    default:
      return static_cast<std::int64_t>(bits);
  }
}

float UbjsonDocument::FloatOf(char marker) {
  if (marker == 'd') return FromBits<float>(static_cast<std::uint32_t>(BigEndian(Take(4))));
  if (marker == 'D') return static_cast<float>(FromBits<double>(BigEndian(Take(8))));
  if (SizeOfNumber(marker) == 0) Refuse("a number is expected here.");
  return static_cast<float>(IntegerOf(marker));
}

std::uint64_t UbjsonDocument::Length() {
  const std::int64_t length = IntegerOf(Marker());
  if (length < 0) Refuse("a length is negative.");
  return static_cast<std::uint64_t>(length);
}

std::string UbjsonDocument::RawText() {
  return std::string(Marker() == 'C' ? Take(1) : Take(Length()));
}

bool UbjsonDocument::NextMember(std::string* name) {
  if (Peek() == '}') {
    ++at_;
    return false;
  }
  *name = std::string(Take(Length()));
  return true;
}

// After an array's bracket: $ type # count, # count, or neither.
UbjsonDocument::Open UbjsonDocument::Header() {
  Take(1);
  Open array{0, kUncounted};
  if (Peek() == '$') {
    ++at_;
    array.type = Take(1)[0];
    // Of other types an array could be large, and its bytes few.
    if (SizeOfNumber(array.type) == 0) Refuse("an array of this type is not written by XGBoost.");
    if (Peek() != '#') Refuse("a typed array has no count.");
  }
  if (Peek() == '#') {
    ++at_;
    array.left = Length();
    const std::size_t size = array.type == 0 ? 1 : SizeOfNumber(array.type);
    if (array.left > Left() / size) {
      Refuse("an array says it holds " + std::to_string(array.left) +
             " values, which the document can not hold.");
    }
  }
  return array;
}

bool UbjsonDocument::NextOf(Open* array) {
  if (array->left == kUncounted) {
    if (Peek() != ']') return true;
    ++at_;
    return false;
  }
  if (array->left == 0) return false;
  --array->left;
  return true;
}

void UbjsonDocument::OpenArray() {
  open_.push_back(Header());
  if (open_.back().type != 0) Refuse("an array of numbers stands where one of values is expected.");
}

bool UbjsonDocument::NextElement() {
  if (NextOf(&open_.back())) return true;
  open_.pop_back();
  return false;
}

template <typename T, typename Read>
void UbjsonDocument::Numbers(std::vector<T>* values, Read read) {
  values->clear();
  if (Next() != Kind::kArray) Refuse("an array of numbers is expected here.");
  Open array = Header();
  if (array.left != kUncounted) values->reserve(static_cast<std::size_t>(array.left));
  while (NextOf(&array)) values->push_back(read(array.type != 0 ? array.type : Marker()));
}

void UbjsonDocument::Floats(std::vector<float>* values) {
  Numbers(values, [this](char marker) { return FloatOf(marker); });
}

void UbjsonDocument::Integers(std::vector<std::int64_t>* values) {
  Numbers(values, [this](char marker) { return IntegerOf(marker); });
}

void UbjsonDocument::Skip() {
  const Kind kind = Next();
  std::string name;
  if (kind == Kind::kObject) {
    Deeper();
    OpenObject();
    while (NextMember(&name)) Skip();
    Shallower();
  } else if (kind == Kind::kArray) {
    Deeper();
    Open array = Header();
    if (array.type != 0) {
      Take(array.left * SizeOfNumber(array.type));
    } else {
      while (NextOf(&array)) Skip();
    }
    Shallower();
  } else if (kind == Kind::kString) {
    RawText();
  } else {
    Take(SizeOfNumber(Marker()));
  }
}

void UbjsonDocument::End() {
  while (!AtEnd() && bytes_[at_] == 'N') ++at_;
  if (!AtEnd()) Refuse("the document goes on after its end.");
}

}  // namespace cpp_serving
