// Several pinned processes that share memory: the stage every benchmark plays on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

namespace stem::bench {

struct CpuPair {
  int first = 0;
  int second = 1;
};

inline constexpr int kAnyCpu = -1;

// CPUs this process may run on, ascending.
std::vector<int> allowed_cpus();

// Binds the calling thread; throws Failure when the CPU does not exist or is not allowed.
void pin_to_cpu(int cpu);

// Anonymous memory that children of fork share with their parent: zeroed, already backed by pages (a
// page fault inside a measurement would be measured), unmapped by the destructor.
class SharedMemory {
 public:
  explicit SharedMemory(std::size_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// One T in shared memory.
template <class T>
class Shared {
  static_assert(std::is_trivially_destructible_v<T>, "the mapping goes away without destructors");

 public:
  Shared() : memory_(sizeof(T)), value_(new (memory_.data()) T{}) {}
  T& operator*() const noexcept { return *value_; }
  T* operator->() const noexcept { return value_; }

 private:
  SharedMemory memory_;
  T* value_;
};

// Lets `parties` processes start together; to be used once. Spins for some milliseconds, then naps, so that
// parties which share a core do not keep each other from arriving.
class StartGate {
 public:
  void arrive_and_wait(std::uint32_t parties) noexcept;

 private:
  alignas(64) std::atomic<std::uint32_t> arrived_{0};
};

struct Role {
  int cpu = kAnyCpu;
  std::function<void()> body;
};

inline constexpr std::chrono::seconds kDefaultDeadline{120};

// Runs each role in a forked process of its own and waits for all. If one throws, dies or the deadline
// passes, the others are killed and Failure says which and why: a benchmark never hangs. The children
// die with their parent. Call it from a single-threaded process.
void run_processes(const std::vector<Role>& roles, std::chrono::milliseconds deadline = kDefaultDeadline);

void run_pair(CpuPair cpus, std::function<void()> first, std::function<void()> second,
              std::chrono::milliseconds deadline = kDefaultDeadline);

// After this, SIGINT and SIGTERM make run_processes end its children and throw, so that temporary
// directories and servers are cleaned up on the way out.
void catch_interrupts();
bool interrupted() noexcept;

}  // namespace stem::bench
