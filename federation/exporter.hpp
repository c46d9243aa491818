// Export: tasks of one queue leave this host for the queue's streams (docs/federation.md, "Export").
//
// A task is in the engine's outbox from before its XADD is queued until Redis has answered: then it ends here, or,
// where somebody waits for its result, it stays until the result is in Redis. When an answer is lost, the streams are
// read back, and only what is not there is sent again. What Redis loses later is noticed, and sent again where it
// still is here. Does no I/O of its own and reads no clock.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/outbox.hpp"
#include "engine/shared_keys.hpp"
#include "federation/ended_log.hpp"
#include "federation/entry_id.hpp"
#include "federation/records.hpp"
#include "federation/redis.hpp"
#include "federation/revokes.hpp"
#include "federation/signing.hpp"
#include "federation/transcript.hpp"

namespace stem::federation {

// Where the tasks of a queue run.
enum class Policy : std::uint8_t {
  kLocalFirst,  // here while there is room; the rest may go
  kGlobal,      // wherever somebody is quickest
  kLocalOnly,   // here
};

// Whether unique tasks that could run here leave, too, so that their keys hold on all hosts; and what they do while
// Redis cannot be asked.
enum class UniqueKeys : std::uint8_t {
  kOfHost,      // who stays has a key of this host alone
  kFailOpen,    // run with a key of this host alone
  kFailClosed,  // wait
};

// When a task that left is let go here.
enum class Hold : std::uint8_t {
  kUntilReceived,  // Redis has it
  kUntilDone,      // it has ended: whatever Redis loses is sent again
};

struct ExportStats {
  std::uint64_t sent = 0;        // XADDs, repeated ones too
  std::uint64_t confirmed = 0;   // tasks that Redis has
  std::uint64_t recovered = 0;   // found there after a lost answer
  std::uint64_t resent = 0;      // not found there
  std::uint64_t results = 0;     // that came back
  std::uint64_t duplicates = 0;  // ended: another task of the cluster had their unique key
  std::uint64_t lost = 0;        // gone from Redis without an end, still here, and sent again
  std::uint64_t let_go = 0;      // confirmed and let go, behind the point to which Redis went back: they may be lost
};

class Exporter {
 public:
  struct Options {
    std::string queue;
    Policy policy = Policy::kLocalFirst;
    std::uint32_t window = 4096;            // tasks on their way at once
    std::uint32_t prefetch_multiplier = 4;  // local-first: tasks kept for each local worker
    Hold hold = Hold::kUntilReceived;
    UniqueKeys unique_keys = UniqueKeys::kOfHost;
    std::uint32_t replicas = 0;            // that must have a task before Redis counts as having it
    std::shared_ptr<const Signer> signer;  // of what leaves; nullptr: nothing is signed here
  };

  Exporter(engine::Engine& engine, Redis& redis, const Keys& keys, const Transcript& transcript, std::uint32_t queue,
           Options options);
  // For the importer of the same queue: an imported task that would have to leave. Without it they stay.
  void on_import(std::function<void(const engine::Lease&)> give_back) { give_back_ = std::move(give_back); }

