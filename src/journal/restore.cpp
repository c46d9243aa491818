// What the writer does first: read what there is, and bring back what the segment does not have.
#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "engine/control.hpp"
#include "engine/failure_record.hpp"
#include "engine/former.hpp"
#include "engine/links.hpp"
#include "journal/writer.hpp"
#include "shm/names.hpp"

namespace stem::journal {

using shm::ControlWord;
using shm::State;

namespace {

std::optional<std::uint32_t> number_in(const std::unordered_map<std::uint32_t, std::string>& names, std::uint32_t old,
                                       Result<std::uint32_t> (*intern)(shm::Segment&, std::string_view),
                                       shm::Segment& segment) {
  const auto name = names.find(old);
  if (name == names.end() || name->second.empty()) return std::nullopt;
  const auto number = intern(segment, name->second);
  return number.ok() ? std::optional(*number) : std::nullopt;
}

}  // namespace

// When restored tasks were enqueued, as the segment is to have it: each later than the one before, so that those of one
// time (items of a run, a batch) keep this order whoever restores them next; and none in the future, where the clock is
// behind what it was.
class Writer::EnqueueTimes {
 public:
  // There will be at most so many.
  EnqueueTimes(std::int64_t now_ns, std::uint64_t most) : end_ns_(now_ns - static_cast<std::int64_t>(most)) {}
  std::int64_t next(std::int64_t enqueued_ns) {
    return last_ns_ = std::min(std::max(enqueued_ns, last_ns_ + 1), ++end_ns_);
  }

