// What a task carries beyond its descriptor, at the front of its payload block:
//
//   TaskExtension | headers | meta | idempotency key | link | link_error | retry_for | no_retry_for | origin
//   | tick | padding to 16 | payload
//
// Written by the producer while the slot is kAlloc, never changed afterwards. What a reader gets is a
// copy of the fixed part and views whose bounds were checked against the block.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "engine/task.hpp"

namespace stem::engine {

inline constexpr int kExtensionTexts = 9;

struct TaskExtension {
  std::int64_t expires_ns;
  std::int64_t visibility_ns;
  std::int64_t soft_limit_ns;
  std::int64_t hard_limit_ns;
  std::int64_t result_ttl_ns;
  std::int64_t retry_base_ns;
  std::int64_t retry_max_ns;
  std::uint64_t unique_key;
  std::int64_t unique_until_ns;  // CLOCK_MONOTONIC; 0 = while the task lives
  std::uint64_t rate_key;
  std::uint64_t group_rate_key;
  std::uint64_t concurrency_key;
  std::uint64_t affinity_key;
  std::uint64_t run_item;
  std::uint32_t rate_count;
  std::uint32_t rate_period_s;
  std::uint32_t group_rate_count;
  std::uint32_t group_rate_period_s;
  std::uint32_t concurrency_limit;
  std::uint16_t retry_kind;
  std::uint8_t limits_fail_closed;
  std::uint8_t unique_everywhere;
  std::uint32_t text_bytes[kExtensionTexts];
  std::uint32_t payload_offset;  // from the start of the extension
};
static_assert(sizeof(TaskExtension) == 14 * 8 + 16 * 4);

// Bytes of extension and padding before the payload.
std::uint32_t extension_bytes(const TaskExtras& extras) noexcept;
// Writes it; `into` has at least extension_bytes().
void write_extension(const TaskExtras& extras, std::int64_t now_ns, std::span<std::byte> into) noexcept;
// The extension in `block`, checked; its views point into the block. Empty when it makes no sense.
std::optional<TaskExtras> read_extension(std::span<const std::byte> block, std::uint32_t& payload_offset) noexcept;

}  // namespace stem::engine
