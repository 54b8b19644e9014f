#include "cpp_serving/artifact.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include "cpp_serving/crc32.h"
#include "cpp_serving/error.h"

namespace cpp_serving {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "the file is read in place, little-endian");

constexpr char kMagic[] = "PARITYSC";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHeaderSize = 64;
constexpr std::size_t kChecksumAt = 24;
constexpr std::size_t kEntrySize = 40;
// Far more than version 1 has; it bounds the work on a hostile file.
constexpr std::uint32_t kMaxSections = 64;
constexpr char kExportAgain[] = "export it again with `python -m legacy export`";

template <typename T>
T Load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

struct Entry {
  std::string name;
  std::uint64_t offset;
  std::uint64_t length;
  std::uint32_t crc;
  std::uint32_t zero;
};

Entry EntryAt(const std::byte* data, std::uint32_t place) {
  const std::byte* at = data + kHeaderSize + place * kEntrySize;
  const char* text = reinterpret_cast<const char*>(at);
  return {std::string(text, strnlen(text, 16)), Load<std::uint64_t>(at + 16),
          Load<std::uint64_t>(at + 24), Load<std::uint32_t>(at + 32), Load<std::uint32_t>(at + 36)};
}

[[noreturn]] void Refuse(std::string what, const std::string& where, std::string fix) {
  throw Error(Error::Kind::kArtifact, std::move(what), where, std::move(fix));
}

}  // namespace

std::shared_ptr<const Artifact> Artifact::Open(const std::filesystem::path& path) {
  std::shared_ptr<Artifact> artifact(new Artifact);
  artifact->where_ = path.string();
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    Refuse("the scorer's file can not be opened: " + std::generic_category().message(errno) + ".",
           artifact->where_, kExportAgain);
  }
  struct stat status{};
  const bool regular = fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  void* bytes = MAP_FAILED;
  if (regular && status.st_size > 0) {
    bytes =
        mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE, file, 0);
  }
  const int map_error = errno;
  close(file);
  if (!regular) Refuse("this is no regular file.", artifact->where_, "name a scorer.bin");
  if (status.st_size == 0) Refuse("the scorer's file is empty.", artifact->where_, kExportAgain);
  if (bytes == MAP_FAILED) {
    Refuse(
        "the scorer's file can not be mapped: " + std::generic_category().message(map_error) + ".",
        artifact->where_, "put it on a file system that can be mapped");
  }
  artifact->data_ = static_cast<const std::byte*>(bytes);
  artifact->size_ = static_cast<std::size_t>(status.st_size);
  artifact->mapped_ = true;
  artifact->Check();
  return artifact;
}

std::shared_ptr<const Artifact> Artifact::FromBytes(std::string_view bytes, std::string where) {
  std::shared_ptr<Artifact> artifact(new Artifact);
  artifact->where_ = std::move(where);
  if (bytes.empty()) Refuse("the scorer's file is empty.", artifact->where_, kExportAgain);
  auto* copy = static_cast<std::byte*>(::operator new(bytes.size(), std::align_val_t{kAlignment}));
  std::memcpy(copy, bytes.data(), bytes.size());
  artifact->data_ = copy;
  artifact->size_ = bytes.size();
  artifact->Check();
  return artifact;
}

Artifact::~Artifact() {
  if (data_ == nullptr) return;
  auto* bytes = const_cast<std::byte*>(data_);
  if (mapped_) {
    munmap(bytes, size_);
  } else {
    ::operator delete(bytes, std::align_val_t{kAlignment});
  }
}

Span<std::byte> Artifact::Section(const std::string& name) const {
  const auto found = sections_.find(name);
  if (found == sections_.end()) {
    Refuse("the file has no section '" + name + "'.", where_, kExportAgain);
  }
  return found->second;
}

