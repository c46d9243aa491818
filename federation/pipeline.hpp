// Commands as RESP bytes, and whose reply comes next. The order of the commands is the order of the replies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "federation/reply.hpp"

namespace stem::federation {

using ReplyHandler = std::function<void(const Reply&)>;

// Appends one command.
void append_command(std::string& out, std::span<const std::string_view> argv);

class Pipeline {
 public:
  // With `keeps_commands` each command's bytes are kept until its reply, so that it can be said elsewhere.
  explicit Pipeline(bool keeps_commands = false) : keeps_commands_(keeps_commands) {}

  struct Answered {
    ReplyHandler handler;
    std::string command;  // as RESP, when commands are kept
    std::int64_t block_ns = 0;
  };

  // Appends the command to `out` and remembers who waits for its reply.
  void push(std::string& out, std::span<const std::string_view> argv, ReplyHandler handler, std::int64_t block_ns);
  // The same for a command that is bytes already.
  void push(std::string& out, std::string_view command, ReplyHandler handler, std::int64_t block_ns);

  // Whose reply comes next; not when empty.
  Answered pop();

  // Ends them all, in order: with kLost what was offered to the transport, its first `offered_bytes`; the others with
  // kNotSent. Handlers may push to this pipeline again.
  void abandon(std::uint64_t offered_bytes, std::string_view reason);

  bool empty() const { return waiting_.empty(); }
  std::size_t size() const { return waiting_.size(); }
  std::size_t bytes() const { return static_cast<std::size_t>(pushed_bytes_ - answered_bytes_); }
  // Ever pushed; what the transport has not been offered yet is at its end.
  std::uint64_t pushed_bytes() const { return pushed_bytes_; }
  std::uint64_t answered_bytes() const { return answered_bytes_; }
  // Whether the server may keep any of the replies back.
  bool blocks() const { return blocking_ != 0; }
  // How long the server may keep the next reply back.
  std::int64_t block_ns() const { return waiting_.empty() ? 0 : waiting_.front().block_ns; }

 private:
  struct Waiting {
    ReplyHandler handler;
    std::uint64_t end = 0;  // pushed_bytes with this command
    std::int64_t block_ns = 0;
    std::string command;
  };
  const bool keeps_commands_;
  std::deque<Waiting> waiting_;
  std::uint64_t pushed_bytes_ = 0;
  std::uint64_t answered_bytes_ = 0;
  std::size_t blocking_ = 0;
};

}  // namespace stem::federation
