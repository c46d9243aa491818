// Import: tasks of one queue come from its streams to this host (docs/federation.md, "Import").
//
// An entry is ours from the moment Redis has given it to us until one step there acknowledges it, deletes it and
// stores how it ended; that step follows the end of the local task. Until then the lease in Redis is renewed. Who
// was silent for longer than a task's visibility timeout may have lost it, and asks before he says anything about it.
// Does no I/O of its own and reads no clock.
#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "engine/outbox.hpp"
#include "federation/entry_id.hpp"
#include "federation/redis.hpp"
#include "federation/revokes.hpp"
#include "federation/signing.hpp"
#include "federation/transcript.hpp"

namespace stem::federation {

struct ImportStats {
  std::uint64_t imported = 0;
  std::uint64_t settled = 0;     // Redis knows how they ended
  std::uint64_t dead = 0;        // of these, became dead letters
  std::uint64_t duplicates = 0;  // dropped: the task was here already
  std::uint64_t invalid = 0;     // entries that are no envelope
  std::uint64_t unsigned_ = 0;   // envelopes that are not signed, or wrongly
  std::uint64_t reclaimed = 0;   // from hosts that were silent
  std::uint64_t fenced = 0;      // lost to another host
  std::uint64_t returned = 0;    // to their lane, because nobody here had room
  std::uint64_t revoked = 0;     // ended before they became tasks here
};

class Importer {
 public:
  struct Options {
    std::string queue;
    std::string consumer;                   // this host
    std::uint32_t prefetch_multiplier = 4;  // tasks per local worker
    std::int64_t visibility_ms = 30'000;    // of tasks that name none
    std::int64_t result_ttl_ms = 86'400'000;
    std::int64_t marker_ttl_ms = 3'600'000;  // of results that nobody wants: that they ended must be known a while
    std::int64_t reclaim_every_ns = 2'000'000'000;
    std::uint32_t delivery_limit = 16;  // hosts that took it and were lost
    // Ended entries next to each other that leave as the beginning of their stream; fewer are deleted as fast one by one. At
    // least 1.
    std::uint32_t least_run = 4;
    // What comes is to be signed; nullptr: signatures say nothing here.
    std::shared_ptr<const Signer> signer;
  };

  // `reader` is a connection of its own: its reads block.
  Importer(engine::Engine& engine, Redis& redis, Redis& reader, const Keys& keys, std::uint32_t queue, Options options);

  // What was revoked elsewhere is not run here. Without it nothing is looked up.
  void on_revokes(RevokeDesk* desk) { revokes_ = desk; }
  // A task that an earlier gateway imported, found in the segment; before the first step.
  void adopt(engine::TaskId id, const engine::TaskExtras& extras);
  // Of `redis`: no connection before this one says anything any more. Between on_lost() and on_ready() nothing is told
  // and nothing read, whether a new connection is there or not: what was known of leases may not hold, and what was on
  // its way may still be carried out. Ends are told then, and what was to be said of entries that are no task here is
  // found again among those that are pending.
  void on_ready(const Clocks& clocks);
  void on_lost() { fenced_ = false; }
  void on_reader_ready(const Clocks& clocks);  // of `reader`
  // Tells ends, renews, reads, reclaims. Returns true while it has tasks whose end it waits for.
  bool step(const Clocks& clocks);
  // A task that came from here waits and finds no worker: the exporter has taken its lease, and asks us.
  void give_back(const engine::Lease& lease);
  // No more reading; what is here is run and told.
  void drain() { draining_ = true; }

  std::uint32_t queue() const { return queue_; }
  std::size_t here() const { return tasks_.size(); }
  const ImportStats& stats() const { return stats_; }
  // Which of the origins that Outbox::each_import finds are this queue's.
  static std::string origin(std::string_view queue, int lane, std::string_view entry, std::string_view id);
  static bool is_of(std::string_view queue, std::string_view origin);

