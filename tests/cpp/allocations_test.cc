// A request's features are extracted without allocating: a call allocates what it returns.
#include <cstdlib>
#include <new>

#include "artifact_builder.h"
#include "check.h"
#include "cpp_serving/scorer.h"
#include "sample_records.h"

namespace {

std::size_t allocations = 0;

void* Counted(std::size_t size) {
  ++allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return Counted(size); }
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  ++allocations;
  return std::malloc(size);
}
void* operator new[](std::size_t size) { return Counted(size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto by = static_cast<std::size_t>(alignment);
  ++allocations;
  void* memory = std::aligned_alloc(by, (size + by - 1) / by * by);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { std::free(memory); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t /*size*/) noexcept { std::free(memory); }

int main() {
  using namespace cpp_serving;
  const Scorer scorer(Artifact::FromBytes(FileOf(SectionsOf(SampleSpec())), "test"));
  const ArrowNodePtr node = SampleRecords(0);
  node->Seal();
  const Records records(node->schema, node->array);
  const Scores before = scorer.Score(records);  // Memory grows to what the largest call needs.

  allocations = 0;
  const Scores scores = scorer.Score(records);

  const std::size_t allowed = 3;  // pctr, ecpm_micros and rank.
  if (allocations > allowed) std::fprintf(stderr, "%zu allocations\n", allocations);
  CHECK(allocations <= allowed);
  CHECK(scores.pctr == before.pctr);
  return Finish();
}
