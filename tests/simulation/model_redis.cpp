#include "tests/simulation/model_redis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "federation/scripts.hpp"

namespace stem::simulation {
namespace {

bool is_word(std::string_view text, std::string_view upper) {
  return std::equal(text.begin(), text.end(), upper.begin(), upper.end(),
                    [](char a, char b) { return std::toupper(static_cast<unsigned char>(a)) == b; });
}

OwnedReply no_group(std::string_view key, std::string_view group, std::string_view where = {}) {
  return error_reply(fmt::format("NOGROUP No such key '{}' or consumer group '{}'{}", key, group, where));
}

OwnedReply bad_id() { return error_reply("ERR Invalid stream ID specified as stream command argument"); }

// A bound of a range; "(" excludes.
bool parse_bound(std::string_view text, bool is_end, EntryId& id) {
  const bool open = text.starts_with('(');
  const auto parsed = EntryId::parse(open ? text.substr(1) : text, is_end ? ~0ull : 0);
  if (!parsed) return false;
  id = *parsed;
  if (open && !is_end) id = id.next();
  if (open && is_end) id = id.sequence == 0 ? EntryId{id.ms - 1, ~0ull} : EntryId{id.ms, id.sequence - 1};
  return true;
}

}  // namespace

const std::unordered_map<std::string_view, ModelRedis::Entry>& ModelRedis::commands() {
  using M = ModelRedis;
  static const std::unordered_map<std::string_view, Entry> all{
      {"PING", {&M::ping, 1, false, false}},
      {"EXISTS", {&M::exists, 2, false, false}},
      {"GET", {&M::get, 2, false, false}},
      {"SET", {&M::set, 3, true, true}},
      {"STRLEN", {&M::strlen, 2, false, false}},
      {"DEL", {&M::del, 2, true, false}},
      {"LPUSH", {&M::lpush, 3, true, true}},
      {"LLEN", {&M::llen, 2, false, false}},
      {"LRANGE", {&M::lrange, 4, false, false}},
      {"ZADD", {&M::zadd, 4, true, true}},
      {"ZSCORE", {&M::zscore, 3, false, false}},
      {"ZCARD", {&M::zcard, 2, false, false}},
      {"ZREM", {&M::zrem, 3, true, false}},
      {"ZRANGEBYSCORE", {&M::zrange_by_score, 4, false, false}},
      {"HSET", {&M::hset, 4, true, true}},
      {"HGET", {&M::hget, 3, false, false}},
      {"HGETALL", {&M::hgetall, 2, false, false}},
      {"HDEL", {&M::hdel, 3, true, false}},
      {"PUBLISH", {&M::publish, 3, false, false}},
      {"FLUSHALL", {&M::flush_all, 1, true, false}},
      {"XADD", {&M::xadd, 5, true, true}},
      {"XLEN", {&M::xlen, 2, false, false}},
      {"XRANGE", {&M::xrange, 4, false, false}},
      {"XDEL", {&M::xdel, 3, true, false}},
      {"XTRIM", {&M::xtrim, 4, true, false}},
      {"XGROUP", {&M::xgroup, 5, true, true}},
      {"XREADGROUP", {&M::xread_group, 7, true, false}},
      {"XACK", {&M::xack, 4, true, false}},
      {"XPENDING", {&M::xpending, 3, false, false}},
      {"XCLAIM", {&M::xclaim, 6, true, false}},
      {"XINFO", {&M::xinfo, 3, false, false}},
      {"EVAL", {&M::eval, 3, false, false}},
  };
  return all;
}

OwnedReply ModelRedis::execute(Words words, std::int64_t now_us) {
  now_us_ = now_us;
  wrote_ = false;
  return call(words);
}

OwnedReply ModelRedis::call(Words words) {
  const auto found = commands().find(words[0]);
  if (found == commands().end() || words.size() < found->second.least_words) {
    std::fprintf(stderr, "the model of Redis does not know the command %s\n",
                 fmt::format("{}", fmt::join(words, " ")).c_str());
    std::abort();
  }
  const Entry& command = found->second;
  if (read_only_ && command.writes) return error_reply("READONLY You can't write against a read only replica.");
  // A script that has begun to write goes on to its end.
  if (full_ && command.grows && !(in_script_ && wrote_))
    return error_reply("OOM command not allowed when used memory > 'maxmemory'.");
  OwnedReply reply = (this->*command.run)(words);
  wrote_ = wrote_ || command.writes;
  return reply;
}

// ---- streams

OwnedReply ModelRedis::xadd(Words words) {
  bool wrong = false;
  const Stream* there = find<Stream>(words[1], wrong);
  if (wrong) return wrong_type();
  EntryId id{static_cast<std::uint64_t>(now_ms()), 0};
  const EntryId last = there == nullptr ? EntryId{} : there->last;
  if (words[2] == "*") {
    if (id <= last) id = last.next();
  } else {
    const auto given = EntryId::parse(words[2], 0);
    if (!given) return bad_id();
    if (*given <= last)
      return error_reply("ERR The ID specified in XADD is equal or smaller than the target stream top item");
    id = *given;
  }
  Stream& stream = make<Stream>(words[1]);
  stream.last = id;
  stream.entries.emplace(id, EntryFields(words.begin() + 3, words.end()));
  ++stream.changed;
  return text_reply(id.text());
}

OwnedReply ModelRedis::xlen(Words words) {
  bool wrong = false;
  const Stream* stream = find<Stream>(words[1], wrong);
  if (wrong) return wrong_type();
  return number_reply(stream == nullptr ? 0 : static_cast<std::int64_t>(stream->entries.size()));
}

OwnedReply ModelRedis::xrange(Words words) {
  EntryId from, to;
  if (!parse_bound(words[2], false, from) || !parse_bound(words[3], true, to)) return bad_id();
  const std::size_t count = words.size() > 5 ? static_cast<std::size_t>(number(words[5])) : ~std::size_t{0};
  bool wrong = false;
  const Stream* stream = find<Stream>(words[1], wrong);
  if (wrong) return wrong_type();
  std::vector<OwnedReply> found;
  if (stream == nullptr) return list_reply();
  for (auto entry = stream->entries.lower_bound(from);
       entry != stream->entries.end() && entry->first <= to && found.size() < count; ++entry)
    found.push_back(entry_reply(entry->first, entry->second));
  return list_reply(std::move(found));
}

OwnedReply ModelRedis::xdel(Words words) {
  bool wrong = false;
  Stream* stream = find<Stream>(words[1], wrong);
  if (wrong) return wrong_type();
  std::int64_t gone = 0;
  for (const std::string_view text : words.subspan(2)) {
    const auto id = EntryId::parse(text, 0);
    if (!id) return bad_id();
    if (stream != nullptr) gone += static_cast<std::int64_t>(stream->entries.erase(*id));
  }
  return number_reply(gone);
}

// XTRIM key MINID id
OwnedReply ModelRedis::xtrim(Words words) {
  bool wrong = false;
  Stream* stream = find<Stream>(words[1], wrong);
  const auto id = EntryId::parse(words[3], 0);
  if (!id) return bad_id();
  if (wrong) return wrong_type();
  if (stream == nullptr) return number_reply(0);
  const auto kept = stream->entries.lower_bound(*id);
  const auto gone = std::distance(stream->entries.begin(), kept);
  stream->entries.erase(stream->entries.begin(), kept);
  return number_reply(gone);
}

// XGROUP CREATE key group id [MKSTREAM]
OwnedReply ModelRedis::xgroup(Words words) {
  bool wrong = false;
  const bool make_stream = words.size() > 5 && is_word(words[5], "MKSTREAM");
  Stream* stream = find<Stream>(words[2], wrong);
  if (wrong) return wrong_type();
  if (stream == nullptr && !make_stream)
    return error_reply(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM "
        "option to create an empty stream automatically.");
  if (stream == nullptr) stream = &make<Stream>(words[2]);
  if (stream->groups.contains(words[3])) return error_reply("BUSYGROUP Consumer Group name already exists");
  const auto id = words[4] == "$" ? stream->last : EntryId::parse(words[4], 0);
  if (!id) return bad_id();
  stream->groups.emplace(words[3], Group{*id, {}});
  return ok_reply();
}

// XREADGROUP GROUP group consumer [COUNT n] [BLOCK ms] STREAMS key... id...
OwnedReply ModelRedis::xread_group(Words words) {
  std::size_t at = 4, count = ~std::size_t{0};
  for (; at < words.size() && !is_word(words[at], "STREAMS"); at += 2)
    if (is_word(words[at], "COUNT")) count = static_cast<std::size_t>(number(words[at + 1]));
  const std::size_t streams = (words.size() - at - 1) / 2;
  const Words keys = words.subspan(at + 1, streams), ids = words.subspan(at + 1 + streams, streams);
  for (std::size_t i = 0; i < streams; ++i) {
    bool wrong = false;
    const Stream* stream = find<Stream>(keys[i], wrong);
    if (wrong) return wrong_type();
    if (stream == nullptr || !stream->groups.contains(words[2]))
      return no_group(keys[i], words[2], " in XREADGROUP with GROUP option");
  }
  std::vector<OwnedReply> read;
  for (std::size_t i = 0; i < streams; ++i) {
    Stream& stream = make<Stream>(keys[i]);
    Group& group = stream.groups.find(words[2])->second;
    std::vector<OwnedReply> entries;
    if (ids[i] == ">") {
      entries = read_new(stream, group, words[3], count, now_ms());
      if (entries.empty()) continue;
    } else {
      const auto after = EntryId::parse(ids[i], 0);
      if (!after) return bad_id();
      entries = read_pending(stream, group, words[3], *after, count, now_ms());
    }
    read.push_back(list_reply({text_reply(std::string(keys[i])), list_reply(std::move(entries))}));
  }
  return read.empty() ? nil_reply() : list_reply(std::move(read));
}

bool ModelRedis::has_new(Words words) const {
  for (const std::string_view word : words) {
    const auto found = values_.find(word);
    if (found == values_.end()) continue;
    const Stream* stream = std::get_if<Stream>(&found->second);
    if (stream == nullptr || stream->entries.empty()) continue;
    const auto group = stream->groups.find(words[2]);
    if (group != stream->groups.end() && stream->entries.rbegin()->first > group->second.last) return true;
  }
  return false;
}

OwnedReply ModelRedis::xack(Words words) {
  bool wrong = false;
  Stream* stream = find<Stream>(words[1], wrong);
  if (wrong) return wrong_type();
  std::int64_t gone = 0;
  for (const std::string_view text : words.subspan(3)) {
    const auto id = EntryId::parse(text, 0);
    if (!id) return bad_id();
    if (stream == nullptr) continue;
    const auto group = stream->groups.find(words[2]);
    if (group != stream->groups.end()) gone += static_cast<std::int64_t>(group->second.pending.erase(*id));
  }
  return number_reply(gone);
}

// XPENDING key group [[IDLE ms] start end count [consumer]]
OwnedReply ModelRedis::xpending(Words words) {
  bool wrong = false;
  Stream* stream = find<Stream>(words[1], wrong);
  if (wrong) return wrong_type();
  if (stream == nullptr || !stream->groups.contains(words[2])) return no_group(words[1], words[2]);
  const auto& pending = stream->groups.find(words[2])->second.pending;
  if (words.size() == 3) {
    if (pending.empty()) return list_reply({number_reply(0), nil_reply(), nil_reply(), nil_reply()});
    std::map<std::string, std::int64_t> consumers;
    for (const auto& [id, one] : pending) ++consumers[one.consumer];
    std::vector<OwnedReply> counts;
    for (const auto& [name, n] : consumers)
      counts.push_back(list_reply({text_reply(name), text_reply(fmt::to_string(n))}));
    return list_reply({number_reply(static_cast<std::int64_t>(pending.size())),
                       text_reply(pending.begin()->first.text()), text_reply(pending.rbegin()->first.text()),
                       list_reply(std::move(counts))});
  }
  const bool by_idle = is_word(words[3], "IDLE");
  const std::int64_t least_ms = by_idle ? number(words[4]) : 0;
  const Words rest = words.subspan(by_idle ? 5 : 3);
  EntryId from, to;
  if (rest.size() < 3) return error_reply("ERR syntax error");
  if (!parse_bound(rest[0], false, from) || !parse_bound(rest[1], true, to)) return bad_id();
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(0, number(rest[2])));
  std::vector<OwnedReply> found;
  for (auto one = pending.lower_bound(from); one != pending.end() && one->first <= to && found.size() < count; ++one) {
    if (rest.size() > 3 && one->second.consumer != rest[3]) continue;
    const std::int64_t idle_ms = std::max<std::int64_t>(0, now_ms() - one->second.delivered_ms);
    if (idle_ms < least_ms) continue;
    found.push_back(list_reply({text_reply(one->first.text()), text_reply(one->second.consumer), number_reply(idle_ms),
                                number_reply(one->second.deliveries)}));
  }
  return list_reply(std::move(found));
}