 private:
  struct Task {
    engine::TaskId id;
    int lane = 0;
    std::string entry;
    bool let_go = false;    // whoever sent it asks only whether it has ended
    bool confirmed = true;  // false: adopted, and not seen among our pending entries yet
    bool ending = false;    // its end is on its way
    bool renewing = false;
    bool wanted = false;  // somebody may ask for its result
    std::int64_t visibility_ns = 0;
    std::int64_t renewed_ns = 0;  // when the last renewal that succeeded was sent
    std::int64_t created_us = 0;
    std::int64_t attempt = 0;
    std::string item;      // its other name: as an item of a run on the host where it was made
    std::string unique;    // the key that is free when it has ended; mostly empty
    bool revoked = false;  // somebody wishes it; forgotten with the task
    // Where it came in what was read: between two entries of a lane with numbers next to each other no other can be.
    // 0: not known.
    std::uint64_t number = 0;
    std::list<std::pair<const std::string, Task>*>::iterator at;  // in arrived_
  };
  using Entry = std::pair<const std::string, Task>;  // of tasks_; its address stays

  struct End;

  // The only way to `redis_`.
  Queued tell(std::span<const std::string_view> argv, ReplyHandler handler) {
    return fenced_ ? redis_.command(argv, std::move(handler)) : Queued::kNotReady;
  }
  Queued tell(std::initializer_list<std::string_view> argv, ReplyHandler handler) {
    return tell(std::span(argv.begin(), argv.size()), std::move(handler));
  }
  bool said(Queued queued);
  void heard(const Reply& reply);
  std::vector<TextField> fields_;  // of the entry that is accepted, and
  Envelope envelope_;              // what it says: their memory is used again

  // Whether its end becomes a result in Redis; otherwise it is marked in the log of the ended.
  static bool has_result(const Task& task) { return !task.let_go || task.revoked; }
  void make_groups();
  void look_at_pending(int lane, const std::string& from);
  void on_pending(int lane, const Reply& reply);
  void look_at_entry(int lane, std::string_view entry, std::int64_t deliveries);
  void read_pending(int lane, std::string_view entry, std::int64_t deliveries);
  void on_pending_entry(int lane, const Reply& reply, std::int64_t deliveries, std::int64_t sent_ns);
  void pending_step_done();
  std::size_t fitting(std::size_t lanes) const;
  void read(const Clocks& clocks);
  void refused_read(const Reply& reply);
  void on_streams(std::uint32_t lanes, const Reply& reply, std::int64_t sent_ns);
  void accept(int lane, const Reply& entry, std::int64_t since_ns);
  void accept_again(int lane, const Reply& entry, std::int64_t deliveries, std::int64_t since_ns);
  void accept(int lane, std::string_view entry, Envelope& envelope, std::int64_t since_ns);
  bool import(int lane, std::string_view entry, const Envelope& envelope, std::int64_t since_ns);
  bool refuse(int lane, std::string_view entry, std::string_view reason, const EnvelopeView& envelope,
              std::string_view meta);
  void refuse_unreadable(int lane, std::string_view entry, std::string_view id, std::string_view meta);
  void refuse_large(int lane, std::string_view entry, std::int64_t bytes, std::string_view id);
  Result<void> check_signature(const Envelope& envelope) const;
  void drop_entry(int lane, std::string_view entry);
  void two_of(int lane, std::string_view entry, const Envelope& envelope, std::int64_t since_ns);
  void retry_waiting();
  void check_then_import(int lane, std::string_view entry, Envelope& envelope, std::int64_t since_ns);
  void on_checked(const std::string& at, const RevokeDesk::Answers& answers);
  void end_revoked(int lane, const std::string& entry, const Envelope& envelope, const Revoke& revoke);
  static std::string item_id(const Envelope& envelope);
  static std::string item_id(std::string_view id, std::string_view run_item);
  void forget_revokes(const std::string& id, const std::string& item);
  void look_for_revokes();
  void on_revoked(const std::vector<std::string>& tasks, const RevokeDesk::Answers& answers);

