// Threads that stay, for calls with many rows.
#ifndef CPP_SERVING_SRC_POOL_H_
#define CPP_SERVING_SRC_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace cpp_serving {

// A call that finds the pool in use by another, or in a process that was forked since (its threads
// stayed behind), does its tasks on its own thread.
class Pool {
 public:
  // `threads` counts the caller's.
  explicit Pool(std::uint32_t threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Calls task(0) .. task(count - 1), each once, on any thread; returns when all have returned.
  // Rethrows the first of their exceptions.
  void Run(std::size_t count, const std::function<void(std::size_t)>& task);

  std::uint32_t num_threads() const { return static_cast<std::uint32_t>(workers_.size()) + 1; }

 private:
  void Serve();
  bool Called(std::uint64_t seen) const { return stopping_ || (task_ != nullptr && job_ != seen); }
  void Work(const std::function<void(std::size_t)>& task, std::size_t count);

  std::mutex in_use_;
  std::mutex mutex_;  // Of what follows, up to next_; atomic is what is looked at without it.
  std::condition_variable wake_;
  std::condition_variable done_;
  const std::function<void(std::size_t)>* task_ = nullptr;
  std::size_t count_ = 0;
  std::uint64_t job_ = 0;
  std::atomic<std::uint64_t> announced_{0};
  std::atomic<std::size_t> working_{0};  // Threads that took up the task, less the caller's.
  bool stopping_ = false;
  std::exception_ptr failed_;
  std::atomic<std::size_t> next_{0};
  std::vector<std::thread> workers_;
  int process_;
};

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_POOL_H_
