// How soon a thread that wakes runs where another is running.
#pragma once

namespace stem::worker {

// Asks for a time slice of 0.1 ms for the calling thread and what it forks (Linux 6.12 and later; sched_runtime in
// sched_setattr(2)). Who wakes with a short slice runs before those with longer ones, such as a process that is killed
// and gives half a gigabyte back, in place of at the next timer tick; its share of the processor stays what it was.
// Changes nothing under another policy than SCHED_OTHER, on an older kernel, or where it is not allowed.
void ask_for_short_slices() noexcept;

}  // namespace stem::worker
