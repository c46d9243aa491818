// The scripts of federation/scripts.hpp, and of limit_scripts.hpp but the rates', told by their text. What each redis.call may answer with an error ends the
// script there, with what it has done so far done: so it is here too.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "federation/limit_scripts.hpp"
#include "federation/scripts.hpp"
#include "tests/simulation/model_redis.hpp"

namespace stem::simulation {
namespace {

std::vector<std::string_view> views(const std::vector<OwnedReply>& texts) {
  std::vector<std::string_view> all;
  for (const OwnedReply& one : texts) all.push_back(one.text);
  return all;
}

}  // namespace

// EVAL script numkeys key... arg...
OwnedReply ModelRedis::eval(Words words) {
  using Script = OwnedReply (ModelRedis::*)(Words, Words);
  static const std::pair<std::string_view, Script> scripts[] = {
      {federation::kDueScript, &ModelRedis::due},
      {federation::kPromoteScript, &ModelRedis::promote},
      {federation::kBuryMemberScript, &ModelRedis::bury_member},
      {federation::kRefuseMemberScript, &ModelRedis::refuse_member},
      {federation::kSettleScript, &ModelRedis::settle},
      {federation::kSettleManyScript, &ModelRedis::settle_many},
      {federation::kHaveResultScript, &ModelRedis::have_result},
      {federation::kDropSecondScript, &ModelRedis::drop_second},
      {federation::kReturnScript, &ModelRedis::give_back},
      {federation::kRenewScript, &ModelRedis::renew},
      {federation::kRenewManyScript, &ModelRedis::renew_many},
      {federation::kLookScript, &ModelRedis::look},
      {federation::kReadBackScript, &ModelRedis::read_back},
      {federation::kEndedScript, &ModelRedis::ended},
      {federation::kGoneScript, &ModelRedis::gone},
      {federation::kResultsScript, &ModelRedis::results},
      {federation::kAddUniqueScript, &ModelRedis::add_unique},
      {federation::kTakePlacesScript, &ModelRedis::take_places},
  };
  const auto keys = static_cast<std::size_t>(number(words[2]));
  for (const auto& [text, script] : scripts) {
    if (words[1] != text) continue;
    in_script_ = true;
    OwnedReply reply = (this->*script)(words.subspan(3, keys), words.subspan(3 + keys));
    in_script_ = false;
    return reply;
  }
  std::fprintf(stderr, "the model of Redis does not know this script; model_scripts.cpp lacks it:\n%s\n",
               std::string(words[1]).c_str());
  std::abort();
}

OwnedReply ModelRedis::due(Words keys, Words) {
  const std::string now = fmt::to_string(now_ms());
  std::vector<OwnedReply> due;
  std::size_t room = 16'777'216;
  for (int page = 0; page < 10; ++page) {
    const std::string from = fmt::to_string(page * 10);
    OwnedReply members = call({"ZRANGEBYSCORE", keys[0], "-inf", now, "LIMIT", from, "10"});
    if (is_error(members)) return members;
    const std::size_t n = members.elements.size();
    for (OwnedReply& member : members.elements) {
      if (member.text.size() > room) continue;
      room -= member.text.size();
      due.push_back(std::move(member));
    }
    if (n < 10) break;
  }
  return list_reply(std::move(due));
}

OwnedReply ModelRedis::promote(Words keys, Words args) {
  const OwnedReply there = call({"ZSCORE", keys[0], args[0]});
  if (is_error(there)) return there;
  if (there.kind == federation::Reply::Kind::kNil) return number_reply(0);
  std::vector<std::string_view> add{"XADD", keys[1], "*"};
  add.insert(add.end(), args.begin() + 1, args.end());
  if (OwnedReply added = call(add); is_error(added)) return added;
  if (OwnedReply gone = call({"ZREM", keys[0], args[0]}); is_error(gone)) return gone;
  return number_reply(1);
}

OwnedReply ModelRedis::bury_member(Words keys, Words args) {
  const OwnedReply there = call({"ZSCORE", keys[0], args[0]});
  if (is_error(there)) return there;
  if (there.kind == federation::Reply::Kind::kNil) return number_reply(0);
  if (OwnedReply pushed = call({"LPUSH", keys[1], args[1]}); is_error(pushed)) return pushed;
  if (OwnedReply gone = call({"ZREM", keys[0], args[0]}); is_error(gone)) return gone;
  return number_reply(1);
}

OwnedReply ModelRedis::refuse_member(Words keys, Words args) {
  const OwnedReply there = call({"ZSCORE", keys[0], args[0]});
  if (is_error(there)) return there;
  if (there.kind == federation::Reply::Kind::kNil) return number_reply(0);
  if (OwnedReply pushed = call({"LPUSH", keys[1], args[1]}); is_error(pushed)) return pushed;
  if (OwnedReply kept = call({"SET", keys[2], args[2], "PX", args[3]}); is_error(kept)) return kept;
  if (OwnedReply gone = call({"ZREM", keys[0], args[0]}); is_error(gone)) return gone;
  return number_reply(1);
}

// `refused` is the error of the server, or the 0 with which the script ends.
bool ModelRedis::is_mine(std::string_view stream, std::string_view group, std::string_view consumer,
                         std::string_view entry, OwnedReply& refused) {
  refused = call({"XPENDING", stream, group, entry, entry, "1"});
  if (is_error(refused)) return false;
  const bool mine = !refused.elements.empty() && refused.elements[0].elements[1].text == consumer;
  refused = number_reply(0);
  return mine;
}

OwnedReply ModelRedis::settle(Words keys, Words args) {
  OwnedReply refused;
  if (!is_mine(keys[0], args[0], args[1], args[2], refused)) return refused;
  if (!args[6].empty())
    if (OwnedReply looked = call({"LLEN", keys[1]}); is_error(looked)) return looked;
  if (OwnedReply acked = call({"XACK", keys[0], args[0], args[2]}); is_error(acked)) return acked;
  if (OwnedReply gone = call({"XDEL", keys[0], args[2]}); is_error(gone)) return gone;
  if (keys.size() > 3)
    if (const OwnedReply holder = call({"GET", keys[3]}); holder.text == args[5] && !is_error(holder))
      if (OwnedReply freed = call({"DEL", keys[3]}); is_error(freed)) return freed;
  if (OwnedReply kept = call({"SET", keys[2], args[3], "PX", args[4]}); is_error(kept)) return kept;
  if (!args[6].empty())
    if (OwnedReply pushed = call({"LPUSH", keys[1], args[6]}); is_error(pushed)) return pushed;
  return number_reply(1);
}

OwnedReply ModelRedis::settle_many(Words keys, Words args) {
  std::size_t at = 5 + static_cast<std::size_t>(number(args[4]));
  const Words entries = args.subspan(5, at - 5);
  std::vector<std::string_view> acknowledge{"XACK", keys[0], args[0]}, remove{"XDEL", keys[0]};
  acknowledge.insert(acknowledge.end(), entries.begin(), entries.end());
  remove.insert(remove.end(), entries.begin(), entries.end());
  const OwnedReply pending = call(acknowledge);
  if (is_error(pending)) return pending;
  bool trims = !args[3].empty() && pending.integer == static_cast<std::int64_t>(entries.size());
  if (trims) {
    const std::string first = fmt::format("({}", entries[0]);
    const OwnedReply before = call({"XRANGE", keys[0], "-", first, "COUNT", "1"});
    if (is_error(before)) return before;
    trims = before.elements.empty();
  }
  if (trims) remove = {"XTRIM", keys[0], "MINID", args[3]};
  if (OwnedReply gone = call(remove); is_error(gone)) return gone;
  for (std::size_t i = 2; i < keys.size(); ++i, at += 2)
    if (OwnedReply kept = call({"SET", keys[i], args[at], "PX", args[at + 1]}); is_error(kept)) return kept;
  if (!args[2].empty())  // no run lasts until they are forgotten
    if (is_error(call({"XADD", keys[1], "*", "ended", args[2]}))) {
      if (OwnedReply gone = call({"DEL", keys[1]}); is_error(gone)) return gone;
      if (OwnedReply noted = call({"XADD", keys[1], "*", "ended", args[2]}); is_error(noted)) return noted;
    }
  return number_reply(static_cast<std::int64_t>(at));
}

OwnedReply ModelRedis::have_result(Words keys, Words) {
  std::vector<OwnedReply> have;
  for (const std::string_view key : keys) have.push_back(call({"EXISTS", key}));
  return list_reply(std::move(have));
}

OwnedReply ModelRedis::drop_second(Words keys, Words args) {
  OwnedReply refused;
  if (!is_mine(keys[0], args[0], args[1], args[2], refused)) return refused;
  if (OwnedReply acked = call({"XACK", keys[1], args[0], args[3]}); is_error(acked)) return acked;
  if (OwnedReply gone = call({"XDEL", keys[1], args[3]}); is_error(gone)) return gone;
  return number_reply(1);
}

OwnedReply ModelRedis::give_back(Words keys, Words args) {
  OwnedReply refused;
  if (!is_mine(keys[0], args[0], args[1], args[2], refused)) return refused;
  const OwnedReply entry = call({"XRANGE", keys[0], args[2], args[2]});
  if (is_error(entry)) return entry;
  if (entry.elements.empty()) return number_reply(0);
  std::vector<std::string_view> add{"XADD", keys[0], "*"};
  const auto fields = views(entry.elements[0].elements[1].elements);
  add.insert(add.end(), fields.begin(), fields.end());
  if (OwnedReply added = call(add); is_error(added)) return added;
  if (OwnedReply acked = call({"XACK", keys[0], args[0], args[2]}); is_error(acked)) return acked;
  if (OwnedReply gone = call({"XDEL", keys[0], args[2]}); is_error(gone)) return gone;
  return number_reply(1);
}

OwnedReply ModelRedis::renew(Words keys, Words args) {
  OwnedReply refused;
  if (!is_mine(keys[0], args[0], args[1], args[2], refused)) return refused;
  if (OwnedReply claimed = call({"XCLAIM", keys[0], args[0], args[1], "0", args[2], "JUSTID"}); is_error(claimed))
    return claimed;
  return number_reply(1);
}

OwnedReply ModelRedis::renew_many(Words keys, Words args) {
  std::vector<OwnedReply> others;
  for (const std::string_view entry : args.subspan(2)) {
    OwnedReply refused;
    if (is_mine(keys[0], args[0], args[1], entry, refused)) {
      if (OwnedReply claimed = call({"XCLAIM", keys[0], args[0], args[1], "0", entry, "JUSTID"}); is_error(claimed))
        return claimed;
    } else if (is_error(refused)) {
      return refused;
    } else {
      others.push_back(text_reply(std::string(entry)));
    }
  }
  return list_reply(std::move(others));
}

OwnedReply ModelRedis::look(Words keys, Words args) {
  const OwnedReply entry = call({"XRANGE", keys[0], args[0], args[0]});
  if (is_error(entry)) return entry;
  if (entry.elements.empty()) return nil_reply();
  const auto& fields = entry.elements[0].elements[1].elements;
  std::string visibility, id;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i + 1 < fields.size(); i += 2) {
    const std::string &name = fields[i].text, &text = fields[i + 1].text;
    bytes += name.size() + text.size() + 128;
    if (name == "visibilityTimeout" && text.size() <= 20) visibility = text;
    if (name == "id" && text.size() <= 64) id = text;
  }
  const auto size = static_cast<std::int64_t>(bytes);
  if (size > number(args[1])) return list_reply({number_reply(size), text_reply(std::move(id))});
  return text_reply(std::move(visibility));
}

