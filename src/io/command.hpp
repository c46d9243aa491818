// Other programs, by coroutine.
//
//   auto done = co_await stem::run_command(stem::Command("convert", in, out));
//   if (!done) co_return stem::fail(done.error().message);
//   if (done->exit_code != 0) co_return stem::retry({}, done->errors);
//
// The program is a process group of its own. When the handler is cancelled, or ended by force, or its process dies, the
// program is killed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "io/co.hpp"

namespace stem {

struct Command {
  // The program and its arguments. (No braced list: g++ 12 has no room for one in a coroutine's frame.)
  template <class... Word>
  requires(sizeof...(Word) != 0 &&
           (std::is_constructible_v<std::string, Word&&> && ...)) explicit Command(Word&&... word) {
    (words.emplace_back(std::forward<Word>(word)), ...);
  }
  explicit Command(std::vector<std::string> all) : words(std::move(all)) {}

  std::vector<std::string> words;
  std::string input{};                // its stdin
  std::size_t most_bytes = 1u << 20;  // of its stdout and of its stderr: beyond it the program is killed (kTooLarge)
};

struct CommandResult {
  int exit_code = 0;  // -1 when a signal ended it
  int signal = 0;
  std::string output;  // its stdout
  std::string errors;  // its stderr
};

// The program is looked for in $PATH; no shell. An Error when it could not be run to its end.
Co<Result<CommandResult>> run_command(Command command);

}  // namespace stem
