// Of a task in the outbox: that somebody wishes it revoked. It stands in the tally word that the current grant does not
// use, where a running task keeps its progress: a task in the outbox has none. Tagged with the grant, so it is void as
// soon as the task is anybody's to run again.
//   value: 51 .. 36 zero, which no progress has | 1 terminate | 0 set
#pragma once

#include "shm/control_word.hpp"

namespace stem::engine {

class WishWord {
 public:
  explicit WishWord(std::uint64_t bits) : word_(bits) {}
  WishWord(std::uint32_t grant, bool terminate) : word_(grant, terminate ? 3 : 1) {}
  std::uint64_t bits() const { return word_.bits(); }
  bool of(std::uint32_t grant) const { return word_.grant() == grant && (word_.value() == 1 || word_.value() == 3); }
  bool terminate() const { return (word_.value() & 2) != 0; }

 private:
  shm::TaggedWord word_;
};

}  // namespace stem::engine
