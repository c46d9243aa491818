// Records on their way to disk: one write's worth, in memory of its own (the kernel must never read from the segment:
// what it reads there could be another task's by then).
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

#include "journal/format.hpp"

namespace stem::journal {

class Batch {
 public:
  Batch() { clear(); }

  void clear() noexcept {
    used_ = sizeof(BatchHeader);
    records_ = 0;
    reserve(used_);
  }
  bool empty() const noexcept { return records_ == 0; }
  std::uint32_t records() const noexcept { return records_; }
  // As it will lie in the file, without the zeros after it.
  std::uint64_t bytes() const noexcept { return used_; }

  // A record: begin, put..., end.
  void begin(std::uint32_t type) {
    record_ = used_;
    put(RecordHeader{0, type});
  }
  template <class T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    put_bytes(std::as_bytes(std::span(&value, 1)));
  }
  void put_bytes(std::span<const std::byte> bytes) {
    reserve(used_ + bytes.size());
    if (!bytes.empty()) std::memcpy(data_.get() + used_, bytes.data(), bytes.size());
    used_ += bytes.size();
  }
  void end() noexcept {
    const auto body = static_cast<std::uint32_t>(used_ - record_ - sizeof(RecordHeader));
    std::memcpy(data_.get() + record_ + offsetof(RecordHeader, bytes), &body, sizeof body);
    ++records_;
  }
  // As if it had not been begun.
  void take_back() noexcept { used_ = record_; }

  // Puts the header before the records and zeros behind them: what is written to the file.
  std::span<const std::byte> seal(BatchHeader header) noexcept;

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  void reserve(std::uint64_t bytes) {
    if (bytes > room_) grow(bytes);
  }
  void grow(std::uint64_t bytes);

  std::unique_ptr<std::byte[], Free> data_;  // aligned to blocks, room for whole ones
  std::uint64_t room_ = 0;
  std::uint64_t used_ = 0;
  std::uint64_t record_ = 0;
  std::uint32_t records_ = 0;
};

}  // namespace stem::journal
