#include "shm/control_word.hpp"

namespace stem::shm {

const char* to_string(State state) noexcept {
  switch (state) {
    case State::kFree: return "free";
    case State::kAlloc: return "alloc";
    case State::kReady: return "ready";
    case State::kDelayed: return "delayed";
    case State::kWaiting: return "waiting";
    case State::kLeased: return "leased";
    case State::kSettling: return "settling";
    case State::kDone: return "done";
    case State::kRetiring: return "retiring";
    case State::kOutbox: return "outbox";
    case State::kDead: return "dead";
    case State::kQuarantine: return "quarantine";
  }
  return "illegal";
}

}  // namespace stem::shm
