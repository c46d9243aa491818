// How soon a thread that wakes runs where another is running.
#pragma once

namespace stem::worker {

// Asks for a time slice of 0.1 ms for the calling thread and what it forks, handlers' commands as well (Linux 6.12 and
// later; sched_runtime in sched_setattr(2)). Who wakes need not wait for the end of a longer slice: neither of another
// program's nor, as workers have short ones, of a killed worker's that gives its memory back. Its share of the processor
// stays what it was.
// Changes nothing under another policy than SCHED_OTHER, on an older kernel, or where it is not allowed.
void ask_for_short_slices() noexcept;

}  // namespace stem::worker
