#include "engine/extension.hpp"

#include <cstring>

namespace stem::engine {
namespace {

constexpr std::uint32_t align16(std::uint64_t bytes) { return static_cast<std::uint32_t>((bytes + 15) & ~15ull); }

struct Texts {
  std::string_view* of[kExtensionTexts];
};

Texts texts(TaskExtras& e) {
  return {{&e.headers, &e.meta, &e.idempotency_key, &e.link, &e.link_error, &e.retry_for, &e.no_retry_for, &e.origin,
           &e.tick}};
}

}  // namespace

std::uint32_t extension_bytes(const TaskExtras& extras) noexcept {
  TaskExtras copy = extras;
  std::uint64_t bytes = sizeof(TaskExtension);
  for (const std::string_view* text : texts(copy).of) bytes += text->size();
  return bytes > shm::kMaxPayloadBytes ? shm::kMaxPayloadBytes + 1 : align16(bytes);
}

void write_extension(const TaskExtras& e, std::int64_t now_ns, std::span<std::byte> into) noexcept {
  TaskExtension x{};
  x.expires_ns = e.expires_ns;
  x.visibility_ns = e.visibility_ns;
  x.soft_limit_ns = e.soft_limit_ns;
  x.hard_limit_ns = e.hard_limit_ns;
  x.result_ttl_ns = e.result_ttl_ns;
  x.retry_base_ns = e.retry.base_ns;
  x.retry_max_ns = e.retry.max_ns;
  x.retry_kind = static_cast<std::uint16_t>(e.retry.kind);
  x.limits_fail_closed = e.limits_fail_closed ? 1 : 0;
  x.unique_key = e.unique_key;
  x.unique_until_ns = e.unique_for_ns > 0 ? later_ns(now_ns, e.unique_for_ns) : 0;
  x.unique_everywhere = e.unique_everywhere ? 1 : 0;
  x.rate_key = e.rate_key;
  x.rate_count = e.rate.count;
  x.rate_period_s = e.rate.period_s;
  x.group_rate_key = e.group_rate_key;
  x.group_rate_count = e.group_rate.count;
  x.group_rate_period_s = e.group_rate.period_s;
  x.concurrency_key = e.concurrency_key;
  x.concurrency_limit = e.concurrency_limit;
  x.affinity_key = e.affinity_key;
  x.run_item = e.run_item;
  TaskExtras copy = e;
  std::byte* at = into.data() + sizeof x;
  const Texts all = texts(copy);
  for (int i = 0; i < kExtensionTexts; ++i) {
    x.text_bytes[i] = static_cast<std::uint32_t>(all.of[i]->size());
    if (!all.of[i]->empty()) std::memcpy(at, all.of[i]->data(), all.of[i]->size());
    at += all.of[i]->size();
  }
  x.payload_offset = align16(static_cast<std::uint64_t>(at - into.data()));
  std::memcpy(into.data(), &x, sizeof x);
}

std::optional<TaskExtras> read_extension(std::span<const std::byte> block, std::uint32_t& payload_offset) noexcept {
  TaskExtension x;
  if (block.size() < sizeof x) return std::nullopt;
  std::memcpy(&x, block.data(), sizeof x);  // once: another process may change it under us
  TaskExtras e;
  std::uint64_t at = sizeof x;
  const Texts all = texts(e);
  for (int i = 0; i < kExtensionTexts; ++i) {
    if (x.text_bytes[i] > block.size() - at) return std::nullopt;
    *all.of[i] = {reinterpret_cast<const char*>(block.data()) + at, x.text_bytes[i]};
    at += x.text_bytes[i];
  }
  if (x.payload_offset != align16(at) || x.payload_offset > block.size()) return std::nullopt;
  if (x.retry_kind > static_cast<std::uint16_t>(RetryKind::kUser)) return std::nullopt;
  payload_offset = x.payload_offset;
  e.expires_ns = x.expires_ns;
  e.visibility_ns = x.visibility_ns;
  e.soft_limit_ns = x.soft_limit_ns;
  e.hard_limit_ns = x.hard_limit_ns;
  e.result_ttl_ns = x.result_ttl_ns;
  e.retry = {static_cast<RetryKind>(x.retry_kind), x.retry_base_ns, x.retry_max_ns};
  e.unique_key = x.unique_key;
  e.unique_for_ns = x.unique_until_ns;  // absolute here; 0 = while the task lives
  e.unique_everywhere = x.unique_everywhere != 0;
  e.rate_key = x.rate_key;
  e.rate = {x.rate_count, x.rate_period_s};
  e.group_rate_key = x.group_rate_key;
  e.group_rate = {x.group_rate_count, x.group_rate_period_s};
  e.concurrency_key = x.concurrency_key;
  e.concurrency_limit = x.concurrency_limit;
  e.limits_fail_closed = x.limits_fail_closed != 0;
  e.affinity_key = x.affinity_key;
  e.run_item = x.run_item;
  return e;
}

}  // namespace stem::engine
