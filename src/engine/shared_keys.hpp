// Unique keys that hold on all hosts (docs/federation.md, "Unique keys").
//
// Where a queue's keys are shared, no worker starts a unique task that was made on this host: it puts it off for a
// moment and names it in the gateway's inbox, and the gateway takes it to where its key is asked for. A name is a hint:
// without it, or without its gateway, the task comes back to a worker when the moment is over, and is named again; or
// it starts, once the keys are not shared any more, or cannot be asked for and need not be.
//
// The gateway's side; one object per gateway, not thread-safe. Does no I/O and reads no clock.
#pragma once

#include <cstdint>
#include <functional>

#include "engine/outbox.hpp"

namespace stem::engine {

class SharedKeys {
 public:
  explicit SharedKeys(Engine& engine) : engine_(engine), segment_(engine.segment()) {}

  // Keys of this queue are asked for by us until then. After that its tasks start with a key of this host alone, or
  // wait (`fail_closed`). Nothing happens once another gateway has begun.
  void share(std::uint32_t queue, std::int64_t until_ns, bool fail_closed) noexcept;
  // The same, and nobody can be asked yet: unless a gateway before this one could a moment ago.
  void begin_sharing(std::uint32_t queue, bool fail_closed) noexcept;
  // They are this host's alone.
  void keep(std::uint32_t queue) noexcept;

  // Takes up to `most` tasks that workers have named, of queues that `wanted` says, out of this host's hands; returns how
  // many. The names of others are dropped: they are named again.
  std::uint32_t take_asked(Parcel* into, std::uint32_t most, const std::function<bool(std::uint32_t)>& wanted,
                           std::int64_t now_ns);

 private:
  Engine& engine_;
  shm::Segment& segment_;
};

// How long a task that was named is left to the gateway.
inline constexpr std::int64_t kKeyNamedNs = 500'000'000;

}  // namespace stem::engine
