// The dead-letter queue: tasks in state kDead, seen per queue. List, group, replay, purge, retain.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "engine/failure_record.hpp"

namespace stem::engine {

inline constexpr std::int64_t kDefaultDeadRetentionNs = 7 * 86'400 * kSecondNs;

struct DeadLetter {
  TaskId id;
  std::uint32_t slot = 0;
  shm::ControlWord word;
  std::uint32_t queue = 0;
  std::uint32_t task = 0;
  std::int64_t enqueued_ns = 0;
  FailureRecord failure;
};

// Which dead letters; unset fields match all.
struct DeadFilter {
  std::uint32_t queue = ~0u;
  TaskId id;
  std::uint8_t reason = 0;
  std::uint64_t fingerprint = 0;
  std::int64_t since_ns = 0;  // CLOCK_MONOTONIC of death
};

class DeadLetters {
 public:
  explicit DeadLetters(Engine& engine) : engine_(engine), segment_(engine.segment()) {}

  // Oldest death first.
  std::vector<DeadLetter> list(const DeadFilter& filter) const;
  // Runnable again with attempt 0, after `delay_ns`. False when it is no longer that dead letter, when it has used
  // up its grants, or when a live task has its unique key.
  bool replay(const DeadLetter& letter, std::int64_t delay_ns, std::int64_t now_ns) noexcept;
  // Gone for good, and counted.
  bool purge(const DeadLetter& letter) noexcept;
  // Purges one dead letter whose retention has ended; for the patrol.
  void retain(std::uint32_t slot, shm::ControlWord word, std::int64_t now_ns) noexcept;

 private:
  std::uint64_t unique_key(const DeadLetter& letter) const noexcept;
  bool take_key(std::uint64_t key, std::uint32_t slot, shm::ControlWord word, std::int64_t now_ns) noexcept;
  bool bury_again(const DeadLetter& letter, shm::ControlWord live) noexcept;
  bool read(std::uint32_t slot, shm::ControlWord word, DeadLetter& into) const noexcept;

  Engine& engine_;
  shm::Segment& segment_;
};

}  // namespace stem::engine
