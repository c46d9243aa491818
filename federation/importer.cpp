#include "federation/importer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "base/log.hpp"
#include "federation/json_text.hpp"
#include "federation/local_workers.hpp"
#include "federation/records.hpp"
#include "federation/scripts.hpp"
#include "federation/stream_entry.hpp"
#include "shm/names.hpp"

namespace stem::federation {
namespace {

constexpr int kReadsAtOnce = 4;
// Of one read, at most: a socket and a core's own cache take the reply, so Redis has the next one while we take in this.
constexpr std::uint64_t kEntriesAtOnce = 128;
constexpr int kReadsOfAllLanes = 4;     // every so many
constexpr std::size_t kFirstWake = 16;  // the first tasks of a long reply do not wait for its last
constexpr std::size_t kWakeFactor = 4;  // nor are workers rung again and again for what they have not come to yet
constexpr std::uint32_t kAllLanes = (1u << kLanes) - 1;
constexpr std::int64_t kBlockNs = 1'000'000'000;
constexpr std::string_view kBlockMs = "1000";
constexpr std::size_t kLeastEntryBytes = 4096;

}  // namespace

Importer::Importer(engine::Engine& engine, Redis& redis, Redis& reader, const Keys& keys, std::uint32_t queue,
                   Options options)
    : engine_(engine),
      outbox_(engine),
      redis_(redis),
      reader_(reader),
      queue_(queue),
      options_(std::move(options)),
      group_(keys.group(options_.queue)),
      dead_key_(keys.dead(options_.queue)),
      delayed_key_(keys.delayed(options_.queue)),
      ended_key_(keys.ended(options_.queue)),
      keys_(keys) {
  for (int lane = 0; lane < kLanes; ++lane) streams_[lane] = keys.stream(options_.queue, lane);
}

std::string Importer::origin(std::string_view queue, int lane, std::string_view entry, std::string_view id) {
  std::string text;
  text.reserve(queue.size() + entry.size() + id.size() + 4);
  text.append(queue).append(1, '\n').append(1, static_cast<char>('0' + lane)).append(1, '\n');
  return text.append(entry).append(1, '\n').append(id);
}

bool Importer::is_of(std::string_view queue, std::string_view origin) {
  return origin.substr(0, origin.find('\n')) == queue;
}

void Importer::adopt(engine::TaskId id, const engine::TaskExtras& extras) {
  std::string_view parts[4], origin = extras.origin;
  for (auto& part : parts) {
    const std::size_t end = &part == &parts[3] ? origin.size() : std::min(origin.find('\n'), origin.size());
    part = origin.substr(0, end);
    origin.remove_prefix(std::min(end + 1, origin.size()));
  }
  Task task;
  task.id = id;
  task.lane = parts[1].size() == 1 ? std::clamp(parts[1][0] - '0', 0, kLanes - 1) : 0;
  task.entry = parts[2];
  task.confirmed = false;
  task.wanted = true;
  task.visibility_ns = std::max<std::int64_t>(extras.visibility_ns, 100'000'000);
  task.renewed_ns = -task.visibility_ns;  // we do not know when: asked first
  task.unique = unique_key(extras.meta);
  if (!hold(std::string(parts[3]), std::move(task))) orphans_.push_back(id);
}

// False: another of this name is here.
bool Importer::hold(const std::string& id, Task task) {
  const auto [at, is_new] = tasks_.try_emplace(id, std::move(task));
  if (is_new) at->second.at = arrived_.insert(arrived_.end(), &*at);
  return is_new;
}

void Importer::erase(Entry& entry) {
  arrived_.erase(entry.second.at);
  tasks_.erase(entry.first);
}

// ---- a connection is ready

void Importer::on_ready(const Clocks& clocks) {
  clocks_ = clocks;
  fenced_ = true;
  for (auto& [id, task] : tasks_) {
    task.ending = task.renewing = false;
    task.renewed_ns = -task.visibility_ns;  // Redis may have forgotten that it is ours: it is asked
  }
  promoting_ = false;
  reclaiming_ = 0;
  if (std::exchange(untold_, false)) {
    pending_read_ = false;
    pending_failed_ = true;  // a look that is under way began too early
  }
  make_groups();
}

// Of what was to be said of an entry that is no task here. The next connection finds it again: not this one, which may
// go on saying nothing, and each look is a delivery. (For what finds no room reclaim() is there.)
bool Importer::said(Queued queued) {
  untold_ = untold_ || queued == Queued::kNotReady;
  return queued == Queued::kYes;
}

void Importer::heard(const Reply& reply) {
  untold_ = untold_ || reply.error == RedisError::kLost || reply.error == RedisError::kNotSent ||
            reply.error == RedisError::kMoved;
}

void Importer::on_reader_ready(const Clocks& clocks) {
  clocks_ = clocks;
  waiting_.clear();  // they come again, with all that Redis counts as ours
  pending_read_ = false;
}

void Importer::make_groups() {
  groups_made_ = false;
  groups_at_ns_ = clocks_.now_ns + kRefusedPauseNs;
  groups_failed_ = false;
  for (int lane = 0; lane < kLanes; ++lane) {
    (void)tell({"XGROUP", "CREATE", streams_[lane], group_, "0", "MKSTREAM"}, [this, last = lane + 1 == kLanes](
                                                                                  const Reply& reply) {
      // A full Redis refuses before it looks; a read says when there is no group.
      if (reply.is_error() && reply.error != RedisError::kBusyGroup && reply.error != RedisError::kOutOfMemory) {
        if (!groups_failed_) log::warn("no consumer group", {{"queue", options_.queue}, {"error", reply.text}});
        groups_failed_ = true;
      }
      if (last) groups_made_ = !groups_failed_;
    });
  }
}

// What Redis says is ours comes first: a gateway before us, or a reply that was lost. Only what we do not hold is
// read: reading counts as a delivery.
void Importer::look_at_pending(int lane, const std::string& from) {
  const Queued queued =
      reader_.command({"XPENDING", streams_[lane], group_, from, "+", kPendingPage, options_.consumer},
                      [this, lane](const Reply& reply) { on_pending(lane, reply); });
  if (queued == Queued::kYes)
    ++pending_left_;
  else
    pending_failed_ = true;
}

void Importer::on_pending(int lane, const Reply& reply) {
  --pending_left_;
  if (!reply.is_array()) {
    pending_failed_ = true;  // what is pending there we do not know: all once more
    return refused_read(reply);
  }
  std::unordered_map<std::string_view, Task*> held;
  for (auto& [id, task] : tasks_)
    if (task.lane == lane) held.emplace(task.entry, &task);
  for (const Reply& one : reply.elements) {
    if (one.elements.size() != 4) continue;
    const std::string_view entry = one.elements[0].text;
    if (const auto known = held.find(entry); known != held.end())
      known->second->confirmed = true;  // ours from before
    else if (!told_.contains(place(lane, entry)))
      look_at_entry(lane, entry, one.elements[3].integer);
  }
  if (reply.elements.size() == kPendingPageEntries && reply.elements.back().elements.size() == 4)
    look_at_pending(lane, fmt::format("({}", reply.elements.back().elements[0].text));
  pending_step_done();
}

// What is larger than a reply may be would end each connection that reads it, and stay.
void Importer::look_at_entry(int lane, std::string_view entry, std::int64_t deliveries) {
  const Queued queued =
      reader_.command({"EVAL", kLookScript, "1", streams_[lane], entry, kMostEntryBytesText},
                      [this, lane, entry = std::string(entry), deliveries](const Reply& reply) {
                        --pending_left_;
                        if (reply.is_error()) {
                          pending_failed_ = true;
                          return refused_read(reply);
                        }
                        if (reply.is_array() && reply.elements.size() == 2)
                          refuse_large(lane, entry, reply.elements[0].integer, reply.elements[1].text);
                        else
                          read_pending(lane, entry, deliveries);
                        pending_step_done();
                      });
  if (queued == Queued::kYes)
    ++pending_left_;
  else
    pending_failed_ = true;
}

// One at a time, however large they are. The next one that is ours comes in place of one that is not any more.
void Importer::read_pending(int lane, std::string_view entry, std::int64_t deliveries) {
  const EntryId before = parse_entry_id(entry).value_or(EntryId{}).before();
  if (!before.is_known()) return;
  const Queued queued = reader_.command(
      {"XREADGROUP", "GROUP", group_, options_.consumer, "COUNT", "1", "STREAMS", streams_[lane], before.text()},
      [this, lane, deliveries, sent_ns = clocks_.now_ns](const Reply& reply) {
        on_pending_entry(lane, reply, deliveries, sent_ns);
      });
  if (queued == Queued::kYes)
    ++pending_left_;
  else
    pending_failed_ = true;
}

void Importer::on_pending_entry(int lane, const Reply& reply, std::int64_t deliveries, std::int64_t sent_ns) {
  --pending_left_;
  if (reply.is_error()) {
    pending_failed_ = true;
    return refused_read(reply);
  }
  if (reply.is_array() && reply.elements.size() == 1 && reply.elements[0].elements.size() == 2)
    for (const Reply& entry : reply.elements[0].elements[1].elements)
      if (entry.elements.size() == 2 && !told_.contains(place(lane, entry.elements[0].text)))
        accept_again(lane, entry, deliveries, sent_ns);
  pending_step_done();
}

void Importer::pending_step_done() {
  if (pending_left_ > 0 || pending_failed_) return;
  // All are read. What we hold and Redis does not count as ours was told already, or is another's by now.
  std::vector<Entry*> lost;
  for (auto& entry : tasks_)
    if (!entry.second.confirmed) lost.push_back(&entry);
  for (Entry* entry : lost) fence(*entry);
  pending_read_ = true;
}

// An entry that was delivered before. Those who had it were lost with it; so many cannot have been lost by chance.
void Importer::accept_again(int lane, const Reply& entry, std::int64_t deliveries, std::int64_t since_ns) {
  std::string_view at;
  std::vector<TextField> fields;
  Envelope envelope;
  if (deliveries >= options_.delivery_limit && fields_of(entry, at, fields) && decode_fields(fields, envelope))
    return (void)refuse(lane, at, "poison-pill", envelope.view(), fmt::format("{{\"deliveries\":{}}}", deliveries));
  accept(lane, entry, since_ns);
}

// ---- reading

std::uint64_t Importer::credit() const {
  if (draining_) return 0;
  const shm::Segment& segment = engine_.segment();
  if (segment.queue(queue_).paused.load(std::memory_order_relaxed) != 0) return 0;
  const std::uint64_t room = std::uint64_t{local_workers(segment, queue_)} * options_.prefetch_multiplier;
  // Neither more of others than there is room for, nor more of all that waits.
  const std::uint64_t taken = waiting_.size() + std::max(tasks_.size(), std::size_t{engine_.lanes().queued(queue_)});
  return room > taken ? room - taken : 0;
}

int Importer::lane_of(std::string_view key) const {
  for (int lane = 0; lane < kLanes; ++lane)
    if (streams_[lane] == key) return lane;
  return -1;
}

// Highest lane first. A read gives at most so many of each lane, so the lanes it asks share what there is room for:
// most reads ask only those that had something lately, and so have more for each.
void Importer::read(const Clocks& clocks) {
  const bool wait = busy_lanes_ == 0;
  if (!fenced_ || reads_ >= (wait ? 1 : kReadsAtOnce) || !reader_.is_ready() || !groups_made_ ||
      clocks.now_ns < read_at_ns_)
    return;
  if (!pending_read_) {
    if (pending_left_ > 0 || reads_ > 0) return;
    pending_failed_ = false;
    told_.clear();
    waiting_.clear();  // they come again, too
    for (int lane = kLanes - 1; lane >= 0; --lane) look_at_pending(lane, "-");
    return;
  }
  std::uint64_t room = credit();
  if (room <= asked_) return;
  room -= asked_;
  if (reads_ == 0 && !wait) room = (room + 1) / 2;  // Redis has the next read while we take in this one
  room = std::min(room, kEntriesAtOnce);
  std::uint32_t from = busy_lanes_;
  if (wait || ++reads_of_busy_ >= kReadsOfAllLanes) {
    from = kAllLanes;
    reads_of_busy_ = 0;
  }
  const auto lanes = static_cast<std::uint64_t>(std::popcount(from));
  const std::uint64_t each = std::clamp<std::uint64_t>(room / lanes, 1, fitting(lanes));
  const std::string count = number(static_cast<std::int64_t>(each));
  argv_.assign({"XREADGROUP", "GROUP", group_, options_.consumer, "COUNT", count});
  if (wait) argv_.insert(argv_.end(), {"BLOCK", kBlockMs});
  argv_.push_back("STREAMS");
  for (int lane = kLanes - 1; lane >= 0; --lane)
    if ((from >> lane & 1) != 0) argv_.push_back(streams_[lane]);
  for (std::uint64_t i = 0; i < lanes; ++i) argv_.push_back(">");
  clocks_ = clocks;
  const Queued queued = reader_.command(
      std::span<const std::string_view>(argv_),
      [this, from, asked = each * lanes, sent_ns = clocks.now_ns](const Reply& reply) {
        --reads_;
        asked_ -= asked;
        on_streams(from, reply, sent_ns);
      },
      wait ? kBlockNs : 0);
  if (queued != Queued::kYes) return;
  ++reads_;
  asked_ += each * lanes;
}

// Entries of so many lanes that fit into a reply, by the largest that came lately.
std::size_t Importer::fitting(std::size_t lanes) const {
  return std::max<std::size_t>(1, kMostEntryBytes / (lanes * entry_bytes_));
}

void Importer::refused_read(const Reply& reply) {
  if (reply.error == RedisError::kUnblocked || reply.error == RedisError::kLost ||
      reply.error == RedisError::kNotSent || reply.error == RedisError::kMoved)
    return;
  if (reply.error == RedisError::kReadOnly) return reader_.drop("it became a replica");
  read_at_ns_ = clocks_.now_ns + kRefusedPauseNs / 10;
  if (reply.error == RedisError::kNoGroup) {  // somebody flushed the database
    if (groups_made_) make_groups();
    return;
  }
  read_at_ns_ = clocks_.now_ns + kRefusedPauseNs;
  log::warn("Redis refuses reads", {{"queue", options_.queue}, {"error", reply.text}});
}

void Importer::on_streams(std::uint32_t lanes, const Reply& reply, std::int64_t sent_ns) {
  busy_lanes_ &= ~lanes;
  if (reply.is_error()) {
    // The reply may have been more than a connection takes; then it would be so again. Once for all that were lost with it.
    if (reply.error == RedisError::kLost && reads_ == 0) entry_bytes_ = std::min(entry_bytes_ * 32, kMostEntryBytes);
    return refused_read(reply);
  }
  entry_bytes_ = std::max(kLeastEntryBytes, entry_bytes_ - entry_bytes_ / 64);
  engine_.hold_wakes(true);
  std::size_t taken = 0, wake_at = kFirstWake;
  for (const Reply& stream : reply.elements) {
    if (stream.elements.size() != 2) continue;
    const int lane = lane_of(stream.elements[0].text);
    if (lane < 0) continue;
    ++last_number_;  // whatever is between this read and the one before
    for (const Reply& entry : stream.elements[1].elements) {
      number_ = ++last_number_;
      accept(lane, entry, sent_ns);
      if (++taken < wake_at) continue;
      engine_.wake_held(queue_);
      wake_at *= kWakeFactor;
    }
    busy_lanes_ |= 1u << lane;
  }
  number_ = 0;
  engine_.hold_wakes(false);
  engine_.wake_held(queue_);
}

void Importer::accept(int lane, const Reply& entry, std::int64_t since_ns) {
  std::string_view id;
  std::vector<TextField>& fields = fields_;
  if (!fields_of(entry, id, fields)) return;
  std::size_t bytes = 0;
  for (const TextField& field : fields) bytes += field.name.size() + field.text.size() + 32;
  entry_bytes_ = std::clamp(bytes, entry_bytes_, kMostEntryBytes);
  Envelope& envelope = envelope_;
  if (fields.empty()) return drop_entry(lane, id);  // deleted while it was pending
  if (const auto read = decode_fields(fields, envelope); !read) {
    std::string meta = "{\"error\":";
    append_json_string(meta, read.error().message);
    meta += ",\"entry\":{";
    for (const TextField& field : fields) {
      if (meta.back() != '{') meta += ',';
      append_json_string(meta, field.name);
      meta += ':';
      append_json_string(meta, field.text);
    }
    meta += "}}";
    return refuse_unreadable(lane, id, id, meta);
  }
  if (const auto checked = check_signature(envelope); !checked) {
    if (!refuse(lane, id, "signature-invalid", envelope.view(), error_json(checked.error().message))) return;
    ++stats_.unsigned_;
    engine_.self().count(queue_, shm::Counter::kSignatureInvalid);
    return;
  }
  accept(lane, id, envelope, since_ns);
}

// Also: signed for this queue. Whoever can write to Redis could put another queue's task here.
Result<void> Importer::check_signature(const Envelope& envelope) const {
  if (options_.signer == nullptr) return {};
  if (auto verified = options_.signer->verify(envelope.view()); !verified) return verified;
  if (envelope.queue == options_.queue) return {};
  return Error{Errc::kRefused, fmt::format("it was signed for queue '{:.64}'", envelope.queue)};
}

// `since_ns`: when Redis was asked for it; its lease began then or later.
void Importer::accept(int lane, std::string_view entry, Envelope& envelope, std::int64_t since_ns) {
  if (const auto known = tasks_.find(envelope.id); known != tasks_.end()) {
    if (known->second.entry == entry) {
      known->second.confirmed = true;
      known->second.number = number_;
      known->second.renewed_ns = std::max(known->second.renewed_ns, since_ns);
    } else {
      two_of(lane, entry, envelope, since_ns);
    }
    return;
  }
  if (revokes_ != nullptr && revokes_->any()) return check_then_import(lane, entry, envelope, since_ns);
  if (!import(lane, entry, envelope, since_ns))
    waiting_.push_back({lane, std::string(entry), std::move(envelope), since_ns});
}

// False: no room for it now. It stays ours.
bool Importer::import(int lane, std::string_view entry, const Envelope& envelope, std::int64_t since_ns) {
  shm::Segment& segment = engine_.segment();
  ImportedTask task;
  federation::read(envelope, clocks_, task);
  // Put there by Redis's clock after its time: whatever ours says, it is due.
  if (envelope.not_before_us && entry_ms(entry) >= *envelope.not_before_us / 1000) task.spec.due_ns = 0;
  const auto name = shm::intern_task(segment, envelope.name);
  if (!name) {
    const std::string meta = "{\"error\":\"this host knows no more task names, or not such a name\"}";
    (void)refuse(lane, entry, "unregistered-task", envelope.view(), meta);
    return true;
  }
  const std::string from = origin(options_.queue, lane, entry, envelope.id);
  task.extras.origin = from;
  task.spec.extras = &task.extras;
  task.spec.queue = queue_;
  task.spec.task = *name;
  const engine::EnqueueResult made = outbox_.import(task.spec, clocks_.now_ns);
  if (made.status == engine::EnqueueStatus::kTooLarge) {
    (void)refuse(lane, entry, "payload-invalid", envelope.view(), "{\"error\":\"a payload may have 1 MiB\"}");
    return true;
  }
  if (made.status != engine::EnqueueStatus::kOk) return false;
  Task here;
  here.id = made.id;
  here.lane = lane;
  here.entry = entry;
  here.wanted = task.wanted;
  here.let_go = task.let_go;
  here.visibility_ns = visibility_ms(envelope, options_.visibility_ms) * 1'000'000;
  here.renewed_ns = since_ns;
  here.created_us = envelope.enqueued_at_us;
  here.attempt = envelope.attempt;
  here.item = item_id(envelope.id, task.run_item);
  here.unique = std::move(task.unique);
  here.number = number_;
  (void)hold(envelope.id, std::move(here));
  ++stats_.imported;
  return true;
}

// Two entries of one task. Either it was sent twice after a lost answer, or it was put back into its lane, by us or by
// somebody who took it from us, and the older one is over. Redis knows.
void Importer::two_of(int lane, std::string_view entry, const Envelope& envelope, std::int64_t since_ns) {
  const Task& known = tasks_.at(envelope.id);
  (void)said(
      tell({"EVAL", kDropSecondScript, "2", streams_[known.lane], streams_[lane], group_, options_.consumer,
            known.entry, entry},
           [this, lane, entry = std::string(entry), envelope, since_ns, first = known.entry](const Reply& reply) {
             if (!reply.is_integer()) return heard(reply);
             if (reply.integer != 0) {
               ++stats_.duplicates;
               return;
             }
             const auto found = tasks_.find(envelope.id);
             // Whose end is on its way is known to that command: it goes with its answer, and we are asked again.
             if (found != tasks_.end() && found->second.entry == first && !found->second.ending) fence(*found);
             waiting_.push_back({lane, entry, envelope, since_ns});
           }));
}

void Importer::retry_waiting() {
  while (!waiting_.empty()) {
    if (tasks_.contains(waiting_.front().envelope.id)) {  // it was put back, or read twice
      Waiting again = std::move(waiting_.front());
      waiting_.pop_front();
      accept(again.lane, again.entry, again.envelope, again.since_ns);
      continue;
    }
    const Waiting& one = waiting_.front();
    if (one.checking) return;
    const std::int64_t visibility_ns = visibility_ms(one.envelope, options_.visibility_ms) * 1'000'000;
    // Nobody has renewed it: it may be another's by now. If not, reclaim() finds that it is ours.
    const bool late = clocks_.now_ns >= one.since_ns + visibility_ns * 9 / 10;
    if (!late && !import(one.lane, one.entry, one.envelope, one.since_ns)) return;
    waiting_.pop_front();
  }
}

// A dead letter that never was a task here. False: it is not told, and will be read again.
bool Importer::refuse(int lane, std::string_view entry, std::string_view reason, const EnvelopeView& envelope,
                      std::string_view meta) {
  std::string letter;
  append_dead_letter_json(letter, envelope, reason, meta, clocks_.wall_now_us);
  const std::string result = refused_status(envelope.id, reason, clocks_.wall_now_us);
  if (!said(settle_one(lane, entry, std::string(envelope.id), unique_key(envelope.meta), result, options_.result_ttl_ms,
                       letter, [this](const Reply& reply) { heard(reply); })))
    return false;
  ++stats_.dead;
  log::warn("an entry of a stream was refused", {{"queue", options_.queue}, {"entry", entry}, {"reason", reason}});
  return true;
}

void Importer::refuse_unreadable(int lane, std::string_view entry, std::string_view id, std::string_view meta) {
  EnvelopeView nothing;
  nothing.id = id;
  nothing.name = "unreadable";
  nothing.queue = options_.queue;
  if (refuse(lane, entry, "payload-invalid", nothing, meta)) ++stats_.invalid;
}

// Nobody reads it; whoever waits for its result hears of it.
void Importer::refuse_large(int lane, std::string_view entry, std::int64_t bytes, std::string_view id) {
  const std::string meta =
      fmt::format(R"({{"error":"an entry may have 40 MiB","bytes":{},"entry":"{}"}})", bytes, entry);
  refuse_unreadable(lane, entry, id.empty() ? entry : id, meta);
}

void Importer::drop_entry(int lane, std::string_view entry) {
  if (said(tell({"XACK", streams_[lane], group_, entry}, [this](const Reply& reply) { heard(reply); })))
    (void)tell({"XDEL", streams_[lane], entry}, [](const Reply&) {});
}

// ---- a turn

bool Importer::step(const Clocks& clocks) {
  clocks_ = clocks;
  if (fenced_ && redis_.is_ready()) {
    if (!groups_made_ && clocks.now_ns >= groups_at_ns_) make_groups();
    if (!waiting_.empty()) retry_waiting();
    if (clocks.now_ns >= tell_at_ns_) tell_ends();
    renew();
    if (revokes_ != nullptr && revokes_->any() && clocks.now_ns >= revokes_at_ns_) look_for_revokes();
    if (!draining_) {
      if (groups_made_ && clocks.now_ns >= reclaim_at_ns_) reclaim();
      if (clocks.now_ns >= promote_at_ns_) promote();
    }
  }
  read(clocks);
  forget_orphans();
  return !tasks_.empty();
}

}  // namespace stem::federation
