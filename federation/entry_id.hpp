// The name of a stream's entry, in Redis's order: the server's clock in milliseconds, and a counter.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace stem::federation {

struct EntryId {
  std::uint64_t ms = 0;
  std::uint64_t sequence = 0;

  auto operator<=>(const EntryId&) const = default;
  bool is_known() const { return ms != 0 || sequence != 0; }
  // The one before it, in order; of the first, itself.
  EntryId before() const {
    if (sequence > 0) return {ms, sequence - 1};
    return ms > 0 ? EntryId{ms - 1, ~std::uint64_t{0}} : *this;
  }
  // The one behind it, in order; of the last, itself.
  EntryId next() const {
    if (~sequence != 0) return {ms, sequence + 1};
    return ~ms != 0 ? EntryId{ms + 1, 0} : *this;
  }
  std::string text() const { return fmt::format("{}-{}", ms, sequence); }
};

// "1526919030474-55"; nothing for anything else.
inline std::optional<EntryId> parse_entry_id(std::string_view text) {
  EntryId id;
  const char* const end = text.data() + text.size();
  const auto [dash, bad] = std::from_chars(text.data(), end, id.ms);
  if (bad != std::errc() || dash == end || *dash != '-') return std::nullopt;
  const auto [rest, worse] = std::from_chars(dash + 1, end, id.sequence);
  if (worse != std::errc() || rest != end) return std::nullopt;
  return id;
}

}  // namespace stem::federation
