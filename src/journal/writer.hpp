// The journal's writer: compares the slab with what the journal last said, and writes the difference. One per
// journal (WriterLock). Everything it knows is rebuilt from the files and the slab, so a takeover loses nothing;
// docs/journal.md argues it.
//
// Not thread-safe; driven by its owner: open() once, then step() again and again, and rest() in between.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "engine/engine.hpp"
#include "journal/image.hpp"
#include "journal/live_set.hpp"
#include "journal/log.hpp"
#include "journal/schedules.hpp"
#include "journal/shadow.hpp"

namespace stem::journal {

struct WriterOptions {
  std::uint64_t file_bytes = 64u << 20;
  std::int64_t commit_interval_ns = 5'000'000;  // how long a record of `journal` may wait for company
  // Whether another segment, of this epoch, is in use. Empty: none is.
  std::function<bool(std::uint32_t epoch)> lives = {};
};

// What open() found.
struct Opened {
  std::uint64_t batches = 0;
  std::uint64_t torn_tails = 0;
  std::uint64_t restored = 0;  // tasks of segments that are gone
  std::uint64_t gave_way = 0;  // of these, not restored: a newer task has their unique key
  std::uint64_t results = 0;   // of tasks that were over
  std::uint64_t schedules = 0;
};

class Writer {
 public:
  // Both outlive it.
  Writer(engine::Engine& engine, Store& store, const WriterOptions& options);
  ~Writer();  // resigns
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Reads the journal and brings back what the segment does not have. kCorrupt, with the place, when it is damaged;
  // kRefused when it is another segment's, and that is in use.
  Result<Opened> open();
  // Writes what is due. An error says that the journal takes nothing now; it tries again by itself.
  Result<void> step(std::int64_t now_ns);
  // Sleeps until there is something to do, at most a tenth of a second.
  void rest(std::int64_t now_ns) noexcept;

  bool takes_work() const noexcept { return !broken_ && !rebuilding_; }
  std::uint64_t written_bytes() const noexcept { return log_ ? log_->written_bytes() : 0; }
  std::uint64_t files() const noexcept { return files_.size(); }

 private:
  // A task that is over. Its end is written once all marks have been looked at that were there when it was seen: among
  // them are those of the tasks that it enqueued. They are, when a look that began after that one is over.
  struct End {
    TaskKey key;
    std::uint64_t seen;       // in which look
    bool result = false;      // it is over, and its result is kept
    std::uint32_t items = 0;  // not all of it is over, but these items of a run
  };
  // A batch and what becomes true with it.
  struct Load {
    Batch batch;
    std::vector<std::uint32_t> images;  // slots
    std::vector<End> ends;
    std::uint64_t position = 0;  // what was marked before that look is in it, or before
    std::uint64_t frees = 0;     // file that is not needed any more; 0 = none
    bool ends_scan = false;      // with it every slot has been looked at
    void clear() {
      batch.clear();
      images.clear();
      ends.clear();
      frees = 0;
      ends_scan = false;
    }
  };

  // ---- restoring (restore.cpp)
  Result<void> settle_waiting(const Epoch* own);
  Result<void> restore_epoch(std::uint32_t id, const Epoch& epoch, bool dead, Opened& opened);
  class EnqueueTimes;
  Result<void> restore_run(TaskKey old, const Epoch& epoch, const Life& life, EnqueueTimes& times, Opened& opened);
  Result<void> restore_one(engine::TaskId old, const Epoch& epoch, const TaskImage& image, EnqueueTimes& times,
                           Opened& opened);
  Result<void> commit_restored();
  void expect_what_was_said(const LiveSet& live);
  Result<void> restore_schedules(const LiveSet& live, Opened& opened);

