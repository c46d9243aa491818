// Tasks that leave this host, and tasks that came from another: what a gateway does to the segment.
//
// A task in the outbox (kOutbox) is nobody's to run here: it may be on its way to another host, or there. Only a
// gateway can tell, so when its gateway dies it stays there, without an owner, for the next one.
//
// An imported task is a task like any other that keeps its result, and names its origin in words of the gateway's.
// It stays in the segment until the gateway has said to where it came from how it ended; so whoever comes after a
// gateway that was killed finds all of them by one look at the slab.
//
// One object per gateway thread; not thread-safe.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "engine/query.hpp"

namespace stem::engine {

struct Parcel {
  std::uint32_t slot = 0;
  shm::ControlWord word;
};

class Outbox {
 public:
  explicit Outbox(Engine& engine) : engine_(engine), segment_(engine.segment()) {}

  // ---- out
  // Takes up to `most` runnable tasks of a queue out of this host's hands, best priority first; returns how many.
  // Imported ones are another host's to send: they come as leases behind `imported`, to be settled or put off.
  std::uint32_t take(std::uint32_t queue, Parcel* into, std::uint32_t most, std::vector<Lease>& imported,
                     std::int64_t now_ns);
  // It stays here, and nobody looks at it before then. No grant is used up.
  void put_off(const Lease& lease, std::int64_t until_ns) noexcept;
  // What is to be sent. False: it makes no sense (it was quarantined), or is not ours any more.
  bool view(const Parcel& parcel, TaskView& into) noexcept { return engine_.view({parcel.slot, parcel.word}, into); }
  // True when somebody here waits for its end (a kept result, links): then end() is to follow, not hand_over().
  static bool is_awaited(const TaskView& task) { return (task.flags & (shm::kKeepResult | shm::kHasObligations)) != 0; }
  // Another host has it, and nobody here waits for its end: it is over here. False when it is not ours any more.
  bool hand_over(const Parcel& parcel) noexcept;
  // Its result has come back: it ends here as a task that ran here does. `bytes`: the result or the failure record.
  // False, and nothing has changed: there is no room for them now (or ever, beyond kMaxPayloadBytes), or it is not
  // ours any more.
  bool end(const Parcel& parcel, OutcomeKind kind, std::span<const std::byte> bytes, std::int64_t now_ns) noexcept;
  // Somebody wishes it revoked, and no other host has seen it: it ends here, cancelled.
  bool cancel(const Parcel& parcel, std::int64_t now_ns) noexcept;
  // It stays here after all; or ends, where somebody wishes that.
  bool give_back(const Parcel& parcel, std::int64_t now_ns) noexcept;
  // Leaves it without a gateway, for the next one: it may be on another host.
  void leave(const Parcel& parcel) noexcept;
  // Whether somebody wishes that it does not run (Control::revoke), and even if it runs already.
  enum class Wish : std::uint8_t { kNone, kCancel, kTerminate };
  Wish wish(const Parcel& parcel) const noexcept;
  // The tasks of ours that such a wish came for since the last call: a hint, some may be missing.
  void take_wishes(std::vector<TaskId>& into) noexcept;
  // What gateways before this one have left. Sweep first, so that what the dead held is among it.
  std::vector<Parcel> adopt();

  // ---- in
  // As Engine::enqueue, for a task from elsewhere. `spec.extras->origin` says from where.
  EnqueueResult import(TaskSpec spec, std::int64_t now_ns) noexcept;
  // Every imported task that is in the segment, over or not. The views live as long as the call.
  void each_import(const std::function<void(TaskId, const TaskExtras&)>& visit);
  // Asks for the lines of a task that is handed over or forgotten soon: first its slot's, then, when they are here, its
  // block's.
  void fetch(std::uint32_t slot) const noexcept;
  void fetch_block(std::uint32_t slot) const noexcept;
  // How it ended was told: it may go. False when it is not over.
  bool forget(TaskId id) noexcept;

 private:
  bool end(const Parcel& parcel, OutcomeKind kind, std::span<const std::byte> bytes, shm::Counter counter,
           std::int64_t now_ns) noexcept;
  // OUTBOX of ours -> `to` of ours, counted.
  bool change(const Parcel& parcel, shm::State to, shm::Counter counter, shm::ControlWord& changed) noexcept;

  void fetch_moves(const Lease* leases, std::uint32_t n) const noexcept;

  Engine& engine_;
  shm::Segment& segment_;
};

}  // namespace stem::engine
