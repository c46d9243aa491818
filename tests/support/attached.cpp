#include "tests/support/attached.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/query.hpp"
#include "shm/names.hpp"
#include "tests/support/must.hpp"

namespace stem::test {
namespace {

std::string findings(engine::Engine& engine, bool pending_too) {
  std::string all;
  for (const engine::Finding& f : engine::verify(engine).findings)
    if (pending_too || f.severity == engine::Finding::Severity::kBroken) all += f.invariant + ": " + f.detail + "\n";
  return all;
}

}  // namespace

std::unique_ptr<shm::Participant> must_join(const std::shared_ptr<shm::Segment>& segment, shm::Role role) {
  return must(shm::Participant::join(segment, {role, "test"}), "join");
}

std::uint32_t must_queue(shm::Segment& segment, const std::string& name) {
  return must(shm::intern_queue(segment, name), "queue name");
}

std::uint32_t must_task(shm::Segment& segment, const std::string& name) {
  return must(shm::intern_task(segment, name), "task name");
}

Numbered::Numbered(std::uint32_t queue, std::uint32_t task, std::uint64_t n) : number(n) {
  spec.queue = queue;
  spec.task = task;
  spec.payload = std::as_bytes(std::span(&number, 1));
}

std::uint64_t number_of(const engine::TaskView& task) {
  std::uint64_t number = ~0ull;
  if (task.payload.size() == sizeof number) std::memcpy(&number, task.payload.data(), sizeof number);
  return number;
}

std::string broken_invariants(engine::Engine& engine) { return findings(engine, false); }
std::string unsettled(engine::Engine& engine) { return findings(engine, true); }

std::uint64_t total(engine::Engine& engine, std::uint32_t queue, shm::Counter counter) {
  return engine::Query(engine).counters(queue)[counter];
}

std::uint64_t slots_in(const shm::Segment& segment, shm::State state) {
  const auto used = std::min<std::uint64_t>(segment.header().slab_used.load(std::memory_order_acquire),
                                            segment.geometry().slot_count);
  std::uint64_t count = 0;
  for (std::uint32_t slot = 0; slot < used; ++slot)
    if (segment.descriptor(slot).control.load().state() == state) ++count;
  return count;
}

}  // namespace stem::test
