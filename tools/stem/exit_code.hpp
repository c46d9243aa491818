// What `stem` returns to the shell; part of the contract with scripts.
#pragma once

namespace stem::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitNotFound = 1;  // the task, queue, segment named does not exist
inline constexpr int kExitUsage = 2;     // the command line, a setting or the config file is wrong
inline constexpr int kExitTimeout = 3;   // timed out, or nobody replied
inline constexpr int kExitFailed = 70;   // it was tried and did not work

}  // namespace stem::cli