  // Wishes to revoke what has left go to other hosts by it. Without it they stay with the task.
  void on_revokes(RevokeDesk* desk) { revokes_ = desk; }
  // Somebody here wishes a task revoked; nothing happens when it is not ours.
  void revoke(engine::TaskId id);
  // Takes over what a gateway before us has left of this queue.
  void adopt(const engine::Parcel& parcel, const Clocks& clocks);
  // Redis answers (again), and nothing that was sent to it before can arrive any more.
  void on_ready(const Clocks& clocks);
  // The connection ended; its handlers have been called.
  void on_lost();
  // Takes and sends what may go; asks for results that are waited for. Returns true when it has sent something.
  bool step(const Clocks& clocks);
  // Whether it takes tasks that wait for their unique keys (engine/shared_keys.hpp) now.
  bool takes_asked(std::int64_t now_ns) const {
    return options_.unique_keys != UniqueKeys::kOfHost && may_send(now_ns);
  }
  // One of them.
  void take_asked(const engine::Parcel& parcel, const Clocks& clocks);
  // Takes no more; what is on its way is confirmed.
  void drain() { options_.window = 0; }
  // Whether producers should ring us: we can do something, and no worker here wants to be rung first.
  bool rings() const {
    return redis_.is_ready() && options_.window > 0 && (options_.policy == Policy::kGlobal || local_room() == 0);
  }
  // Before wants() is asked for the last time by who then sleeps, with his sleep bit set: marks outlive their hints.
  void clear_marks() { engine_.lanes().clear_marks(queue_); }
  // When to look for something to take: now; soon, where nothing was found a moment ago; INT64_MAX: not before somebody
  // rings, which nobody does for what came before the sleep bit was set.
  std::int64_t wants_at_ns(std::int64_t now_ns) const {
    return engine_.maybe_ready(queue_) ? takes_at_ns(now_ns) : INT64_MAX;
  }
  // For who looks and does not sleep: leaves the marks alone, which each new task would have to set again.
  bool sees_task() { return engine_.has_hint(queue_); }
  // When it would take what it sees.
  std::int64_t takes_at_ns(std::int64_t now_ns) const {
    return may_send(now_ns) && may_leave() != 0 ? std::max(now_ns, look_again_ns_) : INT64_MAX;
  }
  bool wants(std::int64_t now_ns) const { return wants_at_ns(now_ns) <= now_ns; }
  // Leaves everything to the next gateway. No command of ours may be outstanding: their handlers know the tasks.
  void leave();

  std::uint32_t queue() const { return queue_; }
  std::size_t on_their_way() const { return tasks_.size() - awaited(); }
  std::size_t awaited() const { return awaited_.size() + asked_.size(); }
  const ExportStats& stats() const { return stats_; }
  // How many of the queue's tasks may leave now.
  std::uint64_t may_leave() const;
  // Tasks that the workers here may have waiting.
  std::uint64_t local_room() const;

 private:
  // An awaited task without a result is looked for in its stream as often as that.
  static constexpr std::int64_t kLookAfterNs = 30'000'000'000;

  enum class Stage : std::uint8_t {
    kToSend,
    kSent,
    kWritten,    // Redis has it; its replicas may not
    kUncertain,  // Redis may have it
    kAwaited,    // Redis has it, and somebody waits for its end
  };
  struct Task {
    engine::Parcel parcel;
    std::int64_t enqueued_us = 0;
    EntryId entry{};           // where it is in its stream, once we know
    std::int64_t look_ns = 0;  // written: when; awaited: when to ask whether Redis still has it
    int lane = 0;
    bool wanted = false;  // somebody waits for its end
    bool was_there = false;
    Stage stage = Stage::kToSend;
  };

  bool may_send(std::int64_t now_ns) const {
    return fenced_ && redis_.is_ready() && now_ns >= pause_until_ns_ && !refused_ &&
           sent_ + uncertain_ + to_send_.size() < options_.window;
  }
  void share_keys(std::int64_t now_ns);
  Task make(const engine::Parcel& parcel, const engine::TaskView& view, Stage stage, const Clocks& clocks) const;
  void take(const Clocks& clocks);
  bool bring_home(const Clocks& clocks);
  using Entry = std::pair<const std::string, Task>;  // of tasks_; its address stays

