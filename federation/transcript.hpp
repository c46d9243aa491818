// A task of the engine as an envelope, and back.
//
// What the wire has no field for travels in `meta` under Stem's names (stem.timeLimitMs, stem.expiresAt, ...) and is
// taken out of it again, so that a task that has been to another host and back is the task it was. A payload that is
// an object, as MessagePack or as JSON text, is `args`; any other travels
// raw. Limits and unique keys travel by hashes, which are the same on every host. Affinity is the origin's and stays
// there.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/engine.hpp"
#include "federation/envelope.hpp"

namespace stem::federation {

// How this host's monotonic clock stands to the wall clock, which the wire speaks.
struct Clocks {
  std::int64_t now_ns = 0;       // CLOCK_MONOTONIC
  std::int64_t wall_now_us = 0;  // CLOCK_REALTIME

  std::int64_t wall_us(std::int64_t monotonic_ns) const { return wall_now_us + (monotonic_ns - now_ns) / 1000; }
  // The wire names any time from the year 0 to 9999; beyond a hundred years from now all are the same.
  std::int64_t monotonic_ns(std::int64_t time_us) const {
    constexpr std::int64_t kMostUs = 100ll * 366 * 86'400 * 1'000'000;
    return now_ns + std::clamp(time_us - wall_now_us, -kMostUs, kMostUs) * 1000;
  }
};

// In `meta`: the unique key of a task, in hexadecimal digits. It stays there, so that whoever ends the task frees it.
inline constexpr std::string_view kUniqueMember = "stem.uniqueKey";
// Of a task that was an item of a run where it was made: its name there.
inline constexpr std::string_view kRunItemMember = "stem.run_item";
// Empty when there is none.
std::string unique_key(std::string_view meta);

// The id of a task in the cluster. `host` is Transcript::host_of() of its segment.
std::string wire_id(std::string_view host, engine::TaskId id);

class Transcript {
 public:
  explicit Transcript(const shm::Segment& segment);

  // Names this segment for ever: its epoch, and when it was made.
  const std::string& host() const { return host_; }
  // `let_go`: nobody asks how it ends, only whether. `into` keeps the strings' memory.
  void write(const engine::TaskView& task, bool let_go, const Clocks& clocks, Envelope& into) const;

 private:
  const shm::Segment& segment_;
  std::string host_;
};

// A task to import, with what its spec points to. Filled by read(); stays where it is while the spec is used.
struct ImportedTask {
  engine::TaskSpec spec;  // without queue and task
  engine::TaskExtras extras;
  std::string meta, retry_for, no_retry_for, idempotency_key, payload;
  bool is_text = false;       // the payload is the JSON text itself
  bool wanted = true;         // somebody may ask for its result
  bool let_go = false;        // its host keeps nothing of it
  std::string unique;         // the key that it has in the cluster; empty: none
  std::string_view run_item;  // as an item of a run, its name there, in the envelope's meta; empty: it was none
  ImportedTask() = default;
  ImportedTask(const ImportedTask&) = delete;
  ImportedTask& operator=(const ImportedTask&) = delete;
};

// `envelope` has been decoded (its texts are sound), and outlives `into`.
void read(const Envelope& envelope, const Clocks& clocks, ImportedTask& into);

}  // namespace stem::federation
