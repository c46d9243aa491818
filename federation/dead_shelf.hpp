// The dead letters of a queue in Redis (ns:dead:Q), for command lines of any host: read, replayed, purged. Each change
// is one step there, and finds its letter by its whole text: whoever was quicker has won.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "federation/blocking_client.hpp"
#include "federation/keys.hpp"
#include "federation/records.hpp"

namespace stem::federation {

struct ShelvedLetter {
  std::string text;  // as it is in the list
  std::string queue;
  std::string id;  // of the task; "raw:HEX" where it names none
  std::string task, reason, error_kind, error_message;
  std::int64_t attempts = 0;
  std::int64_t dead_at_us = 0;
  std::uint64_t fingerprint = 0;     // of task, error kind and first line; stable across hosts
  std::optional<DeadLetter> letter;  // empty: it is no dead letter as the wire has them, and `why_not` says why
  std::string why_not;

  bool can_replay() const;
};

ShelvedLetter read_letter(std::string_view queue, std::string text);

// Queues that have dead letters.
Result<std::vector<std::string>> queues_with_dead(BlockingClient& client, const Keys& keys);
// All of a queue, oldest first.
Result<std::vector<ShelvedLetter>> dead_letters_of(BlockingClient& client, const Keys& keys, const std::string& queue);

// Runnable again with attempt 0 (a signed one as it was signed), not before `not_before_us` (0 = now); its result and revoke are forgotten. False: it
// is there no more.
Result<bool> replay_letter(BlockingClient& client, const Keys& keys, const ShelvedLetter& letter,
                           std::int64_t not_before_us);
Result<bool> purge_letter(BlockingClient& client, const Keys& keys, const ShelvedLetter& letter);

}  // namespace stem::federation
