// The errors of a Redis server, by their first word, and the two of our own for replies that never came.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stem::federation {

enum class RedisError : std::uint8_t {
  kNone,
  kNotSent,        // ours: the connection ended before the command left; it was not carried out
  kLost,           // ours: the connection ended before the reply; it may have been carried out
  kNoAuth,         // NOAUTH: a password is wanted
  kWrongPass,      // WRONGPASS, and the older "invalid password"
  kNoPerm,         // NOPERM: the user may not
  kReadOnly,       // READONLY: a replica
  kLoading,        // LOADING: reading its data from disk
  kMasterDown,     // MASTERDOWN: a replica without its master
  kClusterDown,    // CLUSTERDOWN
  kTryAgain,       // TRYAGAIN: keys on their way to another node
  kMoved,          // MOVED: see parse_redirect
  kAsk,            // ASK: see parse_redirect
  kCrossSlot,      // CROSSSLOT: keys of different slots
  kOutOfMemory,    // OOM: beyond maxmemory, and nothing may be evicted
  kMisconfigured,  // MISCONF: cannot write to disk and says so by refusing
  kNoReplicas,     // NOREPLICAS: fewer than min-replicas-to-write
  kNoGroup,        // NOGROUP: no such stream or consumer group
  kBusyGroup,      // BUSYGROUP: the group is there already
  kNoScript,       // NOSCRIPT: EVALSHA of a script it does not know
  kBusy,           // BUSY: a script runs too long
  kWrongType,      // WRONGTYPE
  kUnblocked,      // UNBLOCKED: the key went while we waited
  kExecAbort,      // EXECABORT
  kOther,          // ERR and every other word
};

// "NOGROUP", "lost", ...
std::string_view to_string(RedisError error) noexcept;

// Of the text of an error reply, without its leading '-'.
RedisError classify(std::string_view text) noexcept;

// Whether the same command may succeed here later (LOADING, OOM, BUSY, ...) without anybody doing anything else.
bool is_transient(RedisError error) noexcept;

// "MOVED 3999 127.0.0.1:6381", "ASK ...". An empty host means the host that answered.
struct Redirect {
  std::uint16_t slot = 0;
  std::string host;
  std::uint16_t port = 0;
};
Result<Redirect> parse_redirect(std::string_view text);

}  // namespace stem::federation
