// Stops a process at every instruction that matters: a child is single-stepped (ptrace) through a piece of
// work, and after each instruction that changed the segment the segment is copied. A copy is exactly what a
// SIGKILL at that instruction leaves behind: nobody in it holds a byte lock, so everybody in it is dead.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "shm/segment.hpp"

namespace stem::test {

class Stepper {
 public:
  // The segment should be small: it is looked at after every instruction, and copied after every change.
  // Copies are made beside it and removed again.
  explicit Stepper(std::shared_ptr<shm::Segment> segment) : segment_(std::move(segment)) {}

  // In a child, `prepare()` at full speed and then, step by step, the work that it returns. After each
  // change `visit` gets the copy's namespace; the last visit, with `finished`, comes when the work is over.
  // A visit that returns false ends it all. Returns the number of instructions.
  using Visit = std::function<bool(const std::string& name_space, std::uint64_t change, bool finished)>;
  std::uint64_t walk(const std::function<std::function<void()>()>& prepare, const Visit& visit);

 private:
  std::uint64_t picture() const;  // a hash of what small pieces of work touch
  void copy(const std::string& path) const;

  std::shared_ptr<shm::Segment> segment_;
};

}  // namespace stem::test
