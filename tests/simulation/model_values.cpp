// The model's commands that are not about streams.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "tests/simulation/model_redis.hpp"

namespace stem::simulation {
namespace {

double score(std::string_view text) {
  if (text == "-inf") return -HUGE_VAL;
  if (text == "+inf" || text == "inf") return HUGE_VAL;
  return std::strtod(std::string(text).c_str(), nullptr);
}

std::string shown(double value) {
  char text[64];
  const auto whole = static_cast<std::int64_t>(value);
  if (static_cast<double>(whole) == value) return std::to_string(whole);
  (void)std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

}  // namespace

void ModelRedis::expire(std::string_view key) {
  const auto found = values_.find(key);
  if (found == values_.end()) return;
  const Text* text = std::get_if<Text>(&found->second);
  if (text != nullptr && text->expires_us != 0 && text->expires_us <= now_us_) values_.erase(found);
}

const Stream* ModelRedis::stream(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : std::get_if<Stream>(&found->second);
}

std::vector<std::string> ModelRedis::keys() const {
  std::vector<std::string> all;
  for (const auto& [key, value] : values_) all.push_back(key);
  return all;
}

const std::string* ModelRedis::text(std::string_view key) const {
  const auto found = values_.find(key);
  const Text* text = found == values_.end() ? nullptr : std::get_if<Text>(&found->second);
  return text == nullptr ? nullptr : &text->text;
}

const std::map<std::string, double>* ModelRedis::sorted(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : std::get_if<Sorted>(&found->second);
}

const std::deque<std::string>* ModelRedis::list(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : std::get_if<List>(&found->second);
}

OwnedReply ModelRedis::ping(Words) { return ok_reply("PONG"); }

OwnedReply ModelRedis::exists(Words words) {
  std::int64_t there = 0;
  for (const std::string_view key : words.subspan(1)) {
    expire(key);
    there += values_.find(key) != values_.end();
  }
  return number_reply(there);
}

OwnedReply ModelRedis::get(Words words) {
  bool wrong = false;
  const Text* text = find<Text>(words[1], wrong);
  if (wrong) return wrong_type();
  return text == nullptr ? nil_reply() : text_reply(text->text);
}

// SET key value [PX ms]
OwnedReply ModelRedis::set(Words words) {
  Text text{std::string(words[2]), 0};
  if (words.size() > 4) {
    if (number(words[4]) <= 0) return error_reply("ERR invalid expire time in 'set' command");
    text.expires_us = now_us_ + number(words[4]) * 1000;
  }
  values_.insert_or_assign(std::string(words[1]), std::move(text));
  return ok_reply();
}

OwnedReply ModelRedis::strlen(Words words) {
  bool wrong = false;
  const Text* text = find<Text>(words[1], wrong);
  if (wrong) return wrong_type();
  return number_reply(text == nullptr ? 0 : static_cast<std::int64_t>(text->text.size()));
}

OwnedReply ModelRedis::del(Words words) {
  std::int64_t gone = 0;
  for (const std::string_view key : words.subspan(1)) {
    expire(key);
    const auto found = values_.find(key);
    if (found == values_.end()) continue;
    values_.erase(found);
    ++gone;
  }
  return number_reply(gone);
}

OwnedReply ModelRedis::lpush(Words words) {
  bool wrong = false;
  (void)find<List>(words[1], wrong);
  if (wrong) return wrong_type();
  List& list = make<List>(words[1]);
  for (const std::string_view element : words.subspan(2)) list.emplace_front(element);
  return number_reply(static_cast<std::int64_t>(list.size()));
}

OwnedReply ModelRedis::llen(Words words) {
  bool wrong = false;
  const List* list = find<List>(words[1], wrong);
  if (wrong) return wrong_type();
  return number_reply(list == nullptr ? 0 : static_cast<std::int64_t>(list->size()));
}

OwnedReply ModelRedis::lrange(Words words) {
  bool wrong = false;
  const List* list = find<List>(words[1], wrong);
  if (wrong) return wrong_type();
  if (list == nullptr) return list_reply();
  const auto size = static_cast<std::int64_t>(list->size());
  const auto place = [size](std::int64_t at) { return at < 0 ? at + size : at; };
  std::vector<OwnedReply> found;
  for (std::int64_t i = std::max<std::int64_t>(0, place(number(words[2])));
       i <= std::min(size - 1, place(number(words[3]))); ++i)
    found.push_back(text_reply((*list)[static_cast<std::size_t>(i)]));
  return list_reply(std::move(found));
}

OwnedReply ModelRedis::zadd(Words words) {
  bool wrong = false;
  (void)find<Sorted>(words[1], wrong);
  if (wrong) return wrong_type();
  Sorted& sorted = make<Sorted>(words[1]);
  std::int64_t added = 0;
  for (std::size_t i = 2; i + 1 < words.size(); i += 2)
    added += sorted.insert_or_assign(std::string(words[i + 1]), score(words[i])).second;
  return number_reply(added);
}

OwnedReply ModelRedis::zscore(Words words) {
  bool wrong = false;
  const Sorted* sorted = find<Sorted>(words[1], wrong);
  if (wrong) return wrong_type();
  if (sorted == nullptr) return nil_reply();
  const auto member = sorted->find(std::string(words[2]));
  return member == sorted->end() ? nil_reply() : text_reply(shown(member->second));
}

OwnedReply ModelRedis::zcard(Words words) {
  bool wrong = false;
  const Sorted* sorted = find<Sorted>(words[1], wrong);
  if (wrong) return wrong_type();
  return number_reply(sorted == nullptr ? 0 : static_cast<std::int64_t>(sorted->size()));
}

OwnedReply ModelRedis::zrem(Words words) {
  bool wrong = false;
  Sorted* sorted = find<Sorted>(words[1], wrong);
  if (wrong) return wrong_type();
  if (sorted == nullptr) return number_reply(0);
  std::int64_t gone = 0;
  for (const std::string_view member : words.subspan(2))
    gone += static_cast<std::int64_t>(sorted->erase(std::string(member)));
  if (sorted->empty()) values_.erase(values_.find(words[1]));
  return number_reply(gone);
}

// ZRANGEBYSCORE key min max [LIMIT from count]
OwnedReply ModelRedis::zrange_by_score(Words words) {
  bool wrong = false;
  const Sorted* sorted = find<Sorted>(words[1], wrong);
  if (wrong) return wrong_type();
  if (sorted == nullptr) return list_reply();
  std::vector<std::pair<double, std::string_view>> members;
  for (const auto& [member, at] : *sorted)
    if (at >= score(words[2]) && at <= score(words[3])) members.emplace_back(at, member);
  std::sort(members.begin(), members.end());
  const auto from = static_cast<std::size_t>(words.size() > 6 ? number(words[5]) : 0);
  const auto count = words.size() > 6 ? static_cast<std::size_t>(number(words[6])) : members.size();
  std::vector<OwnedReply> found;
  for (std::size_t i = from; i < members.size() && found.size() < count; ++i)
    found.push_back(text_reply(std::string(members[i].second)));
  return list_reply(std::move(found));
}

OwnedReply ModelRedis::hset(Words words) {
  bool wrong = false;
  (void)find<Hash>(words[1], wrong);
  if (wrong) return wrong_type();
  Hash& hash = make<Hash>(words[1]);
  std::int64_t added = 0;
  for (std::size_t i = 2; i + 1 < words.size(); i += 2)
    added += hash.insert_or_assign(std::string(words[i]), std::string(words[i + 1])).second;
  return number_reply(added);
}

OwnedReply ModelRedis::hget(Words words) {
  bool wrong = false;
  const Hash* hash = find<Hash>(words[1], wrong);
  if (wrong) return wrong_type();
  if (hash == nullptr) return nil_reply();
  const auto field = hash->find(std::string(words[2]));
  return field == hash->end() ? nil_reply() : text_reply(field->second);
}

OwnedReply ModelRedis::hgetall(Words words) {
  bool wrong = false;
  const Hash* hash = find<Hash>(words[1], wrong);
  if (wrong) return wrong_type();
  std::vector<OwnedReply> all;
  if (hash != nullptr)
    for (const auto& [field, text] : *hash) all.insert(all.end(), {text_reply(field), text_reply(text)});
  return list_reply(std::move(all));
}

OwnedReply ModelRedis::hdel(Words words) {
  bool wrong = false;
  Hash* hash = find<Hash>(words[1], wrong);
  if (wrong) return wrong_type();
  std::int64_t gone = 0;
  for (const std::string_view field : words.subspan(2))
    gone += hash == nullptr ? 0 : static_cast<std::int64_t>(hash->erase(std::string(field)));
  if (hash != nullptr && hash->empty()) values_.erase(values_.find(words[1]));
  return number_reply(gone);
}

OwnedReply ModelRedis::publish(Words) { return number_reply(0); }

OwnedReply ModelRedis::flush_all(Words) {
  values_.clear();
  return ok_reply();
}

}  // namespace stem::simulation
