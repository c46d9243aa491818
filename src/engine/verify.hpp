// Proves the invariants of a segment, live or dead, and names what breaks one. Reads only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.hpp"

namespace stem::engine {

struct Finding {
  enum class Severity : std::uint8_t {
    kBroken,   // an invariant does not hold
    kPending,  // work for recovery: legal, and gone once a keeper has looked
  };
  Severity severity = Severity::kBroken;
  std::string invariant;  // stable name
  std::string detail;
};

struct Verification {
  std::vector<Finding> findings;  // at most kMostFindings per invariant; `suppressed` counts the rest
  std::uint64_t suppressed = 0;
  std::uint64_t slots = 0, blocks = 0, rings = 0;
  std::uint64_t by_state[shm::kStateCount] = {};
  std::uint64_t enqueued = 0, ended = 0, live = 0;
  bool moving = false;  // participants were at work meanwhile: counts were compared within what moved
  bool ok() const;      // nothing broken
};

// Invariants (docs/protocol.md §7):
//   state         every control word has a legal state
//   owner         owned states name a participant, others none; the participant exists
//   owner-alive   the owner is attached (pending otherwise: a sweep is due)
//   descriptor    queue, task, priority, payload size of a task are in range
//   block         a task's payload block carries its tag
//   block-tag     every used block's tag names a slot, and no life ahead of that slot's
//   orphan        no block of a life that is over (pending: the patrol frees it)
//   schedule      every schedule's definition is a block of its own; pending: a tick that is being let go
//   ring          head and tail lie within one capacity, references within the section
//   counts        enqueued = live + ended, per queue (pending: somebody stands between a change and its counting)
Verification verify(Engine& engine);

}  // namespace stem::engine