  void tell_ends();
  bool read_end(Entry& entry, End& end);
  bool settle(int lane, const std::vector<End>& ends);
  std::string behind_run(const std::vector<End>& ends) const;
  void settle_checked(const End& end);
  void on_settled(const std::vector<Entry*>& entries, const Reply& reply);
  void refused_end(const Reply& reply);
  Queued settle_one(int lane, std::string_view entry, const std::string& id, const std::string& unique,
                    std::string_view result, std::int64_t ttl_ms, std::string_view letter, ReplyHandler handler);
  void finish(Entry& entry);
  bool hold(const std::string& id, Task task);
  void erase(Entry& entry);
  void fence(Entry& entry);

  void on_returned(const engine::Lease& lease, Entry& entry, const Reply& reply);
  void renew();
  void on_renewed(const std::vector<std::string>& ids, const Reply& reply, std::int64_t sent_ns);
  void renew_checked(Entry& entry);
  void reclaim();
  void look_for_idle(int lane, const std::string& from);
  void on_idle(int lane, const Reply& reply);
  void claim(int lane, const std::string& id, std::int64_t idle_ms, std::int64_t deliveries);
  void claim_large(int lane, const std::string& id, const Reply& looked);
  void promote();
  void on_due(const Reply& reply);
  void promote(std::string_view member, Envelope& envelope);
  void bury_member(std::string_view member, std::string_view why);
  void bury_unsigned(std::string_view member, const Envelope& envelope, const Error& why);
  void on_moved(const Reply& reply);
  void forget_orphans();

  std::uint64_t credit() const;
  int lane_of(std::string_view key) const;
  bool on_time(const Task& task) const { return clocks_.now_ns < task.renewed_ns + task.visibility_ns * 9 / 10; }

  engine::Engine& engine_;
  engine::Outbox outbox_;
  Redis& redis_;
  Redis& reader_;
  std::uint32_t queue_;
  Options options_;
  ImportStats stats_;
  Clocks clocks_;
  std::string group_, dead_key_, delayed_key_, ended_key_;
  const Keys& keys_;
  std::string streams_[kLanes];

  std::unordered_map<std::string, Task> tasks_;  // by wire id
  std::list<Entry*> arrived_;                    // the same, in the order in which they came
  std::uint64_t last_number_ = 0;                // that an entry was given
  std::uint64_t number_ = 0;                     // of the entry that is accepted; 0 = it has none
  struct Waiting {
    int lane;
    std::string entry;
    Envelope envelope;
    std::int64_t since_ns;
    bool checking = false;  // whether it is revoked
  };
  std::deque<Waiting> waiting_;  // ours in Redis; no room here yet
  // Told or given up while the pending entries are read, on another connection: a page may name them still.
  std::unordered_set<std::string> told_;
  // Of one look for what nobody renews: what we hold, and the visibility timeouts (ms) of this one and the one before.
  std::unordered_set<std::string> held_;
  std::unordered_map<std::string, std::int64_t> visibility_of_, visibility_before_;
  int reclaiming_ = 0;
  RevokeDesk* revokes_ = nullptr;
  std::int64_t revokes_at_ns_ = 0;
  std::vector<engine::TaskId> orphans_;  // not ours any more; to be forgotten when they are over
  std::vector<std::string_view> argv_;
  std::vector<std::byte> bytes_;
  bool fenced_ = false;  // as on_ready() and on_lost() say
  bool untold_ = false;  // something of an entry that only Redis knows: to be found again
  bool groups_made_ = false, groups_failed_ = false;
  int pending_left_ = 0;  // commands about what is pending that are not answered
  bool pending_read_ = false, pending_failed_ = false;
  int reads_ = 0;                   // under way
  std::uint64_t asked_ = 0;         // entries that they may bring
  std::uint32_t busy_lanes_ = 0;    // a bit each: had something lately
  int reads_of_busy_ = 0;           // one after the other
  std::size_t entry_bytes_ = 4096;  // of the largest lately
  bool draining_ = false;
  bool promoting_ = false;
  std::int64_t reclaim_at_ns_ = 0, promote_at_ns_ = 0;
  std::int64_t groups_at_ns_ = 0, read_at_ns_ = 0, tell_at_ns_ = 0;  // not before, after a refusal
};

}  // namespace stem::federation
