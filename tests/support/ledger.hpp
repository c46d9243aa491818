// What happened to each task, written down by the process that did it, in a file that survives its
// SIGKILL: a mapped array of words, appended by one writer, one store each.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace stem::test {

// One line of a ledger.
//   63 .. 60 what (never 0) | 59 .. 40 detail (20) | 39 .. 0 task number
struct Entry {
  enum What : std::uint8_t {
    kOffered = 1,       // about to enqueue
    kAccepted = 2,      // enqueue returned kOk
    kExecuted = 3,      // the handler's effect
    kAcknowledged = 4,  // succeed() returned kDone; detail 1: what was kRecorded
    kFenced = 5,        // a settle call returned kFenced
    kRefused = 6,       // enqueue returned something else
    kCancelled = 7,
    kSettling = 8,  // about to call succeed()
    kRetried = 9,
    kReleased = 10,
    kRecorded = 11,  // about to call succeed_later(): from there on it may be acknowledged on our behalf
  };
  What what = kOffered;
  std::uint32_t detail = 0;
  std::uint64_t task = 0;

  std::uint64_t pack() const {
    return std::uint64_t{what} << 60 | std::uint64_t{detail & 0xfffffu} << 40 | (task & 0xffffffffffull);
  }
  static Entry unpack(std::uint64_t bits) {
    return {static_cast<What>(bits >> 60), static_cast<std::uint32_t>(bits >> 40) & 0xfffffu, bits & 0xffffffffffull};
  }
};

// One writer's ledger. Appending after the writer's own predecessor was killed continues behind it.
class Ledger {
 public:
  // Opens or makes the file, with room for `capacity` entries.
  Ledger(const std::string& path, std::size_t capacity);
  // In memory that forked children share.
  explicit Ledger(std::size_t capacity);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // False when it is full.
  bool append(Entry entry) noexcept {
    if (next_ >= capacity_) return false;
    // One store: a reader, also one that comes after the writer's death, sees the entry whole or not at all.
    words_[next_++].store(entry.pack(), std::memory_order_release);
    return true;
  }
  // Goes on behind what another process has written into the same memory; only once that writes no more.
  void catch_up() {
    while (next_ < capacity_ && words_[next_].load(std::memory_order_acquire) != 0) ++next_;
  }
  bool full() const { return next_ + 8 >= capacity_; }
  std::vector<Entry> entries() const;
  std::size_t size() const { return next_; }  // as this object knows it
  Entry at(std::size_t i) const { return Entry::unpack(words_[i].load(std::memory_order_acquire)); }
  // Entries so far, also those of another process.
  bool empty() const { return words_[0].load(std::memory_order_acquire) == 0; }
  // Forgets everything; only while nobody writes.
  void clear();

 private:
  std::atomic<std::uint64_t>* words_ = nullptr;
  std::size_t capacity_;
  std::size_t next_ = 0;
};

}  // namespace stem::test
