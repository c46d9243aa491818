// What is kept of a failure, in the task's result block: for `task show`, the dead-letter queue and
// grouping by fingerprint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "engine/engine.hpp"

namespace stem::engine {

struct FailureRecord {
  static constexpr std::uint32_t kMagic = 0x4c494146;
  static constexpr std::size_t kTextBytes = 896;

  std::uint32_t magic = kMagic;
  std::uint8_t reason = 0;  // DeadReason; 0 while the task may still be retried
  std::uint8_t padding = 0;
  std::uint16_t attempts = 0;
  std::uint32_t worker = 0;  // roster index
  std::uint16_t kind_bytes = 0;
  std::uint16_t message_bytes = 0;
  std::int64_t at_ns = 0;  // CLOCK_MONOTONIC
  std::uint64_t fingerprint = 0;
  char text[kTextBytes];  // kind, then message

  void mark_dead(DeadReason why, std::uint32_t task) noexcept;
  std::string_view kind() const noexcept { return {text, kind_bytes}; }
  std::string_view message() const noexcept { return {text + kind_bytes, message_bytes}; }
  // The used part.
  std::span<const std::byte> bytes() const noexcept {
    return {reinterpret_cast<const std::byte*>(this), sizeof(FailureRecord) - kTextBytes + kind_bytes + message_bytes};
  }
};
static_assert(sizeof(FailureRecord) == 32 + FailureRecord::kTextBytes);

// Long texts are cut.
FailureRecord make_failure_record(const Failure& failure, std::uint32_t worker, std::int64_t now_ns,
                                  std::uint32_t attempts) noexcept;
// Empty when the bytes (from shared memory) are not a record.
std::optional<FailureRecord> read_failure_record(std::span<const std::byte> bytes) noexcept;

// Task, error kind and first line of the message: failures that look alike group together.
std::uint64_t failure_fingerprint(std::uint32_t task, std::string_view kind, std::string_view message) noexcept;

}  // namespace stem::engine
