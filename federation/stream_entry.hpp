// Entries of a queue's streams as replies bring them, for both halves of the importer.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "federation/envelope.hpp"
#include "federation/json_record.hpp"
#include "federation/records.hpp"
#include "federation/reply.hpp"

namespace stem::federation {

inline constexpr std::string_view kPendingPage = "100";
inline constexpr std::size_t kPendingPageEntries = 100;
// That we ask for; a connection takes some more. No entry of ours has a tenth of it.
inline constexpr std::size_t kMostEntryBytes = 40 << 20;
inline constexpr std::string_view kMostEntryBytesText = "41943040";
inline constexpr std::int64_t kRefusedPauseNs = 1'000'000'000;

// Of a task in Redis: what its holder renews in time, and everybody else waits for.
inline std::int64_t visibility_ms(const Envelope& envelope, std::int64_t otherwise) {
  const std::int64_t asked = envelope.visibility_timeout_ms.value_or(0);
  return asked <= 0 ? otherwise : std::clamp<std::int64_t>(asked, 100, 86'400'000);
}

// Nothing for text that is no number of 64 bits.
inline std::optional<std::int64_t> number_of(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (bad != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

inline std::string number(std::int64_t value) { return fmt::to_string(value); }

inline std::string place(int lane, std::string_view entry) { return fmt::format("{}/{}", lane, entry); }

// When it was appended, by Redis's clock: ids begin with that time. 0 when it is no such id.
inline std::int64_t entry_ms(std::string_view id) { return parse_wire_number(id.substr(0, id.find('-'))).value_or(0); }

// As a dead letter's meta.
inline std::string error_json(std::string_view message) {
  std::string json = "{\"error\":";
  append_json_string(json, message);
  return json += '}';
}

// The result of a task that never was one here.
inline std::string refused_status(std::string_view id, std::string_view reason, std::int64_t now_us) {
  TaskStatus status;
  status.id = id;
  status.state = "failed";
  status.error = fmt::format(R"({{"type":"{}","message":"{}"}})", reason, reason);
  status.created_at_us = status.updated_at_us = now_us;
  std::string json;
  append_json(json, status);
  return json;
}

// The texts of an entry's fields, and its id; false when it is not an entry.
inline bool fields_of(const Reply& entry, std::string_view& id, std::vector<TextField>& fields) {
  if (!entry.is_array() || entry.elements.size() != 2 || !entry.elements[0].is_text()) return false;
  id = entry.elements[0].text;
  fields.clear();
  const auto& texts = entry.elements[1].elements;
  for (std::size_t i = 0; i + 1 < texts.size(); i += 2) fields.push_back({texts[i].text, texts[i + 1].text});
  return true;
}

}  // namespace stem::federation
