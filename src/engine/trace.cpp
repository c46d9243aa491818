#include "engine/trace.hpp"

#include <algorithm>
#include <cstdio>

#include "base/random.hpp"

namespace stem::engine {
namespace {

constexpr std::size_t kBytes = 55;

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

bool is_traceparent(std::string_view t) noexcept {
  return t.size() == kBytes && t.substr(0, 3) == "00-" && t[35] == '-' && t[52] == '-' && is_hex(t.substr(3, 32)) &&
         is_hex(t.substr(36, 16)) && is_hex(t.substr(53, 2));
}

// Its digits need no escape, so the text is found without a parser.
std::string_view traceparent_of(std::string_view headers) noexcept {
  constexpr std::string_view kKey = "\"traceparent\"";
  for (std::size_t at = headers.find(kKey); at != std::string_view::npos; at = headers.find(kKey, at + 1)) {
    const std::size_t colon = headers.find_first_not_of(" \t", at + kKey.size());
    if (colon == std::string_view::npos || headers[colon] != ':') continue;  // a value of that text
    const std::size_t value = headers.find_first_not_of(" \t", colon + 1);
    if (value == std::string_view::npos || headers[value] != '"') continue;
    const std::string_view text = headers.substr(value + 1, kBytes);
    if (is_traceparent(text)) return text;
  }
  return {};
}

std::uint64_t span_id(TaskId id, Span span, std::uint32_t attempt) noexcept {
  const std::uint64_t which = std::uint64_t{id.epoch} << 32 | attempt << 2 | static_cast<std::uint32_t>(span);
  const std::uint64_t hash = base::mix64(base::mix64(id.handle) ^ which);
  return hash == 0 ? 1 : hash;  // zero is no span
}

std::string child_traceparent(std::string_view parent, TaskId id, std::uint32_t attempt) {
  char span[17];
  std::snprintf(span, sizeof span, "%016llx", static_cast<unsigned long long>(span_id(id, Span::kExecute, attempt)));
  std::string child(parent);
  child.replace(36, 16, span);
  return child;
}

}  // namespace stem::engine
