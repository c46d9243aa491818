// A plain field of the segment: written by the one who owns what it lies in, looked at by anybody, who believes
// nothing before the control word has been looked at again. Each access is one whole load or store, so that what a
// reader has checked is what it goes on to use (the compiler may not read a second time), and so that the race is
// none by the language's rules. Relaxed: whoever needs an order takes it from the control word.
#pragma once

#include <atomic>

namespace stem::shm {

template <class T>
class Field {
 public:
  Field() = default;
  Field(const Field&) = delete;
  operator T() const noexcept { return value_.load(std::memory_order_relaxed); }
  void operator=(T value) noexcept { value_.store(value, std::memory_order_relaxed); }
  void operator=(const Field&) = delete;

 private:
  std::atomic<T> value_;
  static_assert(sizeof(std::atomic<T>) == sizeof(T) && std::atomic<T>::is_always_lock_free);
};

}  // namespace stem::shm
