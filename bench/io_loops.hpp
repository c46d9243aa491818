// The same work on a bare liburing loop and by coroutines: file reads, local echo, waking. One thread each; the caller
// has pinned it. Both make their ring with the same flags.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace stem::bench {

struct ReadPlan {
  std::string path;  // a file of file_bytes
  std::uint64_t file_bytes = 0;
  bool direct = false;  // O_DIRECT: from the device, not from the page cache
  std::uint32_t block_bytes = 4096;
  std::uint32_t depth = 64;
  std::uint64_t reads = 0;
};
// Reads per second, at random places.
double bare_reads(const ReadPlan& plan);
double coroutine_reads(const ReadPlan& plan);

struct EchoPlan {
  std::uint32_t connections = 32;  // socket pairs; both ends are on the one thread
  std::uint32_t message_bytes = 64;
  std::uint64_t requests = 0;
};
// Requests and answers per second.
double bare_echo(const EchoPlan& plan);
double coroutine_echo(const EchoPlan& plan);

// Sleeps on an eventfd again and again, and calls `woken` each time it was rung, until that says false.
void bare_waits(int eventfd, const std::function<bool()>& woken);
void coroutine_waits(int eventfd, const std::function<bool()>& woken);

// How much too late each of `late_ns` sleeps of `sleep_ns` ended.
void bare_sleeps(std::int64_t sleep_ns, std::span<std::uint64_t> late_ns);
void coroutine_sleeps(std::int64_t sleep_ns, std::span<std::uint64_t> late_ns);

// Nanoseconds for one of them.
double plain_call_ns(std::uint64_t rounds);      // through a pointer, with memory of a frame's size made and freed
double coroutine_call_ns(std::uint64_t rounds);  // co_await of a coroutine that returns at once
double bare_switch_ns(std::uint64_t rounds);     // resume() of a coroutine that suspends at once
double yield_ns(std::uint64_t rounds);           // co_await yield() between two coroutines, through the loop

}  // namespace stem::bench