  bool begin(const engine::Parcel& parcel, const Clocks& clocks);
  bool send(Entry& entry, const engine::TaskView& view, const Clocks& clocks);
  bool end_unsigned(Entry& entry, const Error& why, const Clocks& clocks);
  void on_added(Entry& entry, const Reply& reply);
  void end_duplicate(Entry& entry, std::string_view holder);
  void written(Entry& entry, EntryId id);
  void confirm_written();
  void confirm(Entry& entry);
  void wait_for_replicas();
  void on_replicas(const Reply& reply);
  void recover();
  void read_back(int lane, const std::string& from);
  void on_read_back(int lane, const Reply& reply);
  void read_ended(const std::string& from);
  void on_ended_page(const Reply& reply);
  void recovery_step_done();
  void refused_recovery();
  bool ask_for_results(std::vector<Entry*> entries);
  void on_have_results(const std::vector<Entry*>& asked, const Reply& reply);
  void send_again(Entry& entry);
  void look_back();
  void on_stream_info(int lane, const Reply& reply);
  void ask_results(const Clocks& clocks);
  void on_results(const Reply& reply, std::int64_t now_ns);
  void look_for_wishes();
  void tell_revokes();
  void note_wish(const Entry& entry);
  bool cancel_here(Entry& entry);
  void look_after(const std::vector<std::string>& ids);
  void on_gone(const std::vector<std::string>& ids, const Reply& reply);
  bool settle(Entry& entry, std::string_view json, std::int64_t now_ns);
  bool end_badly(const engine::Parcel& parcel, const TaskStatus& status, std::int64_t now_ns);

  engine::Engine& engine_;
  engine::Outbox outbox_;
  engine::SharedKeys keys_here_;
  Redis& redis_;
  const Keys& keys_;
  const Transcript& transcript_;
  std::uint32_t queue_;
  Options options_;
  ExportStats stats_;
  Clocks clocks_;

  std::unordered_map<std::string, Task> tasks_;  // by wire id
  std::deque<std::string> to_send_;
  std::deque<std::string> awaited_;  // asked in turn
  std::vector<std::string> asked_;   // of the awaited: those of the question under way
  std::vector<Entry*> written_;
  std::size_t sent_ = 0, uncertain_ = 0;
  // Of our last entry that Redis has confirmed, a lane each; stays behind what is uncertain.
  EntryId last_id_[kLanes];
  // What Redis has confirmed lately, a lane each, in order: its fail-over, or its crash, may take the last back.
  std::deque<EntryId> confirmed_[kLanes];
  bool fenced_ = false;
  std::vector<engine::Parcel> parcels_;
  std::vector<engine::Lease> imported_;
  std::function<void(const engine::Lease&)> give_back_;
  Envelope envelope_;
  std::vector<std::string_view> argv_;
  int reading_back_ = 0;  // commands of a recovery that are not answered
  bool read_failed_ = false;
  std::int64_t recover_at_ns_ = 0;  // Redis has refused: not before then
  // Of a recovery: the marks of what was uncertain when it began, and which of them the log of the ended has.
  std::unordered_set<EndMark> sought_, ended_;
  std::int64_t sought_from_us_ = 0;  // when the first of them was made
  bool reads_ended_ = false, ended_read_ = false;
  bool refused_ = false;
  std::int64_t pause_until_ns_ = 0;
  std::int64_t look_again_ns_ = 0;  // nothing was found, whatever the marks say
  std::int64_t ask_again_ns_ = 0;
  std::int64_t ask_every_ns_ = 0;
  std::int64_t unanswered_since_ns_ = 0;  // while something is sent
  std::int64_t could_send_ns_ = 0;        // when there was room in the window last
  std::int64_t keys_again_ns_ = 0;        // Redis has refused: unique keys are not shared before then
  RevokeDesk* revokes_ = nullptr;
  struct Wished {
    bool terminate = false;
    bool told = false, telling = false;
  };
  std::unordered_map<std::string, Wished> wished_;  // of tasks_
  std::int64_t wishes_at_ns_ = 0;
  bool waiting_ = false;  // for replicas
  bool touched_ = true;   // something was written on this connection since it is up
  bool too_few_ = false;  // replicas; said once
};

}  // namespace stem::federation
