#include "pool.h"

#include <unistd.h>

#include <chrono>
#include <utility>

namespace cpp_serving {
namespace {

// A thread that sleeps is back after some 50 microseconds on a virtual machine: so a thread that
// has nothing to do looks again for about as long, and then sleeps.
constexpr auto kLooks = std::chrono::microseconds(50);

template <typename Done>
void LookFor(Done done) {
  const auto end = std::chrono::steady_clock::now() + kLooks;
  while (!done() && std::chrono::steady_clock::now() < end) {
#if defined(CPP_SERVING_X86_64)
    __builtin_ia32_pause();
#endif
  }
}

}  // namespace

Pool::Pool(std::uint32_t threads) : process_(getpid()) {
  for (std::uint32_t i = 1; i < threads; ++i) workers_.emplace_back([this] { Serve(); });
}

Pool::~Pool() {
  if (getpid() != process_) {
    // A fork's copy: there is nothing to join.
    for (std::thread& worker : workers_) worker.detach();
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::Run(std::size_t count, const std::function<void(std::size_t)>& task) {
  std::unique_lock<std::mutex> in_use(in_use_, std::defer_lock);
  if (count < 2 || workers_.empty() || getpid() != process_ || !in_use.try_lock()) {
    for (std::size_t i = 0; i < count; ++i) task(i);
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    task_ = &task;
    count_ = count;
    next_ = 0;
    failed_ = nullptr;
    ++job_;
  }
  announced_ = job_;  // Not before: who looks for it takes the lock next.
  wake_.notify_all();
  Work(task, count);
  std::unique_lock<std::mutex> lock(mutex_);
  task_ = nullptr;  // Who wakes from here on is not waited for.
  lock.unlock();
  LookFor([this] { return working_ == 0; });
  lock.lock();
  done_.wait(lock, [this] { return working_ == 0; });
  const std::exception_ptr failed = std::exchange(failed_, nullptr);
  lock.unlock();
  if (failed) std::rethrow_exception(failed);
}

void Pool::Serve() {
  std::uint64_t seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return Called(seen); });
    if (stopping_) return;
    seen = job_;
    ++working_;
    const std::function<void(std::size_t)>& task = *task_;
    const std::size_t count = count_;
    lock.unlock();
    Work(task, count);
    lock.lock();
    if (--working_ == 0) done_.notify_one();
    lock.unlock();
    LookFor([&] { return announced_ != seen; });
    lock.lock();
  }
}

void Pool::Work(const std::function<void(std::size_t)>& task, std::size_t count) {
  for (std::size_t i = next_++; i < count; i = next_++) {
    try {
      task(i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!failed_) failed_ = std::current_exception();
    }
  }
}

}  // namespace cpp_serving