OwnedReply ModelRedis::read_back(Words keys, Words args) {
  std::string from(args[0]);
  std::vector<OwnedReply> ids, places;
  for (int page = 0; page < 50; ++page) {
    const OwnedReply entries = call({"XRANGE", keys[0], from, "+", "COUNT", "20"});
    if (is_error(entries)) return entries;
    for (const OwnedReply& entry : entries.elements) {
      from = '(' + entry.elements[0].text;
      const auto& fields = entry.elements[1].elements;
      for (std::size_t i = 0; i + 1 < fields.size(); i += 2) {
        if (fields[i].text != "id" || fields[i + 1].text.size() > 64) continue;
        ids.push_back(fields[i + 1]);
        places.push_back(entry.elements[0]);
        break;
      }
    }
    if (entries.elements.size() < 20) {
      from.clear();
      break;
    }
  }
  return list_reply({text_reply(from), list_reply(std::move(ids)), list_reply(std::move(places))});
}

OwnedReply ModelRedis::ended(Words keys, Words args) {
  std::string from(args[0]);
  std::vector<OwnedReply> marks;
  bool more = true;
  for (int page = 0; more && page < 12; ++page) {
    const OwnedReply entries = call({"XRANGE", keys[0], from, "+", "COUNT", "20"});
    if (is_error(entries)) return entries;
    for (const OwnedReply& entry : entries.elements) {
      from = '(' + entry.elements[0].text;
      if (entry.elements[1].elements[1].text.size() <= 16'384) marks.push_back(entry.elements[1].elements[1]);
    }
    more = entries.elements.size() == 20;
  }
  return list_reply({text_reply(from), list_reply(std::move(marks)), number_reply(more ? 1 : 0)});
}

OwnedReply ModelRedis::gone(Words keys, Words args) {
  std::vector<OwnedReply> gone;
  for (std::size_t i = 0; i < args.size(); ++i) {
    bool here = call({"EXISTS", keys[2 * i + 1]}).integer == 1;
    if (!here && !args[i].empty()) {
      const OwnedReply entry = call({"XRANGE", keys[2 * i], args[i], args[i]});
      if (is_error(entry)) return entry;
      here = !entry.elements.empty();
    }
    gone.push_back(number_reply(here ? 0 : 1));
  }
  return list_reply(std::move(gone));
}

OwnedReply ModelRedis::results(Words keys, Words args) {
  std::vector<OwnedReply> results;
  std::int64_t room = number(args[1]);
  for (const std::string_view key : keys) {
    results.push_back(nil_reply());
    const std::int64_t bytes = call({"STRLEN", key}).integer;  // 0 when it is something else
    if (bytes > number(args[0])) {
      results.back() = text_reply("");
    } else if (bytes > 0 && bytes <= room) {
      results.back() = call({"GET", key});
      room -= bytes;
    }
  }
  return list_reply(std::move(results));
}

OwnedReply ModelRedis::add_unique(Words keys, Words args) {
  const OwnedReply holder = call({"GET", keys[1]});
  if (holder.kind == federation::Reply::Kind::kString && holder.text != args[0])
    return list_reply({text_reply(holder.text)});
  std::vector<std::string_view> add{"XADD", keys[0], "*"};
  add.insert(add.end(), args.begin() + 2, args.end());
  OwnedReply added = call(add);
  if (is_error(added)) return added;
  if (OwnedReply kept = call({"SET", keys[1], args[0], "PX", args[1]}); is_error(kept)) return kept;
  return added;
}

// The hash goes when nobody has anything of it for the TTL; no row is believed for longer, so it may stay here.
OwnedReply ModelRedis::take_places(Words keys, Words args) {
  const std::string host(args[0]);
  const std::int64_t needs = number(args[1]), wants = number(args[2]), limit = number(args[3]), ttl = number(args[4]);
  const OwnedReply rows = call({"HGETALL", keys[0]});
  if (is_error(rows))
    if (OwnedReply gone = call({"DEL", keys[0]}); is_error(gone)) return gone;
  std::map<std::string, std::int64_t> wanting;
  std::int64_t used = 0, unmet = 0;
  for (std::size_t i = 0; i + 1 < rows.elements.size(); i += 2) {
    const std::string& name = rows.elements[i].text;
    if (name == host) continue;
    unsigned long has = 0, want = 0, until_ms = 0;
    int end = -1;
    const std::string& row = rows.elements[i + 1].text;
    (void)std::sscanf(row.c_str(), "%lu %lu %lu%n", &has, &want, &until_ms, &end);
    const auto until = static_cast<std::int64_t>(until_ms);
    if (end != static_cast<int>(row.size()) || until <= now_ms() || until > now_ms() + 2 * ttl) {
      if (OwnedReply gone = call({"HDEL", keys[0], name}); is_error(gone)) return gone;
      continue;
    }
    used += static_cast<std::int64_t>(has);
    if (want > 0) wanting.emplace(name, want);
    unmet += want > has;
  }
  if (wants > 0) wanting.emplace(host, wants);
  const auto count = static_cast<std::int64_t>(wanting.size());
  std::int64_t reserved = 0, i = 0;
  for (const auto& [name, want] : wanting) {
    const std::int64_t odd = (++i + now_ms() / number(args[5])) % count < limit % count ? 1 : 0;
    if (name != host) reserved += std::min(want, limit / count + odd);
  }
  const std::int64_t share = std::max<std::int64_t>(0, std::min(wants, limit - reserved));
  const std::int64_t granted = std::max(needs, std::min(share, limit - used));
  const std::string row = fmt::format("{} {} {}", granted, wants, now_ms() + ttl);
  const OwnedReply kept =
      granted == 0 && wants == 0 ? call({"HDEL", keys[0], host}) : call({"HSET", keys[0], host, row});
  if (is_error(kept)) return kept;
  return list_reply({number_reply(granted), number_reply(share), number_reply(unmet)});
}

}  // namespace stem::simulation
