// Replies of the model: made by the functions here, kept as a tree of their own, shown to handlers as real ones are.
#pragma once

#include <charconv>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "federation/blocking_client.hpp"
#include "federation/reply.hpp"

namespace stem::simulation {

using federation::OwnedReply;

// 0 where it is none.
inline std::int64_t number(std::string_view text) {
  std::int64_t value = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

inline OwnedReply nil_reply() { return {}; }
inline OwnedReply number_reply(std::int64_t value) {
  OwnedReply reply;
  reply.kind = federation::Reply::Kind::kInteger;
  reply.integer = value;
  return reply;
}
inline OwnedReply text_reply(std::string text) {
  OwnedReply reply;
  reply.kind = federation::Reply::Kind::kString;
  reply.text = std::move(text);
  return reply;
}
inline OwnedReply ok_reply(std::string word = "OK") {
  OwnedReply reply;
  reply.kind = federation::Reply::Kind::kStatus;
  reply.text = std::move(word);
  return reply;
}
inline OwnedReply list_reply(std::vector<OwnedReply> elements = {}) {
  OwnedReply reply;
  reply.kind = federation::Reply::Kind::kArray;
  reply.elements = std::move(elements);
  return reply;
}
inline OwnedReply error_reply(std::string text) {
  OwnedReply reply;
  reply.kind = federation::Reply::Kind::kError;
  reply.error = federation::classify(text);
  reply.text = std::move(text);
  return reply;
}
// One of our own (kLost, kNotSent): the server has said nothing.
inline OwnedReply error_reply(federation::RedisError error, std::string text) {
  OwnedReply reply = error_reply(std::move(text));
  reply.error = error;
  return reply;
}
inline bool is_error(const OwnedReply& reply) { return reply.kind == federation::Reply::Kind::kError; }

// A view of `from`, which stays where it is; lives as long as this.
class ShownReply {
 public:
  explicit ShownReply(const OwnedReply& from) : reply_(show(from)) {}
  ShownReply(const ShownReply&) = delete;
  ShownReply& operator=(const ShownReply&) = delete;
  const federation::Reply& get() const { return reply_; }

 private:
  federation::Reply show(const OwnedReply& from) {
    federation::Reply reply;
    reply.kind = from.kind;
    reply.error = from.error;
    reply.integer = from.integer;
    reply.text = from.text;
    if (from.elements.empty()) return reply;
    std::vector<federation::Reply> elements;
    elements.reserve(from.elements.size());
    for (const OwnedReply& element : from.elements) elements.push_back(show(element));
    reply.elements = arrays_.emplace_back(std::move(elements));
    return reply;
  }

  std::deque<std::vector<federation::Reply>> arrays_;
  federation::Reply reply_;
};

}  // namespace stem::simulation
