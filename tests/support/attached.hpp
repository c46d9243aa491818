// A participant with its engine, as a test uses them: one per thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "engine/engine.hpp"
#include "engine/keeper.hpp"
#include "engine/verify.hpp"
#include "shm/participant.hpp"

namespace stem::test {

// Ends the program when joining fails.
std::unique_ptr<shm::Participant> must_join(const std::shared_ptr<shm::Segment>& segment,
                                            shm::Role role = shm::Role::kClient);

struct Attached {
  explicit Attached(const std::shared_ptr<shm::Segment>& segment, shm::Role role = shm::Role::kClient)
      : participant(must_join(segment, role)), engine(std::make_unique<engine::Engine>(*participant)) {}
  engine::Engine* operator->() const { return engine.get(); }
  engine::Engine& operator*() const { return *engine; }
  std::uint32_t index() const { return participant->index(); }

  std::unique_ptr<shm::Participant> participant;
  std::unique_ptr<engine::Engine> engine;
};

// The numbers of a queue and a task name; ends the program when there is no room.
std::uint32_t must_queue(shm::Segment& segment, const std::string& name);
std::uint32_t must_task(shm::Segment& segment, const std::string& name);

// A plain task whose payload is one number.
struct Numbered {
  Numbered(std::uint32_t queue, std::uint32_t task, std::uint64_t number);
  Numbered(const Numbered&) = delete;
  Numbered& operator=(const Numbered&) = delete;
  std::uint64_t number;
  engine::TaskSpec spec;
};
// The number of a numbered task; ~0 when the payload is something else.
std::uint64_t number_of(const engine::TaskView& task);

// The broken invariants of a segment, one a line; empty when all hold.
std::string broken_invariants(engine::Engine& engine);
// The same, and nothing waits for recovery either.
std::string unsettled(engine::Engine& engine);

// Sum of a counter over all participants.
std::uint64_t total(engine::Engine& engine, std::uint32_t queue, shm::Counter counter);
// How many slots are in a state.
std::uint64_t slots_in(const shm::Segment& segment, shm::State state);

}  // namespace stem::test
