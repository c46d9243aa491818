// The supervisor: forks and pins worker processes, redelivers what the dead held, restarts, enforces hard
// limits, relays stops, stands for keeper. One thread (so that forking is safe), no locks.
//
// It runs no handler. Killed, it takes its worker processes with it.
#pragma once

#include "base/result.hpp"
#include "worker/handler_table.hpp"
#include "worker/worker_options.hpp"

namespace stem::worker {

// Runs until it is told to stop (SIGTERM, SIGINT, SIGQUIT, remote control); an error says why it could not
// start. The calling process must have one thread.
Result<void> run(const WorkerOptions& options, const HandlerTable& handlers);

}  // namespace stem::worker
