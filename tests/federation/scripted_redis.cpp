#include "tests/federation/scripted_redis.hpp"

#include <algorithm>
#include <utility>

#include "base/check.hpp"

namespace stem::test {

using federation::RedisError;
using federation::Reply;

std::size_t ScriptedRedis::waiting(std::string_view word) const {
  return static_cast<std::size_t>(
      std::count_if(sent.begin(), sent.end(), [word](const Sent& one) { return one.argv[0] == word; }));
}

const ScriptedRedis::Sent& ScriptedRedis::first(std::string_view word) const {
  const auto found = std::find_if(sent.begin(), sent.end(), [word](const Sent& one) { return one.argv[0] == word; });
  STEM_CHECK(found != sent.end());
  return *found;
}

bool ScriptedRedis::answer(std::string_view word, const Reply& reply) {
  const auto found = std::find_if(sent.begin(), sent.end(), [word](const Sent& one) { return one.argv[0] == word; });
  if (found == sent.end()) return false;
  const Sent one = std::move(*found);
  sent.erase(found);
  one.handler(reply);
  return true;
}

bool ScriptedRedis::answer(std::string_view word, std::int64_t number) {
  Reply reply;
  reply.kind = Reply::Kind::kInteger;
  reply.integer = number;
  return answer(word, reply);
}

bool ScriptedRedis::answer(std::string_view word, std::string_view text) {
  Reply reply;
  reply.kind = Reply::Kind::kString;
  reply.text = text;
  return answer(word, reply);
}

bool ScriptedRedis::fail(std::string_view word, RedisError error) {
  Reply reply;
  reply.kind = Reply::Kind::kError;
  reply.error = error;
  reply.text = to_string(error);
  return answer(word, reply);
}

void ScriptedRedis::lose() {
  ready = false;
  const std::deque<Sent> lost = std::exchange(sent, {});
  Reply reply;
  reply.kind = Reply::Kind::kError;
  reply.error = RedisError::kLost;
  reply.text = "the connection ended";
  for (const Sent& one : lost) one.handler(reply);
}

const Reply& Shape::reply() {
  replies_.clear();
  for (Shape& element : elements_) replies_.push_back(element.reply());
  if (reply_.kind == Reply::Kind::kArray) reply_.elements = replies_;
  if (reply_.kind == Reply::Kind::kString) reply_.text = text_;
  return reply_;
}

}  // namespace stem::test
