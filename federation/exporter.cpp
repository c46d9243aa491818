#include "federation/exporter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.hpp"
#include "federation/limit_scripts.hpp"
#include "federation/local_workers.hpp"
#include "federation/records.hpp"
#include "shm/names.hpp"

namespace stem::federation {
namespace {

constexpr std::uint32_t kAtOnce = 64;
constexpr std::int64_t kStandAsideNs = 5'000'000;
constexpr std::int64_t kRefusedPauseNs = 200'000'000;
constexpr std::int64_t kLookAgainNs = 2'000'000;
constexpr std::size_t kConfirmedKept = 16'384;
constexpr std::int64_t kReachableNs = 2'000'000'000;  // unique keys can be asked for, after we last knew it
constexpr std::int64_t kAnswerNs = 1'000'000'000;     // without an answer for that long, they cannot
constexpr std::int64_t kRefusedKeysNs = 5'000'000'000;
constexpr std::int64_t kReplicasNs = 1'000'000'000;
constexpr std::string_view kReplicasMs = "1000";
constexpr std::int64_t kUniqueMostNs = 86'400'000'000'000;

// For how long it has a unique key that all hosts know; 0 = it has none.
std::int64_t unique_left_ns(const engine::TaskView& task, std::int64_t now_ns) {
  const engine::TaskExtras& extras = task.extras;
  if (!task.has_extras || extras.unique_key == 0 || !extras.unique_everywhere) return 0;
  if (extras.unique_for_ns == 0) return kUniqueMostNs;  // while it lives
  return std::clamp<std::int64_t>(extras.unique_for_ns - now_ns, 0, kUniqueMostNs);
}

}  // namespace

Exporter::Exporter(engine::Engine& engine, Redis& redis, const Keys& keys, const Transcript& transcript,
                   std::uint32_t queue, Options options)
    : engine_(engine),
      outbox_(engine),
      keys_here_(engine),
      redis_(redis),
      keys_(keys),
      transcript_(transcript),
      queue_(queue),
      options_(std::move(options)),
      parcels_(kAtOnce) {
  if (options_.policy == Policy::kLocalOnly) {
    options_.window = 0;
    options_.unique_keys = UniqueKeys::kOfHost;
  }
  if (options_.unique_keys == UniqueKeys::kOfHost)
    keys_here_.keep(queue_);
  else
    keys_here_.begin_sharing(queue_, options_.unique_keys == UniqueKeys::kFailClosed);
}

// Workers here leave unique tasks to us for as long as Redis takes them.
void Exporter::share_keys(std::int64_t now_ns) {
  if (options_.unique_keys == UniqueKeys::kOfHost || options_.window == 0 || now_ns < keys_again_ns_) return;
  // A window that stays full takes no task: one that is named to us then would only be put off and named again.
  if (may_send(now_ns)) could_send_ns_ = now_ns;
  if (now_ns >= could_send_ns_ + kAnswerNs) return;
  const bool answers = sent_ == 0 || now_ns < unanswered_since_ns_ + kAnswerNs;
  if (redis_.is_ready() && fenced_ && answers)
    keys_here_.share(queue_, now_ns + kReachableNs, options_.unique_keys == UniqueKeys::kFailClosed);
}

void Exporter::take_asked(const engine::Parcel& parcel, const Clocks& clocks) {
  clocks_ = clocks;
  begin(parcel, clocks);
}

void Exporter::adopt(const engine::Parcel& parcel, const Clocks& clocks) {
  engine::TaskView view;
  if (!outbox_.view(parcel, view)) return;
  // What the one before us did with it we cannot know: as after a lost answer.
  const Task task = make(parcel, view, Stage::kUncertain, clocks);
  if (tasks_.try_emplace(wire_id(transcript_.host(), view.id), task).second) ++uncertain_;
}

Exporter::Task Exporter::make(const engine::Parcel& parcel, const engine::TaskView& view, Stage stage,
                              const Clocks& clocks) const {
  Task task;
  task.parcel = parcel;
  task.enqueued_us = clocks.wall_us(view.enqueued_ns);
  task.lane = std::clamp<int>(view.priority, 0, kLanes - 1);
  task.wanted = options_.hold == Hold::kUntilDone || engine::Outbox::is_awaited(view);
  task.stage = stage;
  return task;
}

void Exporter::on_ready(const Clocks& clocks) {
  clocks_ = clocks;
  fenced_ = true;
  touched_ = false;
  if (uncertain_ > 0 && reading_back_ == 0) recover();
  look_back();
  for (auto& [id, task] : tasks_) task.look_ns = 0;  // Redis may have lost them meanwhile
}

void Exporter::on_lost() {
  if (options_.replicas == 0) confirm_written();
  fenced_ = waiting_ = false;
  for (Entry* entry : written_) entry->second.stage = Stage::kUncertain;
  uncertain_ += written_.size();
  written_.clear();
}

std::uint64_t Exporter::may_leave() const {
  if (options_.window == 0) return 0;
  if (options_.policy == Policy::kGlobal) return ~0ull;
  const std::uint64_t room = local_room();
  const std::uint64_t queued = engine_.lanes().queued(queue_);
  return queued > room ? queued - room : 0;
}

std::uint64_t Exporter::local_room() const {
  return std::uint64_t{local_workers(engine_.segment(), queue_)} * options_.prefetch_multiplier;
}

bool Exporter::step(const Clocks& clocks) {
  clocks_ = clocks;
  if (options_.replicas == 0) confirm_written();
  share_keys(clocks.now_ns);
  if (clocks.now_ns >= wishes_at_ns_) look_for_wishes();
  if (!redis_.is_ready() || !fenced_) return bring_home(clocks);
  if (!wished_.empty()) tell_revokes();
  if (uncertain_ > 0 && reading_back_ == 0 && clocks.now_ns >= recover_at_ns_) recover();
  if (refused_) pause_until_ns_ = clocks.now_ns + kRefusedPauseNs;
  refused_ = false;
  if (clocks.now_ns < pause_until_ns_) return bring_home(clocks);
  while (!to_send_.empty()) {
    const auto entry = tasks_.find(to_send_.front());
    to_send_.pop_front();
    if (entry == tasks_.end() || entry->second.stage != Stage::kToSend) continue;
    engine::TaskView view;
    if (!outbox_.view(entry->second.parcel, view))
      tasks_.erase(entry);  // quarantined, or another's by now
    else if (!send(*entry, view, clocks))
      return false;  // no room: it is in front again
  }
  const std::size_t before = sent_;
  take(clocks);
  wait_for_replicas();
  ask_results(clocks);
  return sent_ != before;
}

// While Redis takes nothing, workers here get back what they have room for and Redis has never seen. Always false.
bool Exporter::bring_home(const Clocks& clocks) {
  if (options_.policy != Policy::kLocalFirst || to_send_.empty()) return false;
  const std::uint64_t room = local_room();
  std::uint64_t queued = engine_.lanes().queued(queue_);
  while (!to_send_.empty() && queued < room) {
    const auto entry = tasks_.find(to_send_.front());
    to_send_.pop_front();
    if (entry == tasks_.end() || entry->second.stage != Stage::kToSend) continue;
    (void)outbox_.give_back(entry->second.parcel, clocks.now_ns);
    tasks_.erase(entry);
    ++queued;
  }
  return false;
}

void Exporter::take(const Clocks& clocks) {
  if (!engine_.has_hint(queue_)) return;
  std::uint64_t budget = may_leave();
  while (budget > 0 && sent_ + uncertain_ + to_send_.size() < options_.window) {
    const auto most = static_cast<std::uint32_t>(std::min<std::uint64_t>(budget, kAtOnce));
    imported_.clear();
    const std::uint32_t n = outbox_.take(queue_, parcels_.data(), most, imported_, clocks.now_ns);
    const bool nobody_here = !imported_.empty() && local_room() == 0;
    for (const engine::Lease& lease : imported_) {
      // It goes back to the cluster when nobody here can run it; otherwise it only stands aside for a moment.
      if (give_back_ && nobody_here)
        give_back_(lease);
      else
        outbox_.put_off(lease, clocks.now_ns + kStandAsideNs);
    }
    for (std::uint32_t i = 0; i < n; ++i)
      if (!begin(parcels_[i], clocks)) budget = 0;
    budget -= std::min<std::uint64_t>(budget, n);
    if (n == 0) look_again_ns_ = clocks.now_ns + kLookAgainNs;  // imported ones, or hints of what is gone
    if (n < most) return;
  }
}

// Sends a task that was taken; false when there is no room for more.
bool Exporter::begin(const engine::Parcel& parcel, const Clocks& clocks) {
  engine::TaskView view;
  if (!outbox_.view(parcel, view)) return true;
  const Task task = make(parcel, view, Stage::kToSend, clocks);
  const auto [entry, is_new] = tasks_.try_emplace(wire_id(transcript_.host(), view.id), task);
  return !is_new || send(*entry, view, clocks);
}

// False when there is no room for it. The entry may be gone afterwards.
bool Exporter::send(Entry& entry, const engine::TaskView& view, const Clocks& clocks) {
  Task& task = entry.second;
  if (cancel_here(entry)) return true;
  transcript_.write(view, !task.wanted, clocks, envelope_);
  if (options_.signer != nullptr) {
    if (const auto signed_ = options_.signer->sign(envelope_); !signed_)
      return end_unsigned(entry, signed_.error(), clocks);
  }
  const StreamFields fields(envelope_.view());
  const std::string key = keys_.stream(options_.queue, task.lane);
  std::string unique, ttl;
  const std::int64_t left_ns = unique_left_ns(view, clocks.now_ns);
  if (left_ns > 0) {
    unique = keys_.unique(options_.queue, fmt::format("{:016x}", view.extras.unique_key));
    ttl = fmt::to_string(left_ns / 1'000'000 + 1);
    argv_.assign({"EVAL", kAddUniqueScript, "2", key, unique, entry.first, ttl});
  } else {
    argv_.assign({"XADD", key, "*"});
  }
  fields.append_to(argv_);
  const Queued queued = redis_.command(std::span<const std::string_view>(argv_),
                                       [this, at = &entry](const Reply& reply) { on_added(*at, reply); });
  if (queued != Queued::kYes) {
    task.stage = Stage::kToSend;
    to_send_.push_front(entry.first);
    return false;
  }
  task.stage = Stage::kSent;
  touched_ = true;
  if (sent_++ == 0) unanswered_since_ns_ = clocks.now_ns;
  ++stats_.sent;
  return true;
}

// It cannot be signed, so every host would refuse it: it fails here. Always true.
bool Exporter::end_unsigned(Entry& entry, const Error& why, const Clocks& clocks) {
  log::warn("a task cannot be signed", {{"queue", options_.queue}, {"task", entry.first}, {"error", why.message}});
  const auto record = engine::make_failure_record({"signature-invalid", why.message}, 0, clocks.now_ns, 0);
  (void)outbox_.end(entry.second.parcel, engine::OutcomeKind::kFailed, record.bytes(), clocks.now_ns);
  tasks_.erase(entry.first);
  return true;
}

void Exporter::on_added(Entry& entry, const Reply& reply) {
  Task& task = entry.second;
  --sent_;
  unanswered_since_ns_ = clocks_.now_ns;
  if (reply.is_text()) {
    const EntryId id = parse_entry_id(reply.text).value_or(EntryId{});
    if (uncertain_ == 0) last_id_[task.lane] = std::max(last_id_[task.lane], id);
    return written(entry, id);
  }
  if (reply.is_array() && reply.elements.size() == 1) return end_duplicate(entry, reply.elements[0].text);
  if (reply.error == RedisError::kLost) {
    task.stage = Stage::kUncertain;
    ++uncertain_;
    return;
  }
  // Not carried out: it goes again, after a while when the server refused it.
  task.stage = Stage::kToSend;
  to_send_.push_back(entry.first);
  if (reply.error == RedisError::kNotSent || reply.error == RedisError::kMoved) return;
  if (reply.error == RedisError::kReadOnly) return redis_.drop("it became a replica");
  if (!refused_) log::warn("Redis refuses tasks", {{"queue", options_.queue}, {"error", reply.text}});
  refused_ = true;
  keys_again_ns_ = clocks_.now_ns + kRefusedKeysNs;
}

// Another task of the cluster has its unique key, and has not ended.
void Exporter::end_duplicate(Entry& entry, std::string_view holder) {
  const std::string why = fmt::format("task {:.64} has the unique key", holder);
  const auto record = engine::make_failure_record({"duplicate", why}, 0, clocks_.now_ns, 0);
  const auto end = [&](std::span<const std::byte> bytes) {
    return outbox_.end(entry.second.parcel, engine::OutcomeKind::kCancelled, bytes, clocks_.now_ns);
  };
  if (!end(record.bytes())) (void)end({});  // no room to say why
  ++stats_.duplicates;
  tasks_.erase(entry.first);
}

// The server has it.
void Exporter::written(Entry& entry, EntryId id) {
  entry.second.entry = id;
  entry.second.look_ns = clocks_.now_ns;
  entry.second.stage = Stage::kWritten;
  written_.push_back(&entry);
}

// Many together: what is read of the next ones comes meanwhile.
void Exporter::confirm_written() {
  constexpr std::size_t kAhead = 8;
  for (std::size_t i = 0; i < written_.size(); ++i) {
    if (i + 2 * kAhead < written_.size()) outbox_.fetch(written_[i + 2 * kAhead]->second.parcel.slot);
    if (i + kAhead < written_.size()) outbox_.fetch_block(written_[i + kAhead]->second.parcel.slot);
    confirm(*written_[i]);
  }
  written_.clear();
}

// Redis has it, as far as it must.
void Exporter::confirm(Entry& entry) {
  Task& task = entry.second;
  ++stats_.confirmed;
  // Whoever wishes it revoked waits for its end, too: the wish is with the task until it is over.
  if (task.wanted || outbox_.wish(task.parcel) != engine::Outbox::Wish::kNone) {
    task.stage = Stage::kAwaited;
    // Of one that was not awaited when it left there may never be more than its end.
    task.look_ns += task.wanted ? kLookAfterNs : kLookAfterNs / 30;
    awaited_.push_back(entry.first);
    ask_every_ns_ = 0;
    return;
  }
  std::deque<EntryId>& confirmed = confirmed_[task.lane];
  confirmed.push_back(task.entry);
  if (confirmed.size() > kConfirmedKept) confirmed.pop_front();
  (void)outbox_.hand_over(task.parcel);
  tasks_.erase(entry.first);
}

// One question for all that was written before it. WAIT speaks of what this connection wrote: after a new one, what
// was found written is older, so something is written behind it.
void Exporter::wait_for_replicas() {
  if (waiting_ || (written_.empty() && sent_ == 0) || options_.replicas == 0) return;
  if (!touched_) {
    const std::string key = keys_.stream(options_.queue, 0) + ":written";
    if (redis_.command({"SET", key, "1", "PX", "60000"}, [](const Reply&) {}) != Queued::kYes) return;
    touched_ = true;
  }
  const std::string count = fmt::to_string(options_.replicas);
  waiting_ = redis_.command(
                 {"WAIT", count, kReplicasMs}, [this](const Reply& reply) { on_replicas(reply); }, kReplicasNs) ==
             Queued::kYes;
}

// Replies come in order: what is written by now was written before the question.
void Exporter::on_replicas(const Reply& reply) {
  waiting_ = false;
  if (reply.is_integer() && reply.integer >= std::int64_t{options_.replicas}) {
    too_few_ = false;
    confirm_written();
    return;
  }
  if (reply.error == RedisError::kLost || reply.error == RedisError::kNotSent) return;
  if (!too_few_)
    log::warn("tasks stay here until enough replicas of Redis have them",
              {{"queue", options_.queue},
               {"wanted", options_.replicas},
               {"have", reply.is_integer() ? fmt::to_string(reply.integer) : std::string(reply.text)}});
  too_few_ = true;
}

void Exporter::leave() {
  if (options_.replicas == 0) confirm_written();
  for (const auto& [id, task] : tasks_) {
    if (task.stage == Stage::kToSend)
      (void)outbox_.give_back(task.parcel, clocks_.now_ns);  // Redis has never seen it
    else
      outbox_.leave(task.parcel);
  }
  tasks_.clear();
  to_send_.clear();
  awaited_.clear();
  asked_.clear();
  wished_.clear();
  written_.clear();
  sent_ = uncertain_ = 0;
}

}  // namespace stem::federation
