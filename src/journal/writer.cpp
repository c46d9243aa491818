// Writing: when a batch goes to disk, and what is true once it is there. What goes into it: see look.cpp.
#include "journal/writer.hpp"

#include <algorithm>
#include <utility>

#include "base/clock.hpp"
#include "shm/names.hpp"

namespace stem::journal {
namespace {

constexpr std::int64_t kSealAfterNs = 10'000'000;
constexpr std::int64_t kRetryNs = 1'000'000'000;
constexpr std::int64_t kLongestRestNs = 50'000'000;
constexpr std::uint64_t kLeastBatchBytes = 256u << 10;
constexpr std::uint64_t kMostBatchBytes = 1u << 20;
constexpr std::uint64_t kBatchesPerFile = 64;  // so that little of a file is left at its end
constexpr std::uint32_t kInVain = 8;           // one of so many

}  // namespace

Writer::Writer(engine::Engine& engine, Store& store, const WriterOptions& options)
    : engine_(engine),
      segment_(engine.segment()),
      store_(store),
      options_(options),
      most_batch_bytes_(std::clamp(options.file_bytes / kBatchesPerFile, kLeastBatchBytes, kMostBatchBytes)),
      batch_bytes_(kLeastBatchBytes),
      marks_(segment_),
      shadow_(segment_.geometry().slot_count),
      filling_(std::make_unique<Load>()),
      flying_(std::make_unique<Load>()),
      schedules_(engine) {}

Writer::~Writer() {
  shm::Header& h = segment_.header();
  std::uint64_t mine = engine_.self().incarnation() << 12 | engine_.self().owner();
  if (!h.journal_writer.compare_exchange_strong(mine, 0, std::memory_order_acq_rel)) return;
  h.journal_alive_ns.store(0, std::memory_order_release);
}

std::uint32_t Writer::slots_used() const noexcept { return segment_.slots_used(); }

Result<void> Writer::step(std::int64_t now_ns) {
  engine_.self().beat();
  clock_.follow();
  if (broken_) {
    if (now_ns < retry_ns_) return {};
    broken_ = false;
  }
  batch_bytes_ = full_bytes();
  marks_looked_at_ = marks_in_vain_ = 0;
  collect(now_ns);  // also while a batch is on its way
  if (in_flight_) {
    if (auto landed = land(now_ns); !landed.ok()) return landed;
    collect(now_ns);  // what came while we waited for the disk goes with the next
  }
  Result<void> launched;
  if (due(now_ns)) launched = launch(now_ns);
  // The next write is on its way while those who waited for the last one are woken: that takes as long.
  tell();
  if (!launched.ok()) return launched;
  publish_idle();
  if (takes_work()) segment_.header().journal_alive_ns.store(now_ns, std::memory_order_release);
  return {};
}

// A write costs a tenth of a millisecond and more, whatever its size. So where producers wait for the disk it takes more
// at once; but not where tasks are being run: those that are over before they are looked at need no record at all.
std::uint64_t Writer::full_bytes() const noexcept {
  const bool are_run = !ends_.empty() || marks_in_vain_ > marks_looked_at_ / kInVain;
  return is_awaited() && !are_run ? most_batch_bytes_ : kLeastBatchBytes;
}

// Decision list: reasons to wait, in order; the last writes.
bool Writer::due(std::int64_t now_ns) const noexcept {
  const bool ends_ready = !ends_.empty() && !scanning_ && has_ended(ends_.front());
  if (filling_->batch.empty() && !ends_ready && !filling_->ends_scan && filling_->frees == 0)
    return !sealed_ && now_ns - landed_ns_ >= kSealAfterNs;  // what was written last must not look like a torn tail
  if (!room() || rebuilding_ || filling_->ends_scan) return true;
  if (is_awaited()) return true;
  return now_ns - filling_since_ns_ >= options_.commit_interval_ns;
}

Result<void> Writer::launch(std::int64_t now_ns) {
  Load& load = *filling_;
  // No more than a batch of them, behind what is there: a purge of millions must fit into a file.
  while (!scanning_ && !ends_.empty() && load.batch.bytes() < 2 * batch_bytes_ && has_ended(ends_.front())) {
    say_end(load, ends_.front());
    load.ends.push_back(ends_.front());
    ends_.pop_front();
  }
  // An end that is not written yet was marked before the look that saw it.
  load.position = position_;
  if (!ends_.empty() && ends_.front().seen <= position_)
    load.position = std::max(published_, std::max<std::uint64_t>(ends_.front().seen, 1) - 1);
  sealed_ = load.batch.empty();
  if (auto started = start(load); !started.ok()) return fail(started.error(), now_ns);
  std::swap(filling_, flying_);
  filling_->clear();
  filling_since_ns_ = now_ns;
  in_flight_ = true;
  return {};
}

Result<void> Writer::start(Load& load) {
  if (!log_->fits(load.batch.bytes())) {
    tell();  // a new file may take seconds, and nobody waits for it who is on disk already
    if (auto begun = begin_file(); !begun.ok()) return begun;
  }
  if (auto started = log_->start(load.batch); !started.ok()) return started;
  // The next file is made while this one is filled, unless an older one becomes spare.
  if (prepared_after_ != log_->sequence() && !is_enough() && log_->filled() >= options_.file_bytes / 4) {
    prepared_after_ = log_->sequence();
    store_.prepare(kSpareName, options_.file_bytes);
  }
  for (const std::uint32_t slot : load.images) shadow_.written(slot, log_->sequence());
  schedules_.written(log_->sequence());
  return {};
}

// Files hold more than twice what is alive: no more are needed.
bool Writer::is_enough() const noexcept {
  return files_.size() * options_.file_bytes > 2 * shadow_.live_bytes() + 3 * options_.file_bytes;
}

// A file stands by itself: it begins with the names of all numbers that its records use.
Result<void> Writer::begin_file() {
  if (auto turned = log_->turn_over(); !turned.ok()) return turned;
  while (files_.empty() || files_.back() < log_->sequence())
    files_.push_back(files_.empty() ? log_->sequence() : files_.back() + 1);
  Batch first;
  append_names(first, segment_, NameKind::kQueue, 0, shm::queue_total(segment_));
  append_names(first, segment_, NameKind::kTask, 0, shm::task_total(segment_));
  for (std::uint32_t queue = 0; queue < shm::queue_total(segment_); ++queue)
    if (const engine::QueueSettings settings = engine::settings_of(segment_, queue);
        settings != engine::QueueSettings{})
      append_settings(first, shm::queue_name(segment_, queue), settings);
  if (first.empty()) return {};
  if (auto started = log_->start(first); !started.ok()) return started;
  return log_->finish();
}

Result<void> Writer::land(std::int64_t now_ns) {
  if (auto done = log_->finish(); !done.ok()) return fail(done.error(), now_ns);
  in_flight_ = false;
  landed_ns_ = now_ns;
  load_is_on_disk(*flying_);
  return {};
}

void Writer::load_is_on_disk(Load& load) {
  if (load.ends_scan && !scanning_) held_ = rebuilding_ = false;
  if (!held_) {
    published_ = load.position;
    to_tell_ = true;
  }
  if (load.frees != 0 && !files_.empty() && files_.front() == load.frees) {
    tell();  // names may take as long
    // One that cannot be removed only takes room; it is tried again with the next.
    if (log_->recycle(load.frees).ok()) files_.pop_front();
    compacting_ = 0;
  }
}

void Writer::tell() {
  if (std::exchange(to_tell_, false)) shm::publish_journal(segment_, published_);
}

// Somebody waits for what has not been published.
bool Writer::is_awaited() const noexcept {
  const std::uint64_t awaited = segment_.header().journal_awaited.load(std::memory_order_seq_cst);
  return awaited != 0 && static_cast<std::int64_t>(awaited - published_) > 0;
}

// What has been looked at and needed no record is as good as on disk, once what was before it is.
void Writer::publish_idle() {
  if (in_flight_ || held_ || broken_ || !filling_->batch.empty() || !ends_.empty()) return;
  const bool awaited = segment_.header().journal_awaited.load(std::memory_order_seq_cst) != 0;
  if (position_ == published_ && !awaited) return;
  published_ = position_;
  shm::publish_journal(segment_, published_);
}

// The file is given up. What was on its way is not known to be on disk, and is not worth knowing: everything that is
// alive is in memory, and is written again, to another file.
Error Writer::fail(Error error, std::int64_t now_ns) {
  tell();  // what landed before is on disk, and must not be refused for this
  segment_.header().journal_alive_ns.store(0, std::memory_order_release);
  ends_.insert(ends_.begin(), filling_->ends.begin(), filling_->ends.end());
  if (in_flight_) ends_.insert(ends_.begin(), flying_->ends.begin(), flying_->ends.end());  // the older ones
  filling_->clear();
  in_flight_ = false;
  shadow_.doubt_all();
  std::fill(settings_said_.begin(), settings_said_.end(), std::nullopt);
  schedules_.doubt();
  compacting_ = 0;
  begin_scan();
  rebuilding_ = true;
  broken_ = true;
  retry_ns_ = now_ns + kRetryNs;
  return error.within("the journal takes no more");
}

void Writer::rest(std::int64_t now_ns) noexcept {
  if (broken_) return shm::rest_journal(engine_.self(), marks_, shm::JournalRest::kAwake, kLongestRestNs);
  if (in_flight_ || scanning_ || looking_) return;
  const bool filled = !filling_->batch.empty() || !ends_.empty();
  if (!filled && sealed_)
    return shm::rest_journal(engine_.self(), marks_, shm::JournalRest::kUntilWork, kLongestRestNs);
  const std::int64_t until = filled ? filling_since_ns_ + options_.commit_interval_ns : landed_ns_ + kSealAfterNs;
  const std::int64_t left = std::min(until - now_ns, kLongestRestNs);
  if (left > 0)
    shm::rest_journal(engine_.self(), marks_, filled ? shm::JournalRest::kUntilCommit : shm::JournalRest::kUntilWork,
                      left);
}

}  // namespace stem::journal
