// Read before everything else in the product's sources and in the scenes (-include): std::atomic, fences, copies and
// the kernel's futex become the machine's. What the standard library needs of them itself is read here first.
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "machine.hpp"

namespace explorer {

template <class T>
class Atomic {
  static_assert(std::is_trivially_copyable_v<T> &&
                (sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8));
  static constexpr unsigned kBytes = sizeof(T);
  static std::uint64_t pack(T value) noexcept {
    std::uint64_t bits = 0;
    __builtin_memcpy(&bits, &value, kBytes);
    return bits;
  }
  static T unpack(std::uint64_t bits) noexcept {
    T value;
    __builtin_memcpy(&value, &bits, kBytes);
    return value;
  }
  // After a failure of `s`, as the language derives it.
  static constexpr std::memory_order failed(std::memory_order s) noexcept {
    if (s == std::memory_order_acq_rel) return std::memory_order_acquire;
    return s == std::memory_order_release ? std::memory_order_relaxed : s;
  }
  T change(Change how, T operand, std::memory_order order, Site site) noexcept {
    return unpack(explorer::change(&value_, kBytes, how, pack(operand), order, site));
  }

 public:
  using value_type = T;
  static constexpr bool is_always_lock_free = true;
  Atomic() noexcept = default;
  constexpr Atomic(T value) noexcept : value_(value) {}
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(std::memory_order order = std::memory_order_seq_cst, Site site = Site::current()) const noexcept {
    return unpack(explorer::load(&value_, kBytes, order, site));
  }
  operator T() const noexcept { return load(); }
  void store(T value, std::memory_order order = std::memory_order_seq_cst, Site site = Site::current()) noexcept {
    explorer::store(&value_, kBytes, pack(value), order, site);
  }
  T operator=(T value) noexcept {
    store(value);
    return value;
  }
  T exchange(T v, std::memory_order o = std::memory_order_seq_cst, Site s = Site::current()) noexcept {
    return change(Change::kExchange, v, o, s);
  }
  T fetch_add(T v, std::memory_order o = std::memory_order_seq_cst, Site s = Site::current()) noexcept {
    return change(Change::kAdd, v, o, s);
  }
  T fetch_sub(T v, std::memory_order o = std::memory_order_seq_cst, Site s = Site::current()) noexcept {
    return change(Change::kSubtract, v, o, s);
  }
  T fetch_or(T v, std::memory_order o = std::memory_order_seq_cst, Site s = Site::current()) noexcept {
    return change(Change::kOr, v, o, s);
  }
  T fetch_and(T v, std::memory_order o = std::memory_order_seq_cst, Site s = Site::current()) noexcept {
    return change(Change::kAnd, v, o, s);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure,
                               Site site = Site::current()) noexcept {
    std::uint64_t was = pack(expected);
    const bool done = explorer::compare_exchange(&value_, kBytes, was, pack(desired), success, failure, site);
    if (!done) expected = unpack(was);
    return done;
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order order = std::memory_order_seq_cst,
                               Site site = Site::current()) noexcept {
    return compare_exchange_strong(expected, desired, order, failed(order), site);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure,
                             Site site = Site::current()) noexcept {
    return compare_exchange_strong(expected, desired, success, failure, site);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order order = std::memory_order_seq_cst,
                             Site site = Site::current()) noexcept {
    return compare_exchange_strong(expected, desired, order, failed(order), site);
  }

 private:
  alignas(kBytes) T value_;
};

template <class... Arguments>
long system_call(long number, Arguments... arguments) noexcept {
  if (number == SYS_futex && exploring()) {
    const auto of_futex = [](std::uint32_t* at, int operation, std::uint32_t value, auto, auto, auto bits) {
      const bool chosen = operation == FUTEX_WAIT_BITSET || operation == FUTEX_WAKE_BITSET;
      return futex(at, operation, value, chosen ? static_cast<std::uint32_t>(bits) : FUTEX_BITSET_MATCH_ANY);
    };
    if constexpr (sizeof...(Arguments) == 6) return of_futex(arguments...);
  }
  return ::syscall(number, arguments...);
}

// A lock on a row's byte can be had when the row's participant is dead.
template <class... Arguments>
int file_control(int fd, int command, Arguments... arguments) noexcept {
  if constexpr (sizeof...(Arguments) == 1) {
    const auto lock_of = [](auto argument) -> const struct flock* {
      if constexpr (std::is_convertible_v<decltype(argument), const struct flock*>) return argument;
      return nullptr;
    };
    if (const struct flock* lock = lock_of(arguments...); lock != nullptr && exploring()) {
      if (row_is_dead(static_cast<std::uint32_t>(lock->l_start))) return 0;
    }
  }
  return ::fcntl(fd, command, arguments...);
}

}  // namespace explorer

namespace std {
template <class T>
using explored_atomic = explorer::Atomic<T>;
inline void explored_fence(std::memory_order order, explorer::Site site = explorer::Site::current()) noexcept {
  explorer::fence(order, site);
}
inline void* explored_copy(void* to, const void* from, std::size_t bytes,
                           explorer::Site site = explorer::Site::current()) noexcept {
  explorer::copy(to, from, bytes, site);
  return to;
}
}  // namespace std
using std::explored_copy;

inline long explored_syscall(long number, auto... arguments) noexcept {
  return explorer::system_call(number, arguments...);
}
inline int explored_fcntl(int fd, int command, auto... arguments) noexcept {
  return explorer::file_control(fd, command, arguments...);
}
// Pages of the segment come when they are touched.
inline int explored_fallocate(int, int, off_t, off_t) noexcept { return 0; }
inline int explored_madvise(void*, std::size_t, int) noexcept { return 0; }

#define atomic              explored_atomic
#define atomic_thread_fence explored_fence
#define memcpy              explored_copy
#define syscall             explored_syscall
#define fcntl               explored_fcntl
#define fallocate           explored_fallocate
#define madvise             explored_madvise
