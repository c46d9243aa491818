// The machine that scenes run on: actors take turns at every atomic operation, and memory is as weak as the language
// allows. One thread, no real concurrency: an execution is a sequence of choices (who goes on, which store a load
// returns, whether an actor dies here), so it can be replayed, and all of them within a bound can be tried.
//
// Memory: each location keeps all its stores in modification order (the order in which they were executed). Each actor
// has a view, the oldest store of each location that it may still return. A release store carries the view of its
// actor, an acquire load that reads it (or reads what a chain of read-modify-writes made of it) takes it over; fences do
// the same for the relaxed operations around them. A relaxed load returns any store that the view has not passed.
// Sequentially consistent operations of one location see each other in the order in which they were executed (C++20,
// [atomics.order] 4.1); there is no fence of that order here, and the machine refuses one.
// What it does not show: a load that returns a store executed later (load buffering), and stores of one location in
// another order than they were executed. So a fault that it finds is one; what it does not find is no proof of absence.
//
// Plain memory is modelled where the product copies it (memcpy into and out of a segment): word by word, relaxed. Two
// unordered writes of a plain word are a data race, and a fault.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

namespace explorer {

using Site = std::source_location;

// ---- what the exchanged product calls

enum class Change : std::uint8_t { kExchange, kAdd, kSubtract, kOr, kAnd };

bool exploring() noexcept;  // within an actor
std::uint64_t load(const void* at, unsigned bytes, std::memory_order order, Site site);
void store(void* at, unsigned bytes, std::uint64_t value, std::memory_order order, Site site);
std::uint64_t change(void* at, unsigned bytes, Change how, std::uint64_t operand, std::memory_order order, Site site);
bool compare_exchange(void* at, unsigned bytes, std::uint64_t& expected, std::uint64_t desired,
                      std::memory_order success, std::memory_order failure, Site site);
void fence(std::memory_order order, Site site);
void copy(void* to, const void* from, std::size_t bytes, Site site);
// As the system call with these bits; sets errno.
long futex(std::uint32_t* at, int operation, std::uint32_t value, std::uint32_t bits);
// Before memory is written outside of actors, so that it can be as it was for the next execution.
void note_write(void* at, std::size_t bytes) noexcept;
// Whether the row's participant is dead: then its byte lock can be had.
bool row_is_dead(std::uint32_t row) noexcept;

// ---- what scenes call

// A fault: ends this execution. With its reason as text.
[[noreturn]] void fault(std::string text);
#define EXPLORE_CHECK(condition, text)           \
  do {                                           \
    if (!(condition)) ::explorer::fault((text)); \
  } while (false)

class Play {
 public:
  virtual ~Play() = default;
  virtual void begin() {}                           // before the actors; what it writes is undone afterwards
  virtual int actors() const = 0;                   // at most four
  virtual void act(int actor) = 0;                  // in an actor of its own
  virtual void end() {}                             // all actors are over: the invariant
  virtual void forget() {}                          // after end(), or instead of it when the execution was cut off
  virtual bool mortal(int) const { return false; }  // may die before any step
  virtual void died(int) {}  // as the kernel does it; the actor's stores are all visible from now on
};

// Of the execution under way.
int timeouts() noexcept;  // actors that slept until nobody could wake them
bool is_dead(int actor) noexcept;
bool anyone_died() noexcept;
bool whole() noexcept;  // nobody died, and it was not cut off: objects may be destroyed as they stand
// Returns when the actor is over (or dead): what it did is visible then.
void await_end(int actor);
void mark_row_dead(std::uint32_t row) noexcept;
// Plain memory that copies are modelled in. Forgotten by unwatch().
void watch(const void* from, std::size_t bytes);
void unwatch() noexcept;
// For the printed schedule.
void call_it(const void* at, std::string name);

// ---- what runs them

// A place whose order is taken away: lines first to last of a file whose path ends so.
struct Weakened {
  std::string_view file;
  std::uint32_t first = 0, last = 0;
};

struct Bounds {
  std::uint32_t preemptions = 2;
  std::uint32_t stale_reads = 2;
  std::uint64_t executions = 20'000;
};

struct Outcome {
  bool failed = false;
  std::string text;      // of the fault
  std::string schedule;  // step by step
  std::uint64_t executions = 0;
  std::uint64_t cut_off = 0;  // too long, without a fault
  bool exhausted = false;     // every execution within the bounds was tried
};

// Executions at random; the one that fails says the seed that leads to it.
Outcome run_random(Play& play, std::uint64_t seed, std::uint64_t executions, const std::vector<Weakened>& weak = {});
// Every execution within the bounds, or as many as they allow.
Outcome run_bounded(Play& play, const Bounds& bounds, const std::vector<Weakened>& weak = {});

}  // namespace explorer
