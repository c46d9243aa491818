// Streams, consumer groups and their pending entries, as Redis 7.0 has them.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/simulation/model_reply.hpp"

namespace stem::simulation {

struct EntryId {
  std::uint64_t ms = 0;
  std::uint64_t sequence = 0;
  friend auto operator<=>(const EntryId&, const EntryId&) = default;

  static constexpr EntryId last() { return {~0ull, ~0ull}; }
  EntryId next() const { return sequence == ~0ull ? EntryId{ms + 1, 0} : EntryId{ms, sequence + 1}; }
  std::string text() const;
  // "5-1", "5" (with `sequence` as given), "-", "+". Empty when it is none of them.
  static std::optional<EntryId> parse(std::string_view text, std::uint64_t sequence);
};

struct PendingEntry {
  std::string consumer;
  std::int64_t delivered_ms = 0;
  std::int64_t deliveries = 0;
};

struct Group {
  EntryId last;
  std::map<EntryId, PendingEntry> pending;
};

using EntryFields = std::vector<std::string>;

struct Stream {
  EntryId last;
  std::map<EntryId, EntryFields> entries;
  std::map<std::string, Group, std::less<>> groups;
  std::uint64_t changed = 0;  // number of the change, for who waits
};

OwnedReply entry_reply(const EntryId& id, const EntryFields& fields);
OwnedReply entry_reply(const Stream& stream, const EntryId& id);  // nil fields when it is deleted

// Of a group: entries behind its last one, given to `consumer`.
std::vector<OwnedReply> read_new(Stream& stream, Group& group, std::string_view consumer, std::size_t count,
                                 std::int64_t now_ms);
// What is pending for `consumer` behind `after`; counts as a delivery.
std::vector<OwnedReply> read_pending(Stream& stream, Group& group, std::string_view consumer, EntryId after,
                                     std::size_t count, std::int64_t now_ms);

}  // namespace stem::simulation
