// The flags of a worker: one table for `stem worker start` and for worker_main().
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "worker/worker_options.hpp"

namespace stem::api {

struct WorkerFlag {
  std::string_view names;    // "-q,--queue"
  std::string_view value;    // "QUEUE,...", for help
  std::string_view help;     // one line without a full stop
  std::string_view setting;  // its key in the settings of `stem`; empty = it has none
  const char* environment;   // the variable that stands for it; null = none
  bool repeatable;           // several values are one, with commas between
  Result<void> (*take)(std::string_view text, worker::WorkerOptions& options);

  std::string_view long_name() const { return names.substr(names.find("--")); }
};

std::span<const WorkerFlag> worker_flags();

// By long name, what the flags were given.
using FlagTexts = std::map<std::string, std::string, std::less<>>;

// For worker_main() and Worker: flags before the environment before defaults. kInvalidArgument names the flag
// or the variable that makes no sense.
Result<worker::WorkerOptions> worker_options(std::string_view name_space, const FlagTexts& given);

}  // namespace stem::api
