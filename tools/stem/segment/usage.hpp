// What a segment is made of and how much of it is in use. Reads the header, the roster and the control
// words, and changes nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shm/segment.hpp"

namespace stem::cli {

struct SectionUse {
  std::string_view name;   // "slab"
  std::string_view holds;  // "tasks"; empty where nothing is counted
  std::uint64_t used = 0;  // of what it holds
  std::uint64_t room = 0;
  std::uint64_t written_bytes = 0;  // pages that were ever written
  std::uint64_t size_bytes = 0;     // address space
};

// In the order in which they lie in the file.
std::vector<SectionUse> section_use(const shm::Segment& segment);

// Slots by state; those never used count as free.
struct SlotCounts {
  std::uint64_t by_state[shm::kStateCount] = {};
  std::uint64_t unknown = 0;

  [[nodiscard]] std::uint64_t of(shm::State state) const { return by_state[static_cast<int>(state)]; }
  // Slots that hold a task, or what is left of one.
  [[nodiscard]] std::uint64_t tasks() const;
  // Tasks that are neither over nor dead letters.
  [[nodiscard]] std::uint64_t unfinished() const;
};
SlotCounts count_slots(const shm::Segment& segment);

struct Attached {
  std::uint32_t participant = 0;
  std::string name;
  shm::Role role = shm::Role::kNone;
  std::uint32_t pid = 0;
  bool alive = false;  // false: gone, and waits for a sweep
  bool keeper = false;
};
// Every row that is taken, but `without` (this command's own).
std::vector<Attached> attached_to(const shm::Segment& segment, std::uint32_t without = ~0U);

std::string_view to_string(shm::Role role);

}  // namespace stem::cli
