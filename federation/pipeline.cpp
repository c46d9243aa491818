#include "federation/pipeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/check.hpp"

namespace stem::federation {
namespace {

constexpr std::size_t kLengthBytes = 24;  // of the longest below

// "*12\r\n", "$5\r\n"; its end.
char* put_length(char* to, char kind, std::size_t length) {
  *to++ = kind;
  if (length < 10)
    *to++ = static_cast<char>('0' + length);
  else
    to = std::to_chars(to, to + kLengthBytes - 3, length).ptr;
  *to++ = '\r';
  *to++ = '\n';
  return to;
}

}  // namespace

// Room for all of it first, then plain copies: a task's command has some thirty words.
void append_command(std::string& out, std::span<const std::string_view> argv) {
  const std::size_t before = out.size();
  std::size_t most = kLengthBytes;
  for (const std::string_view word : argv) most += word.size() + kLengthBytes + 2;
  out.resize(before + most);
  char* to = put_length(out.data() + before, '*', argv.size());
  for (const std::string_view word : argv) {
    to = put_length(to, '$', word.size());
    to = std::copy(word.begin(), word.end(), to);
    *to++ = '\r';
    *to++ = '\n';
  }
  out.resize(static_cast<std::size_t>(to - out.data()));
}

void Pipeline::push(std::string& out, std::span<const std::string_view> argv, ReplyHandler handler,
                    std::int64_t block_ns) {
  STEM_CHECK(!argv.empty());
  const std::size_t before = out.size();
  append_command(out, argv);
  pushed_bytes_ += out.size() - before;
  if (block_ns > 0) ++blocking_;
  waiting_.push_back({std::move(handler), pushed_bytes_, block_ns, {}});
  if (keeps_commands_) waiting_.back().command.assign(out, before);
}

void Pipeline::push(std::string& out, std::string_view command, ReplyHandler handler, std::int64_t block_ns) {
  out.append(command);
  pushed_bytes_ += command.size();
  if (block_ns > 0) ++blocking_;
  waiting_.push_back({std::move(handler), pushed_bytes_, block_ns, {}});
  if (keeps_commands_) waiting_.back().command.assign(command);
}

Pipeline::Answered Pipeline::pop() {
  STEM_CHECK(!waiting_.empty());
  Waiting& first = waiting_.front();
  Answered answered{std::move(first.handler), std::move(first.command), first.block_ns};
  answered_bytes_ = first.end;
  if (first.block_ns > 0) --blocking_;
  waiting_.pop_front();
  return answered;
}

void Pipeline::abandon(std::uint64_t offered_bytes, std::string_view reason) {
  const std::deque<Waiting> abandoned = std::exchange(waiting_, {});
  answered_bytes_ = pushed_bytes_;
  blocking_ = 0;
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
