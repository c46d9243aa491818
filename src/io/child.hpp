// What a forked child does before it becomes another program: it dies with its parent, leads a group of its own that can
// be killed whole, and has the signals of a fresh process.
#pragma once

#include <sys/types.h>

namespace stem::io {

// Between fork and exec of a process with threads: async-signal-safe calls only. Does not return when the parent has died.
void prepare_child(pid_t parent) noexcept;

}  // namespace stem::io