 private:
  std::int64_t last_ns_ = INT64_MIN;
  std::int64_t end_ns_;  // of the next one: room is left for those behind it
};

Result<Opened> Writer::open() {
  shm::Header& h = segment_.header();
  // The last sign of a writer before us stands: producers wait for us as long as they would have for him.
  h.journal_writer.store(engine_.self().incarnation() << 12 | engine_.self().owner(), std::memory_order_release);
  if (!shm::commit_journal_marks(segment_))
    return Error{Errc::kNoMemory, "no room in /dev/shm for the journal's marks"};
  clock_.follow();
  LiveSet live;
  std::vector<Contents> contents;
  auto read = read_journal(
      store_, OnDamage::kStop, [&](const Record& record) { return live.apply(record); }, &contents);
  if (!read.ok() || !read->damage.empty())
    restore_queues(segment_, live);  // they refuse, rather than forget what they promised
  if (!read.ok()) return read.error();
  if (!read->damage.empty())
    return Error{Errc::kCorrupt,
                 describe(read->damage.front()) + "; `stem journal repair --dry-run` says what can be saved"};
  for (const auto& [id, epoch] : live.epochs())
    if (id != segment_.epoch() && options_.lives && options_.lives(id))
      return Error{Errc::kRefused,
                   fmt::format("another segment ({:08x}) that is in use keeps its journal here; give each "
                               "its own STEM_JOURNAL_DIRECTORY",
                               id)};
  (void)store_.remove(std::string(kSpareName) + kUnfinishedSuffix);  // of a writer that was killed
  log_.emplace(store_, options_.file_bytes, read->last);
  files_.clear();
  Opened opened;
  opened.torn_tails = read->torn_tails();
  for (const FileReport& file : read->files) {
    files_.push_back(file.sequence);
    opened.batches += file.batches;
  }
  const auto own = live.epochs().find(segment_.epoch());
  const Epoch* own_epoch = own == live.epochs().end() ? nullptr : &own->second;
  if (own_epoch == nullptr) {
    restore_queues(segment_, live);
    if (auto back = restore_schedules(live, opened); !back.ok()) return back.error();
  }
  expect_what_was_said(live);
  if (auto settled = settle_waiting(own_epoch); !settled.ok()) return settled.error();
  live.fold_moved_items();               // not before: of our own runs the journal has still to say it
  for (const bool dead : {true, false})  // a dead letter must not find its unique key with the living
    for (const auto& [id, epoch] : live.epochs()) {
      if (id == segment_.epoch()) continue;
      if (auto restored = restore_epoch(id, epoch, dead, opened); !restored.ok()) return restored.error();
    }
  looks_ = position_ = h.journal_looks.load(std::memory_order_acquire);
  published_ = h.journal_durable.load(std::memory_order_acquire);
  begin_scan();
  rebuilding_ = true;
  return opened;
}

// A segment that this journal has never met is a new one: its queues are as they were, unless somebody has set them
// anew.
void restore_queues(shm::Segment& segment, const LiveSet& live) {
  // Once: what somebody has put back to the default since is his word, too. (Release, below: after all that it speaks of.)
  if (segment.header().journal_met.load(std::memory_order_acquire) != 0) return;
  for (const auto& [name, settings] : live.queues()) {
    if (settings == engine::QueueSettings{}) continue;
    const auto queue = shm::intern_queue(segment, name);
    if (!queue.ok()) log::error("journal", {{"queue", name}, {"error", queue.error().message}});
    if (!queue.ok() || engine::settings_of(segment, *queue) != engine::QueueSettings{}) continue;
    if (!engine::apply_settings(segment, *queue, settings))
      log::error("journal", {{"queue", name}, {"error", "no room in /dev/shm for the journal's marks"}});
  }
  segment.header().journal_met.store(1, std::memory_order_release);
}

// An entry that this program cannot read is not worth all the others.
Result<void> Writer::restore_schedules(const LiveSet& live, Opened& opened) {
  beat::ScheduleStore store(engine_);
  for (const auto& [id, schedule] : live.schedules()) {
    if (schedule.definition.empty()) continue;
    const auto back = store.restore(schedule.definition, schedule.fired_ns);
    if (back.ok())
      opened.schedules += *back == beat::Change::kNone ? 0 : 1;
    else if (back.error().code != Errc::kNoMemory)
      log::error("journal", {{"schedule", id}, {"error", back.error().message}});
    else
      return back.error();
  }
  return {};
}

// What the journal says of queues and schedules: what differs from it is said.
void Writer::expect_what_was_said(const LiveSet& live) {
  settings_said_.assign(shm::queue_total(segment_), engine::QueueSettings{});
  for (std::uint32_t queue = 0; queue < settings_said_.size(); ++queue)
    if (const auto said = live.queues().find(std::string(shm::queue_name(segment_, queue)));
        said != live.queues().end())
      settings_said_[queue] = said->second;
  std::set<std::string> ids;
  for (const auto& [id, schedule] : live.schedules()) {
    if (schedule.definition.empty()) continue;
    if (beat::ScheduleStore::makes_sense(schedule.definition))
      ids.insert(id);
    else
      schedules_.keep(id, schedule.definition, schedule.fired_ns);
  }
  schedules_.expect(std::move(ids));
}

// What the journal knows of this segment's own tasks; and the tasks that a writer before us was restoring when it was
// killed: those that the journal knows are let go, in the order in which they were enqueued, the others never were.
Result<void> Writer::settle_waiting(const Epoch* own) {
  const std::int64_t now = base::monotonic_ns();
  if (own != nullptr) {
    for (const Life& life : own->lives) {
      if (!life.alive() || life.slot >= shadow_.size()) continue;
      const std::uint32_t stamp = life.run ? life.items_over : life.over ? Said::kResult : Said::kNothing;
      shadow_.image(life.slot, life.began, stamp, life.image.size() + sizeof(RecordHeader), life.sequence);
      if (life.run) shadow_.items(life.slot, life.items_over);
    }
  }
  // When it was enqueued; no two that one writer restored were at one time. Read once: others may write there.
  using Age = std::tuple<std::int64_t, std::uint32_t, std::uint32_t, std::uint32_t>;
  std::vector<std::tuple<Age, std::uint32_t, ControlWord>> known;
  for (std::uint32_t slot = 0; slot < slots_used(); ++slot) {
    const shm::Descriptor& d = segment_.descriptor(slot);
    const ControlWord word = d.control.load();
    if (!engine_.is_restored(slot, word)) continue;
    if (shadow_.of(slot).generation == word.generation()) {
      const engine::TaskId last = engine::former_ids(segment_, slot, word.generation()).last;
      known.emplace_back(Age{d.enqueued_ns, last.epoch, last.slot(), last.item()}, slot, word);
    } else {
      engine_.drop_restored(slot, word);
    }
  }
  std::sort(known.begin(), known.end(),
            [](const auto& a, const auto& b) { return std::get<Age>(a) < std::get<Age>(b); });
  for (const auto& [age, slot, word] : known) (void)engine_.let_restored_go(slot, word, now);
  return {};
}

Result<void> Writer::restore_epoch(std::uint32_t id, const Epoch& epoch, bool dead, Opened& opened) {
  // In the order in which they were enqueued: the journal has those of one interval by their slots.
  std::vector<std::pair<std::int64_t, const Life*>> in_order;
  std::uint64_t most = 0;
  for (const Life& life : epoch.lives) {
    if (!life.alive() || (life.run && dead)) continue;
    in_order.emplace_back(enqueued_in(life.image, life.run), &life);
    most += life.run ? engine::kRunItems : 1;
  }
  std::sort(in_order.begin(), in_order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first, a.second->slot) < std::pair(b.first, b.second->slot);
  });
  EnqueueTimes times(base::monotonic_ns(), most);
  for (const auto& [enqueued_ns, lives] : in_order) {
    const Life& life = *lives;
    const TaskKey key{id, life.slot, life.began};
    if (life.run) {
      if (auto restored = restore_run(key, epoch, life, times, opened); !restored.ok()) return restored;
    } else {
      const auto image = read_task(life.image, life.state);
      if (!image) return Error{Errc::kCorrupt, "a task's record makes no sense in " + file_name(life.sequence)};
      if ((image->state.reason != 0) != dead) continue;
      const engine::TaskId old = engine::TaskId::make(id, life.slot, life.began);
      if (auto restored = restore_one(old, epoch, *image, times, opened); !restored.ok()) return restored;
    }
    append_end(filling_->batch, key);
    if (room()) continue;
    if (auto committed = commit_restored(); !committed.ok()) return committed;
  }
  return commit_restored();
}