  // ---- looking
  void collect(std::int64_t now_ns);
  void look_at_marks();
  bool sweep();
  void patrol(std::int64_t now_ns);
  void scan();
  void begin_scan() noexcept;
  void compact();
  bool look(std::uint32_t slot, bool again = false);
  bool say(std::uint32_t slot, shm::ControlWord word, bool whole);
  bool say_run(std::uint32_t slot, shm::ControlWord word, bool whole);
  std::uint32_t items_over(std::uint32_t slot, shm::ControlWord word);
  void say_names();
  void say_queues();
  bool say_schedules();
  void end(std::uint32_t slot);
  void end_with_result(std::uint32_t slot, shm::ControlWord word, const Said& said);
  void say_end(Load& load, const End& end);
  bool has_ended(const End& end) const noexcept { return position_ > end.seen; }

  // ---- writing
  bool due(std::int64_t now_ns) const noexcept;
  Result<void> launch(std::int64_t now_ns);
  Result<void> land(std::int64_t now_ns);
  Result<void> start(Load& load);
  Result<void> begin_file();
  bool is_enough() const noexcept;
  Error fail(Error error, std::int64_t now_ns);
  void load_is_on_disk(Load& load);
  void tell();
  bool is_awaited() const noexcept;
  std::uint64_t full_bytes() const noexcept;
  void publish_idle();
  bool room() const noexcept { return filling_->batch.bytes() < batch_bytes_; }
  std::uint32_t slots_used() const noexcept;

  engine::Engine& engine_;
  shm::Segment& segment_;
  Store& store_;
  WriterOptions options_;
  std::uint64_t most_batch_bytes_;
  std::uint64_t batch_bytes_;                              // then it is full; what is in haste goes sooner
  std::uint32_t marks_looked_at_ = 0, marks_in_vain_ = 0;  // in this step; of these, without a record
  shm::JournalMarks marks_;
  ClockShift clock_;
  std::optional<Log> log_;
  Shadow shadow_;
  std::deque<std::uint64_t> files_;   // oldest first
  std::uint64_t prepared_after_ = 0;  // file; the next one is being made already

  std::unique_ptr<Load> filling_, flying_;
  bool in_flight_ = false;
  std::deque<End> ends_;
  // Looks at all marks are numbered, through all writers of a segment (Header::journal_looks).
  std::uint64_t looks_ = 0;         // begun
  std::uint64_t position_ = 0;      // over
  bool looking_ = false;            // between the two
  bool one_was_changing_ = false;   // all the time that this look was at it; it is marked again
  bool looking_at_copies_ = false;  // of a run's items
  std::uint32_t mark_line_ = 0;
  std::vector<std::uint32_t> marked_;  // slots of the line before that one
  std::size_t marked_next_ = 0;
  std::uint64_t published_ = 0;
  bool to_tell_ = false;  // it has moved, and nobody has been told
  std::int64_t filling_since_ns_ = 0;
  std::int64_t landed_ns_ = 0;
  bool sealed_ = true;

  bool scanning_ = false;    // every slot is being looked at
  bool held_ = false;        // until that is on disk, nothing is published
  bool rebuilding_ = false;  // until then, nothing is taken either
  bool broken_ = false;      // a write failed
  // Looks up to this one belong to the last scan: until the ends that it saw are written, no file goes. It says runs
  // again without the items that an older file says are over (after a failed write), and results anew.
  std::uint64_t scanned_ = 0;
  std::int64_t retry_ns_ = 0;
  std::uint32_t scan_cursor_ = 0;
  std::uint32_t patrol_cursor_ = 0;
  std::int64_t patrolled_ns_ = 0;
  std::uint64_t compacting_ = 0;  // file; 0 = none
  std::uint32_t compact_cursor_ = 0;
  std::uint32_t queues_said_ = 0, tasks_said_ = 0;
  std::vector<std::optional<engine::QueueSettings>> settings_said_;  // empty = not known
  Schedules schedules_;
  std::vector<std::pair<std::uint32_t, shm::ControlWord>> restored_;  // waiting for their batch
};

// Gives the queues of a segment that this journal has never met the settings that it remembers; those that somebody has
// set anew are left alone.
void restore_queues(shm::Segment& segment, const LiveSet& live);

}  // namespace stem::journal
