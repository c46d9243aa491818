#include "federation/pipeline.hpp"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "base/check.hpp"

namespace stem::federation {
namespace {

// "*12\r\n", "$5\r\n"
void append_length(std::string& out, char kind, std::size_t length) {
  char text[24];
  text[0] = kind;
  char* end = std::to_chars(text + 1, text + sizeof(text) - 2, length).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out.append(text, end);
}

}  // namespace

void append_command(std::string& out, std::span<const std::string_view> argv) {
  append_length(out, '*', argv.size());
  for (const std::string_view word : argv) {
    append_length(out, '$', word.size());
    out.append(word);
    out.append("\r\n", 2);
  }
}

void Pipeline::push(std::string& out, std::span<const std::string_view> argv, ReplyHandler handler,
                    std::int64_t block_ns) {
  STEM_CHECK(!argv.empty());
  const std::size_t before = out.size();
  append_command(out, argv);
  pushed_bytes_ += out.size() - before;
  waiting_.push_back({std::move(handler), pushed_bytes_, block_ns, {}});
  if (keeps_commands_) waiting_.back().command.assign(out, before);
}

void Pipeline::push(std::string& out, std::string_view command, ReplyHandler handler, std::int64_t block_ns) {
  out.append(command);
  pushed_bytes_ += command.size();
  waiting_.push_back({std::move(handler), pushed_bytes_, block_ns, {}});
  if (keeps_commands_) waiting_.back().command.assign(command);
}

Pipeline::Answered Pipeline::pop() {
  STEM_CHECK(!waiting_.empty());
  Waiting& first = waiting_.front();
  Answered answered{std::move(first.handler), std::move(first.command), first.block_ns};
  answered_bytes_ = first.end;
  waiting_.pop_front();
  return answered;
}

void Pipeline::abandon(std::uint64_t offered_bytes, std::string_view reason) {
  const std::deque<Waiting> abandoned = std::exchange(waiting_, {});
  answered_bytes_ = pushed_bytes_;
  const std::string lost = fmt::format("{}; whether the command was carried out is not known", reason);
  const std::string not_sent = fmt::format("{}; the command was not sent", reason);
  for (const Waiting& one : abandoned) {
    const bool sent = one.end <= offered_bytes;
    Reply reply;
    reply.kind = Reply::Kind::kError;
    reply.error = sent ? RedisError::kLost : RedisError::kNotSent;
    reply.text = sent ? lost : not_sent;
    if (one.handler) one.handler(reply);
  }
}

}  // namespace stem::federation
