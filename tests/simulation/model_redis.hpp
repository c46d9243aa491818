// A Redis of one process: the commands and scripts that the federation uses, with time as an argument. That it answers
// as a real one does is shown by model_redis_test.cpp, which asks both the same.
//
// Not modelled: connections (network.hpp), memory, expiry of keys other than by their own time.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "tests/simulation/model_reply.hpp"
#include "tests/simulation/model_stream.hpp"

namespace stem::simulation {

using Words = std::span<const std::string_view>;

class ModelRedis {
 public:
  // One command at this time of the server's clock. A read that would block answers nil. Ends the program when the
  // command, or the script, is one that it does not know.
  OwnedReply execute(Words words, std::int64_t now_us);
  // Whether the last one may have changed something.
  bool wrote() const { return wrote_; }

  // Beyond maxmemory with noeviction; a replica.
  void set_full(bool full) { full_ = full; }
  void set_read_only(bool read_only) { read_only_ = read_only; }

  // For the accounts: what there is, without asking.
  const Stream* stream(std::string_view key) const;
  std::vector<std::string> keys() const;
  const std::string* text(std::string_view key) const;
  const std::map<std::string, double>* sorted(std::string_view key) const;
  const std::deque<std::string>* list(std::string_view key) const;
  // True when one of the streams of this XREADGROUP has what its group was not given yet.
  bool has_new(Words read_group) const;

 private:
  struct Text {
    std::string text;
    std::int64_t expires_us = 0;  // 0 = never
  };
  using Sorted = std::map<std::string, double>;
  using List = std::deque<std::string>;
  using Hash = std::map<std::string, std::string>;
  using Value = std::variant<Text, Stream, Sorted, List, Hash>;
  using Command = OwnedReply (ModelRedis::*)(Words);
  struct Entry {
    Command run;
    std::size_t least_words;
    bool writes, grows;  // refused by a replica; refused when full
  };
  static const std::unordered_map<std::string_view, Entry>& commands();

  OwnedReply call(Words words);
  OwnedReply call(std::initializer_list<std::string_view> words) { return call(Words(words.begin(), words.size())); }
  // nullptr when there is none; `wrong` when it is of another type.
  template <class T>
  T* find(std::string_view key, bool& wrong);
  template <class T>
  T& make(std::string_view key) {
    return std::get<T>(values_.try_emplace(std::string(key), T{}).first->second);
  }
  void expire(std::string_view key);
  std::int64_t now_ms() const { return now_us_ / 1000; }

  // strings, lists, sets (model_values.cpp)
  OwnedReply ping(Words);
  OwnedReply exists(Words);
  OwnedReply get(Words);
  OwnedReply set(Words);
  OwnedReply strlen(Words);
  OwnedReply del(Words);
  OwnedReply lpush(Words);
  OwnedReply llen(Words);
  OwnedReply lrange(Words);
  OwnedReply zadd(Words);
  OwnedReply zscore(Words);
  OwnedReply zcard(Words);
  OwnedReply zrem(Words);
  OwnedReply zrange_by_score(Words);
  OwnedReply hset(Words);
  OwnedReply hget(Words);
  OwnedReply hgetall(Words);
  OwnedReply hdel(Words);
  OwnedReply publish(Words);
  OwnedReply flush_all(Words);
  // streams (model_redis.cpp)
  OwnedReply xadd(Words);
  OwnedReply xlen(Words);
  OwnedReply xrange(Words);
  OwnedReply xdel(Words);
  OwnedReply xtrim(Words);
  OwnedReply xgroup(Words);
  OwnedReply xread_group(Words);
  OwnedReply xack(Words);
  OwnedReply xpending(Words);
  OwnedReply xclaim(Words);
  OwnedReply xinfo(Words);
  // scripts (model_scripts.cpp)
  OwnedReply eval(Words);
  OwnedReply due(Words keys, Words args);
  OwnedReply promote(Words keys, Words args);
  OwnedReply bury_member(Words keys, Words args);
  OwnedReply refuse_member(Words keys, Words args);
  OwnedReply settle(Words keys, Words args);
  OwnedReply settle_many(Words keys, Words args);
  OwnedReply have_result(Words keys, Words);
  OwnedReply drop_second(Words keys, Words args);
  OwnedReply give_back(Words keys, Words args);
  OwnedReply renew(Words keys, Words args);
  OwnedReply renew_many(Words keys, Words args);
  OwnedReply look(Words keys, Words args);
  OwnedReply ended(Words keys, Words args);
  OwnedReply gone(Words keys, Words args);
  OwnedReply read_back(Words keys, Words args);
  OwnedReply results(Words keys, Words args);
  OwnedReply add_unique(Words keys, Words args);
  OwnedReply take_places(Words keys, Words args);
  bool is_mine(std::string_view stream, std::string_view group, std::string_view consumer, std::string_view entry,
               OwnedReply& refused);

  std::map<std::string, Value, std::less<>> values_;
  std::int64_t now_us_ = 0;
  bool full_ = false, read_only_ = false;
  bool in_script_ = false, wrote_ = false;
};

inline OwnedReply wrong_type() {
  return error_reply("WRONGTYPE Operation against a key holding the wrong kind of value");
}

template <class T>
T* ModelRedis::find(std::string_view key, bool& wrong) {
  expire(key);
  const auto found = values_.find(key);
  if (found == values_.end()) return nullptr;
  T* value = std::get_if<T>(&found->second);
  wrong = value == nullptr;
  return value;
}

}  // namespace stem::simulation
