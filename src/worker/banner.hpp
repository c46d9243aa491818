// What a worker says before it works: what it will do, and with what.
#pragma once

#include "worker/children.hpp"

namespace stem::worker {

// To stdout; the last line is "ready".
void print_banner(const WorkerOptions& options, const HandlerTable& handlers, const shm::Segment& segment,
                  const Children& children, bool keeper);

}  // namespace stem::worker
