// Limits that this host keeps with others: the gateway's side of the limiter table. Workers say what they wanted and
// did not find; the gateway asks the cluster, and writes here what this host has got of it.
//
// One object per gateway, of which a host has one; not thread-safe. Does no I/O and reads no clock.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.hpp"

namespace stem::engine {

class SharedLimits {
 public:
  explicit SharedLimits(Engine& engine) : engine_(engine), segment_(engine.segment()), limiter_(segment_) {}

  // Limits of this queue's tasks are kept with other hosts, who can be asked until then; after that each task's
  // failure mode counts.
  void share(std::uint32_t queue, std::int64_t until_ns) noexcept;
  // The same, and nobody can be asked yet: unless a gateway before this one could a moment ago.
  void begin_sharing(std::uint32_t queue) noexcept;
  // They are this host's alone.
  void keep(std::uint32_t queue) noexcept;

  // Rows that were asked for and not dropped since, also by gateways before this one.
  void called(std::vector<std::uint32_t>& into) const;
  // Nobody wants anything of it: not called any more. False when somebody just did.
  bool drop(std::uint32_t row) noexcept;

  std::uint64_t key(std::uint32_t row) const noexcept;
  bool is_rate(std::uint32_t row) const noexcept;
  Rate rate(std::uint32_t row) const noexcept;  // none when what stands there is no rate
  std::uint32_t most_at_once(std::uint32_t row) const noexcept;
  // Starts that were turned away since the last call.
  std::uint64_t take_wanted(std::uint32_t row) noexcept;
  bool is_wanted(std::uint32_t row) const noexcept;
  // Of these, tasks that had not been turned away before.
  std::uint64_t take_newcomers(std::uint32_t row) noexcept;

  // ---- rates
  struct Places {
    std::uint64_t left = 0;     // that can still be taken
    bool room = false;          // for another batch
    std::int64_t next_ns[2]{};  // of each batch: what the next one to be taken has
  };
  Places places(std::uint32_t row, std::int64_t now_ns) const noexcept;
  // `count` places from the arrival time `first_ns` on. Which batch they are now; -1 without room.
  int add_places(std::uint32_t row, std::int64_t first_ns, std::uint64_t count, std::int64_t until_ns,
                 std::int64_t now_ns) noexcept;
  // Nobody need ask before then.
  void pace(std::uint32_t row, std::int64_t from_ns) noexcept;

  // ---- places of a concurrency limit
  std::uint32_t running(std::uint32_t row) const noexcept;
  // Remembered ones that are still held back.
  std::uint32_t waiting(std::uint32_t row) const noexcept;
  std::uint32_t permits(std::uint32_t row, std::int64_t now_ns) const noexcept;
  // Never more than there are: nobody starts by the others any more.
  void lower_permits(std::uint32_t row, std::uint32_t permits) noexcept;
  // Lets as many of those that wait go as there are permits more than before.
  void set_permits(std::uint32_t row, std::uint32_t permits, std::int64_t until_ns, std::int64_t now_ns) noexcept;

 private:
  shm::LimiterRow& at(std::uint32_t row) const noexcept;
  std::atomic<std::uint64_t>& call_word(std::uint32_t row) const noexcept;

  Engine& engine_;
  shm::Segment& segment_;
  Limiter limiter_;
};

}  // namespace stem::engine
