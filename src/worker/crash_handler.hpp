// What a worker process does with its last breath: writes signal, fault address and task into its roster
// row and rings the supervisor, so that redelivery does not wait for a core dump.
#pragma once

#include <cstdint>

#include "shm/participant.hpp"

namespace stem::worker {

// For SEGV, BUS, ILL, FPE and ABRT, on an alternate stack of the calling thread. Once a process.
void install_crash_handler(shm::Participant& self, std::uint32_t supervisor);

// The participant is about to go: a crash from now on is recorded nowhere.
void forget_crash_row() noexcept;

}  // namespace stem::worker
