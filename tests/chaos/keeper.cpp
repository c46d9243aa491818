// A keeper: the recoverer, as a supervisor would run it: leases of the dead at the kernel's signal,
// everything else by the engine's keeper.
#include <algorithm>

#include "shm/death.hpp"
#include "shm/doorbell.hpp"
#include "tests/chaos/roles.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::chaos {
namespace {

// The canary: the leases of the dead are thrown away instead of redelivered.
void lose_leases(shm::Segment& segment, std::uint32_t participant) {
  const std::uint32_t used = segment.slots_used();
  for (std::uint32_t slot = 0; slot < used; ++slot) {
    shm::ControlCell& control = segment.descriptor(slot).control;
    shm::ControlWord word = control.load();
    if (word.state() == shm::State::kLeased && word.owner() == participant + 1)
      (void)control.change(word, word.with(shm::State::kFree, 0));
  }
}

}  // namespace

int keep(const Role& role) {
  const auto segment = test::must_attach(kNamespace, role.directory);
  test::Attached attached(segment, shm::Role::kSupervisor);
  engine::Keeper keeper(*attached);
  while (role.switches.working.load(std::memory_order_relaxed) != 0) {
    const std::uint32_t seen = shm::prepare_sleep(*attached.participant);
    const std::int64_t now = base::monotonic_ns();
    const std::uint32_t rows = segment->rows_used();
    for (std::uint32_t i = 0; i < rows; ++i) {
      if (!shm::signalled_dead(segment->row(i))) continue;
      if (role.options.canary == Canary::kLoseLeases) {
        lose_leases(*segment, i);
      } else {
        (void)attached->redeliver_held(i, now);
      }
    }
    const std::int64_t next = std::min(keeper.step(now), now + 5'000'000);
    if (next > now) (void)shm::park(*attached.participant, seen, next - now);
  }
  return 0;
}

}  // namespace stem::chaos
