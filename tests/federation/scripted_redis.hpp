// A Redis that says what a test makes it say, when the test makes it: for the order of things that a real server
// would need luck for.
#pragma once

#include <deque>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "federation/redis.hpp"

namespace stem::test {

class ScriptedRedis : public federation::Redis {
 public:
  struct Sent {
    std::vector<std::string> argv;
    federation::ReplyHandler handler;
  };

  using Redis::command;
  federation::Queued command(std::span<const std::string_view> argv, federation::ReplyHandler handler,
                             std::int64_t) override {
    if (!ready) return federation::Queued::kNotReady;
    sent.push_back({{argv.begin(), argv.end()}, std::move(handler)});
    return federation::Queued::kYes;
  }
  bool is_ready() const override { return ready; }
  void drop(const std::string& reason) override { drops.push_back(reason); }

  // How many commands that are not answered begin with this word.
  std::size_t waiting(std::string_view word) const;
  // The first of them; ends the test program when there is none.
  const Sent& first(std::string_view word) const;

  // Answers the first command that begins with this word; false when there is none.
  bool answer(std::string_view word, const federation::Reply& reply);
  bool answer(std::string_view word, std::int64_t number);
  bool answer(std::string_view word, std::string_view text);
  bool answer_nothing(std::string_view word) { return answer(word, federation::Reply{}); }
  bool answer_empty(std::string_view word) {
    federation::Reply reply;
    reply.kind = federation::Reply::Kind::kArray;
    return answer(word, reply);
  }
  bool fail(std::string_view word, federation::RedisError error);
  // The connection ends: every answer is lost.
  void lose();

  bool ready = true;
  std::deque<Sent> sent;
  std::vector<std::string> drops;  // reasons
};

// Replies of any shape: text, numbers and arrays of them, which live as long as this.
class Shape {
 public:
  Shape(std::string_view text) : text_(text) { reply_.kind = federation::Reply::Kind::kString; }
  Shape(const char* text) : Shape(std::string_view(text)) {}
  Shape(const std::string& text) : Shape(std::string_view(text)) {}
  Shape(int number) {
    reply_.kind = federation::Reply::Kind::kInteger;
    reply_.integer = number;
  }
  Shape(std::vector<Shape> elements) : elements_(std::move(elements)) { reply_.kind = federation::Reply::Kind::kArray; }
  static Shape nil() {
    Shape shape(0);
    shape.reply_ = {};
    return shape;
  }
  const federation::Reply& reply();

 private:
  std::string text_;
  std::vector<Shape> elements_;
  std::vector<federation::Reply> replies_;
  federation::Reply reply_;
};

}  // namespace stem::test
