// One task, for people and for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "engine/query.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {

// What a list shows of it; a worker is the caller's to name.
nlohmann::ordered_json task_row(const engine::TaskInfo& task, const Moment& now);
nlohmann::ordered_json task_json(const engine::TaskInfo& task, const Attachment& attachment);

// A name, its value on every line.
void print_task(const engine::TaskInfo& task, const Attachment& attachment, const Style& style);

// {"kind", "message", "reason", "attempts", "at", "fingerprint"}
nlohmann::ordered_json failure_json(const engine::FailureRecord& failure, const Moment& now);

// Sixteen hexadecimal digits.
std::string fingerprint_text(std::uint64_t fingerprint);

// "max-retries-exhausted"; empty while the task may still be retried.
std::string_view reason_text(std::uint8_t reason);

// JSON on one line.
std::string one_line(const nlohmann::json& value);

Tone tone_of_state(std::string_view state_name);

}  // namespace stem::cli