// The header's first 32 bytes mean the same in every version.
void Artifact::Check() {
  if (size_ < 8 || std::memcmp(data_, kMagic, std::min<std::size_t>(size_, 8)) != 0) {
    Refuse("this is no scorer's file: it does not start with " + std::string(kMagic) + ".", where_,
           "name a scorer.bin that `python -m legacy export` wrote");
  }
  if (size_ < kHeaderSize) {
    Refuse("the file is cut short: " + std::to_string(size_) + " bytes hold no header.", where_,
           kExportAgain);
  }
  const auto length = Load<std::uint64_t>(data_ + 16);
  if (length != size_) {
    Refuse("the file has " + std::to_string(size_) + " bytes, and says it has " +
               std::to_string(length) + (size_ < length ? ": it is cut short." : "."),
           where_, kExportAgain);
  }
  const std::uint32_t zero = 0;
  std::uint32_t crc = Crc32(data_, kChecksumAt);
  crc = Crc32(&zero, sizeof zero, crc);
  crc = Crc32(data_ + kChecksumAt + 4, size_ - kChecksumAt - 4, crc);
  if (crc != Load<std::uint32_t>(data_ + kChecksumAt)) {
    Refuse("the file is damaged: its checksum does not fit its bytes.", where_ + DamagedPart(),
           "copy it again, or " + std::string(kExportAgain));
  }
  const auto version = Load<std::uint32_t>(data_ + 8);
  if (version != kVersion) {
    Refuse("the file is of version " + std::to_string(version) + ", this scorer reads version " +
               std::to_string(kVersion) + ".",
           where_, "export it with the version of this scorer");
  }
  ReadSections();
}

void Artifact::ReadSections() {
  const auto count = Load<std::uint32_t>(data_ + 12);
  if (count > kMaxSections || kHeaderSize + count * kEntrySize > size_) {
    Refuse("the file says it has " + std::to_string(count) + " sections, which it can not hold.",
           where_, kExportAgain);
  }
  training_id_.assign(reinterpret_cast<const char*>(data_ + 32), 32);
  const bool hexadecimal = std::all_of(training_id_.begin(), training_id_.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (!hexadecimal || Load<std::uint32_t>(data_ + 28) != 0) {
    Refuse("the header holds no training id.", where_ + ", bytes 28-63", kExportAgain);
  }
  std::uint64_t end = kHeaderSize + count * kEntrySize;
  for (std::uint32_t place = 0; place < count; ++place) {
    const Entry entry = EntryAt(data_, place);
    const std::string where = where_ + ", section '" + entry.name + "'";
    if (entry.offset % kAlignment != 0 || entry.offset < end || entry.offset > size_ ||
        entry.length > size_ - entry.offset || entry.zero != 0) {
      Refuse("the section does not lie within the file, after the one before it.", where,
             kExportAgain);
    }
    if (std::any_of(data_ + end, data_ + entry.offset,
                    [](std::byte b) { return b != std::byte{}; })) {
      Refuse("the bytes before the section are not zero.", where, kExportAgain);
    }
    const Span<std::byte> bytes{data_ + entry.offset, static_cast<std::size_t>(entry.length)};
    if (Crc32(bytes.data, bytes.size) != entry.crc) {
      Refuse("the section's checksum does not fit its bytes.", where, kExportAgain);
    }
    if (!sections_.emplace(entry.name, bytes).second) {
      Refuse("the section is there twice.", where, kExportAgain);
    }
    end = entry.offset + entry.length;
  }
}

// The first section whose own checksum fails, for the message; the table itself may be damaged.
std::string Artifact::DamagedPart() const {
  const auto count = Load<std::uint32_t>(data_ + 12);
  if (count > kMaxSections || kHeaderSize + count * kEntrySize > size_) return ", header";
  for (std::uint32_t place = 0; place < count; ++place) {
    const Entry entry = EntryAt(data_, place);
    if (entry.offset > size_ || entry.length > size_ - entry.offset) return ", section table";
    if (Crc32(data_ + entry.offset, entry.length) != entry.crc) {
      const bool printable = std::all_of(entry.name.begin(), entry.name.end(),
                                         [](char c) { return c == '_' || (c >= 'a' && c <= 'z'); });
      return printable ? ", section '" + entry.name + "'" : ", section table";
    }
  }
  return ", header or section table";
}

}  // namespace cpp_serving