// Its items become tasks of their own, all in one batch with its end.
Result<void> Writer::restore_run(TaskKey old, const Epoch& epoch, const Life& life, EnqueueTimes& times,
                                 Opened& opened) {
  const auto run = read_run(life.image);
  if (!run) return Error{Errc::kCorrupt, "a run's record makes no sense in " + file_name(life.sequence)};
  for (std::uint32_t item = 1; item <= run->head.count; ++item) {
    if ((life.items_over & engine::item_bit(item)) != 0) continue;
    const engine::TaskId id = engine::TaskId::make(old.epoch, old.slot, old.generation, item);
    if (auto restored = restore_one(id, epoch, run->item(item), times, opened); !restored.ok()) return restored;
  }
  return {};
}

Result<void> Writer::restore_one(engine::TaskId old, const Epoch& epoch, const TaskImage& image, EnqueueTimes& times,
                                 Opened& opened) {
  const std::int64_t now = base::monotonic_ns();
  const auto queue_of = [&](std::uint32_t n) { return number_in(epoch.queues, n, shm::intern_queue, segment_); };
  const auto task_of = [&](std::uint32_t n) { return number_in(epoch.tasks, n, shm::intern_task, segment_); };
  const auto queue = queue_of(image.head.queue);
  const auto task = task_of(image.head.task);
  if (!queue || !task) return Error{Errc::kCorrupt, "the journal has a task whose queue or name it does not know"};
  engine::TaskExtras extras = image.extras;
  std::string link = image.link, link_error = image.link_error;
  if (!engine::renumber_links(link, queue_of, task_of) || !engine::renumber_links(link_error, queue_of, task_of))
    return Error{Errc::kCorrupt, "the journal has a link that makes no sense"};
  extras.link = link;
  extras.link_error = link_error;
  extras.expires_ns = clock_.to_monotonic(extras.expires_ns);
  if (image.unique_until_ns != 0)
    extras.unique_for_ns = std::max<std::int64_t>(1, clock_.to_monotonic(image.unique_until_ns) - now);
  // A dead letter holds no key, and neither does a task whose time with it is over: they give way to nobody.
  const bool over = image.unique_until_ns != 0 && clock_.to_monotonic(image.unique_until_ns) <= now;
  if (over || image.state.reason != 0) extras.unique_key = 0;
  // Nor does an item that moved out: a journal from before may have written the engine's own key for it.
  if (image.former.first.item() != 0) extras.unique_key = 0;
  engine::RestoredTask back;
  back.spec.queue = *queue;
  back.spec.task = *task;
  back.spec.priority = image.head.priority;
  back.spec.max_retries = image.head.max_retries;
  back.spec.keep_result = (image.head.flags & kKeepResult) != 0;
  back.spec.auto_renew = (image.head.flags & kNoRenew) == 0;
  back.spec.in_place = (image.head.flags & kInPlace) != 0;
  back.spec.due_ns = std::max<std::int64_t>(0, clock_.to_monotonic(image.state.due_ns));
  back.spec.payload = image.payload;
  if ((image.head.flags & kHasExtras) != 0) back.spec.extras = &extras;
  if (image.over()) {
    back.outcome = static_cast<engine::OutcomeKind>(image.state.outcome);
    back.kept_until_ns = clock_.to_monotonic(image.state.due_ns);
    back.spec.payload = {};
    back.spec.due_ns = 0;
    if (back.kept_until_ns <= now) return {};
    if (back.outcome == engine::OutcomeKind::kSucceeded) back.result = image.payload;
  }
  back.tally = {image.state.attempts, image.state.deaths, image.state.releases, false};
  back.enqueued_ns = times.next(clock_.to_monotonic(image.head.enqueued_ns));
  engine::FailureRecord failure;
  const bool failed = image.over() && !image.failure_kind.empty();
  if (image.state.reason != 0 || failed) {
    failure = engine::make_failure_record({image.failure_kind, image.failure_message}, 0,
                                          clock_.to_monotonic(image.state.dead_ns), image.state.failure_attempts);
    if (!failed) failure.mark_dead(static_cast<engine::DeadReason>(image.state.reason), *task);
    (failed ? back.result : back.failure) = failure.bytes();
  }
  const engine::EnqueueResult made = engine_.restore(back, now);
  if (made.status != engine::EnqueueStatus::kOk && made.status != engine::EnqueueStatus::kDuplicate)
    return Error{Errc::kFull, std::string("the segment has no room for all that the journal keeps (") +
                                  engine::to_string(made.status) + "); make it with more slots"};
  if (made.status == engine::EnqueueStatus::kDuplicate) {
    ++opened.gave_way;
    log::warn("a newer task has the unique key of one in the journal", {{"newer", engine::to_string(made.id)}});
    return {};
  }
  ++(image.over() ? opened.results : opened.restored);
  const std::uint32_t slot = made.id.slot();
  const ControlWord waiting = segment_.descriptor(slot).control.load();
  if (!engine::remember_former(segment_, slot, waiting.generation(),
                               {image.former.first ? image.former.first : old, old}))
    return Error{Errc::kNoMemory, "no room in /dev/shm for the ids from before"};
  restored_.emplace_back(slot, waiting);
  say_names();
  const std::uint64_t before = filling_->batch.bytes();
  const bool said = image.over() ? append_result(filling_->batch, engine_, slot, waiting, clock_)
                                 : append_task(filling_->batch, engine_, slot, waiting,
                                               engine_.restored_state(slot, waiting, now), clock_);
  if (!said) return Error{Errc::kCorrupt, "a restored task was changed by somebody"};
  shadow_.image(slot, waiting.generation(), image.over() ? Said::kResult : Said::kNothing,
                filling_->batch.bytes() - before);
  filling_->images.push_back(slot);
  return {};
}

// One batch says that the new ones are there and the old ones are over. Killed before it is on disk, the next writer
// drops the new ones; after it, it lets them go.
Result<void> Writer::commit_restored() {
  if (filling_->batch.empty()) return {};
  if (auto started = start(*filling_); !started.ok()) return started;
  if (auto done = log_->finish(); !done.ok()) return done;
  filling_->clear();
  const std::int64_t now = base::monotonic_ns();
  for (const auto& [slot, waiting] : restored_) (void)engine_.let_restored_go(slot, waiting, now);
  restored_.clear();
  return {};
}

}  // namespace stem::journal