// XCLAIM key group consumer min-idle id... [IDLE ms] [JUSTID]
OwnedReply ModelRedis::xclaim(Words words) {
  bool wrong = false;
  Stream* stream = find<Stream>(words[1], wrong);
  if (wrong) return wrong_type();
  if (stream == nullptr || !stream->groups.contains(words[2])) return no_group(words[1], words[2]);
  Group& group = stream->groups.find(words[2])->second;
  std::vector<EntryId> ids;
  std::size_t at = 5;
  for (; at < words.size(); ++at) {
    const auto id = EntryId::parse(words[at], 0);
    if (!id) break;
    ids.push_back(*id);
  }
  bool just_id = false;
  std::int64_t idle_ms = 0;
  for (; at < words.size(); ++at) {
    if (is_word(words[at], "JUSTID")) {
      just_id = true;
    } else if (is_word(words[at], "IDLE") && at + 1 < words.size()) {
      idle_ms = number(words[++at]);
    } else {
      return error_reply(fmt::format("ERR Unrecognized XCLAIM option '{}'", words[at]));
    }
  }
  std::vector<OwnedReply> claimed;
  for (const EntryId& id : ids) {
    const auto one = group.pending.find(id);
    if (one == group.pending.end()) continue;
    if (!stream->entries.contains(id)) {  // deleted meanwhile: nobody's any more
      group.pending.erase(one);
      continue;
    }
    if (now_ms() - one->second.delivered_ms < number(words[4])) continue;
    one->second.consumer = words[3];
    one->second.delivered_ms = now_ms() - idle_ms;
    if (!just_id) ++one->second.deliveries;
    claimed.push_back(just_id ? text_reply(id.text()) : entry_reply(*stream, id));
  }
  return list_reply(std::move(claimed));
}

// XINFO STREAM key, of which only the newest name is told.
OwnedReply ModelRedis::xinfo(Words words) {
  bool wrong = false;
  const Stream* stream = find<Stream>(words[2], wrong);
  if (wrong) return wrong_type();
  if (stream == nullptr) return error_reply("ERR no such key");
  return list_reply({text_reply("last-generated-id"), text_reply(stream->last.text())});
}

}  // namespace stem::simulation
