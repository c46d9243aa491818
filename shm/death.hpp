// The kernel's evidence that a participant is gone.
//
// Signal: row.alive is a robust mutex held for life; at the thread's end the kernel sets
// FUTEX_OWNER_DIED in its first word and wakes one waiter, before it tears the address space down. It
// says "this thread runs no more", in a fraction of a millisecond whatever the size of the process.
// Proof: an open-file-description lock on one byte of the segment file. Whoever can take it knows that the
// participant's description is closed: it is dead or has detached; and holding it is the right to sweep.
#pragma once

#include <cstdint>
#include <optional>

#include "shm/segment.hpp"

namespace stem::shm {

// The word of row.alive that the kernel marks.
std::atomic<std::uint32_t>* alive_word(RosterRow& row) noexcept;

// True when the kernel has marked the row's thread as dead.
bool signalled_dead(RosterRow& row) noexcept;

// Holds a dead participant's byte lock: the proof, and the right to sweep. Released on destruction.
class DeathProof {
 public:
  // Empty when the participant is alive, or somebody else is sweeping it.
  static std::optional<DeathProof> obtain(const Segment& segment, std::uint32_t participant) noexcept;
  DeathProof(DeathProof&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  DeathProof& operator=(DeathProof&&) = delete;
  ~DeathProof();

 private:
  explicit DeathProof(int fd) : fd_(fd) {}
  int fd_;
};

// Takes the byte lock of a row on an own open file description; -1 when it is held. For join(). A forked
// child closes its copy at once, or the lock would outlive this process.
int lock_row_byte(const Segment& segment, std::uint32_t participant) noexcept;
void release_row_byte(int fd) noexcept;

}  // namespace stem::shm
