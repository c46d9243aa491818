// The three pipes to a task's command.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace stem::worker {

struct CommandOutput {
  std::string result;      // stdout, bounded
  bool too_large = false;  // there was more
  std::string error_tail;  // the end of stderr
};

class CommandPipes {
 public:
  CommandPipes() = default;
  ~CommandPipes();
  CommandPipes(const CommandPipes&) = delete;
  CommandPipes& operator=(const CommandPipes&) = delete;

  bool open();                   // false: errno says why
  void become_standard() const;  // in the child: its ends become 0, 1, 2
  void close_far_ends();         // in the parent
  // Feeds stdin and collects the rest until the command has ended (or, without a pidfd, closed its pipes).
  void exchange(std::span<const std::byte> input, int pidfd, CommandOutput& output);

 private:
  void feed(std::span<const std::byte>& input);
  bool collect_result(CommandOutput& output);
  bool collect_error(CommandOutput& output);
  static void close_end(int& fd);

  int in_[2] = {-1, -1}, out_[2] = {-1, -1}, err_[2] = {-1, -1};
};

}  // namespace stem::worker
