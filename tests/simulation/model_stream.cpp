#include "tests/simulation/model_stream.hpp"

#include <charconv>

namespace stem::simulation {
namespace {

bool parse_part(std::string_view text, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

std::string EntryId::text() const { return std::to_string(ms) + '-' + std::to_string(sequence); }

std::optional<EntryId> EntryId::parse(std::string_view text, std::uint64_t sequence) {
  if (text == "-") return EntryId{};
  if (text == "+") return last();
  EntryId id{0, sequence};
  const std::size_t dash = text.find('-');
  if (!parse_part(text.substr(0, dash), id.ms)) return std::nullopt;
  if (dash != text.npos && !parse_part(text.substr(dash + 1), id.sequence)) return std::nullopt;
  return id;
}

OwnedReply entry_reply(const EntryId& id, const EntryFields& fields) {
  std::vector<OwnedReply> texts;
  texts.reserve(fields.size());
  for (const std::string& field : fields) texts.push_back(text_reply(field));
  return list_reply({text_reply(id.text()), list_reply(std::move(texts))});
}

OwnedReply entry_reply(const Stream& stream, const EntryId& id) {
  const auto entry = stream.entries.find(id);
  if (entry != stream.entries.end()) return entry_reply(id, entry->second);
  return list_reply({text_reply(id.text()), nil_reply()});
}

std::vector<OwnedReply> read_new(Stream& stream, Group& group, std::string_view consumer, std::size_t count,
                                 std::int64_t now_ms) {
  std::vector<OwnedReply> given;
  for (auto entry = stream.entries.upper_bound(group.last); entry != stream.entries.end() && given.size() < count;
       ++entry) {
    group.last = entry->first;
    group.pending[entry->first] = {std::string(consumer), now_ms, 1};
    given.push_back(entry_reply(entry->first, entry->second));
  }
  return given;
}

std::vector<OwnedReply> read_pending(Stream& stream, Group& group, std::string_view consumer, EntryId after,
                                     std::size_t count, std::int64_t now_ms) {
  std::vector<OwnedReply> given;
  for (auto one = group.pending.upper_bound(after); one != group.pending.end() && given.size() < count; ++one) {
    if (one->second.consumer != consumer) continue;
    given.push_back(entry_reply(stream, one->first));
    if (!stream.entries.contains(one->first)) continue;
    one->second.delivered_ms = now_ms;
    ++one->second.deliveries;
  }
  return given;
}

}  // namespace stem::simulation
