// What is kept about a task beside its envelope: the dead letter and the result status.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "federation/envelope.hpp"

namespace stem::federation {

// ns:dead:Q, one element of the list.
struct DeadLetter {
  Envelope envelope;
  std::string reason;       // empty when it was null
  std::string meta = "{}";  // JSON object
  std::int64_t dead_at_us = 0;
  std::vector<ForeignField> foreign;
  friend bool operator==(const DeadLetter&, const DeadLetter&) = default;
};

void append_json(std::string& out, const DeadLetter& letter);
// For a letter whose envelope is not (yet) owned.
void append_dead_letter_json(std::string& out, const EnvelopeView& envelope, std::string_view reason,
                             std::string_view meta_json, std::int64_t dead_at_us);
Result<void> decode_json(std::string_view text, DeadLetter& out);

// The state of a task of which only that is known, that it has ended: nobody asked for more.
inline constexpr std::string_view kEndedState = "ended";

// ns:result:ID.
struct TaskStatus {
  std::string id;
  std::string state;                         // queued, running, succeeded, failed, retried, cancelled, ...
  std::string payload = "null";              // JSON value
  std::optional<std::string> payload_bytes;  // a result that is not JSON; then `payload` is null
  std::string error = "null";                // JSON object {type, message, stack, retryable, meta}, or null
  std::string meta = "{}";                   // JSON object
  std::int64_t attempt = 0;
  std::int64_t created_at_us = 0;
  std::int64_t updated_at_us = 0;
  std::vector<ForeignField> foreign;
  friend bool operator==(const TaskStatus&, const TaskStatus&) = default;
};

void append_json(std::string& out, const TaskStatus& status);
Result<void> decode_json(std::string_view text, TaskStatus& out);

}  // namespace stem::federation
