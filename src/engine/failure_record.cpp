#include "engine/failure_record.hpp"

#include <algorithm>
#include <cstring>

#include "base/random.hpp"
#include "shm/names.hpp"

namespace stem::engine {

// Numbers count as one: "order 17 costs nothing" and "order 18 costs nothing" are the same failure.
std::uint64_t failure_fingerprint(std::uint32_t task, std::string_view kind, std::string_view message) noexcept {
  char shape[FailureRecord::kTextBytes];
  std::size_t bytes = 0;
  bool in_number = false;
  for (const char c : message.substr(0, std::min(message.find('\n'), sizeof shape))) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit || !in_number) shape[bytes++] = digit ? '#' : c;
    in_number = digit;
  }
  return base::mix64(shm::name_hash(kind) ^ base::mix64(shm::name_hash({shape, bytes}) + task));
}

void FailureRecord::mark_dead(DeadReason why, std::uint32_t task) noexcept {
  reason = static_cast<std::uint8_t>(why);
  fingerprint = failure_fingerprint(task, kind(), message());
}

FailureRecord make_failure_record(const Failure& failure, std::uint32_t worker, std::int64_t now_ns,
                                  std::uint32_t attempts) noexcept {
  FailureRecord r;
  r.worker = worker;
  r.at_ns = now_ns;
  r.attempts = static_cast<std::uint16_t>(std::min(attempts, 0xffffu));
  const std::string_view kind = failure.kind.substr(0, 128);
  const std::string_view message = failure.message.substr(0, FailureRecord::kTextBytes - kind.size());
  r.kind_bytes = static_cast<std::uint16_t>(kind.size());
  r.message_bytes = static_cast<std::uint16_t>(message.size());
  std::memcpy(r.text, kind.data(), kind.size());
  std::memcpy(r.text + kind.size(), message.data(), message.size());
  return r;
}

std::optional<FailureRecord> read_failure_record(std::span<const std::byte> bytes) noexcept {
  constexpr std::size_t kFixed = sizeof(FailureRecord) - FailureRecord::kTextBytes;
  if (bytes.size() < kFixed) return std::nullopt;
  FailureRecord r;
  std::memset(r.text, 0, sizeof r.text);
  std::memcpy(&r, bytes.data(), std::min(bytes.size(), sizeof r));
  if (r.magic != FailureRecord::kMagic) return std::nullopt;
  if (std::size_t{r.kind_bytes} + r.message_bytes > std::min(bytes.size() - kFixed, FailureRecord::kTextBytes))
    return std::nullopt;
  return r;
}

}  // namespace stem::engine
