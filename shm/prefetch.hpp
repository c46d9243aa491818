// Asking for a cache line before it is needed.
#pragma once

namespace stem::shm {

// For reading.
inline void prefetch_read(const void* p) noexcept { __builtin_prefetch(p, 0, 3); }

// For writing: fetched exclusively, so that the locked instruction that follows finds it here. Written out,
// because the compiler emits the read form unless it is told that the processor has this one; processors
// without it take it for a no-operation.
inline void prefetch_write(const void* p) noexcept {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(p)));
#else
  __builtin_prefetch(p, 1, 3);
#endif
}

}  // namespace stem::shm
