// The W3C trace context that a task carries in its headers (https://www.w3.org/TR/trace-context/).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/task.hpp"

namespace stem::engine {

// The value of "traceparent" in headers (a JSON object of texts, as the front door writes it); empty when there is none
// of the right form: 00-32 hexadecimal digits-16-2.
std::string_view traceparent_of(std::string_view headers) noexcept;

// Whether a text has that form.
bool is_traceparent(std::string_view text) noexcept;

// Spans of a task: the same number for whoever asks, so that a handler's own spans find their parent, which somebody
// else reports.
enum class Span : std::uint8_t { kEnqueue, kWait, kExecute };
std::uint64_t span_id(TaskId id, Span span, std::uint32_t attempt) noexcept;

// What an attempt hands on: the same trace, with its execution as the parent.
std::string child_traceparent(std::string_view parent, TaskId id, std::uint32_t attempt);

}  // namespace stem::engine
