// What a loop that waits for another core's store tells its own: that it spins.
#pragma once

namespace stem::base {

inline void spin_pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  // `yield` is no more than a nop on most cores; `isb` holds the pipeline for about as long as x86's pause.
  asm volatile("isb" ::: "memory");
#endif
}

}  // namespace stem::base
