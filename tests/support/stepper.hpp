// Stops a process at every instruction that matters: a child is single-stepped (ptrace) through a piece of
// work, and looked at after each instruction that changed the segment.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "shm/segment.hpp"

namespace stem::test {

// In a child, `prepare()` at full speed and then, step by step, the work that it returns.
using Prepare = std::function<std::function<void()>()>;

// A hash of what small pieces of work touch in a segment. The segment should be small: it is looked at after every
// instruction.
std::uint64_t picture(const shm::Segment& segment);

// A child that stands still between two instructions. It is killed when the object goes.
class SteppedChild {
 public:
  explicit SteppedChild(const Prepare& prepare);
  ~SteppedChild() { kill(); }
  SteppedChild(const SteppedChild&) = delete;
  SteppedChild& operator=(const SteppedChild&) = delete;

  // One instruction. False when the work is over.
  bool step();
  // Steps until the segment has changed `changes` times. False when the work was over before that.
  bool step_to(const shm::Segment& segment, std::uint64_t changes);
  // Goes on at full speed to the end of the work.
  void finish();
  void kill();  // SIGKILL, and waits for its end
  std::uint64_t steps() const { return steps_; }

 private:
  bool stands_at_end(int request);

  pid_t pid_ = -1;
  bool over_ = false;
  std::uint64_t steps_ = 0;
};

class Stepper {
 public:
  // Copies are made beside the segment and removed again.
  explicit Stepper(std::shared_ptr<shm::Segment> segment) : segment_(std::move(segment)) {}

  // After each change `visit` gets the namespace of a copy, which is exactly what a SIGKILL at that instruction
  // leaves behind: nobody in it holds a byte lock, so everybody in it is dead. The last visit, with `finished`, comes
  // when the work is over. A visit that returns false ends it all. Returns the number of instructions.
  using Visit = std::function<bool(const std::string& name_space, std::uint64_t change, bool finished)>;
  std::uint64_t walk(const Prepare& prepare, const Visit& visit);
  // Only every so many-th change is copied and visited (the end always).
  std::uint64_t walk(const Prepare& prepare, std::uint64_t every, const Visit& visit);

 private:
  void copy(const std::string& path) const;

  std::shared_ptr<shm::Segment> segment_;
};

}  // namespace stem::test
