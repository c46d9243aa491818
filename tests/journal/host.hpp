// A segment with a durable queue, somebody who enqueues, somebody who works, and a writer: a host, as far as the journal
// is concerned. Another Host with the same store is that host after a reboot.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "engine/control.hpp"
#include "engine/query.hpp"
#include "journal/writer.hpp"
#include "shm/names.hpp"
#include "tests/journal/power_store.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::journal {

using engine::EnqueueStatus;
using engine::kSecondNs;
using engine::TaskExtras;
using engine::TaskId;
using engine::TaskSpec;

inline const WriterOptions kLargeFiles{.file_bytes = 1u << 20};
inline const WriterOptions kSmallFiles{.file_bytes = 256u << 10};

inline std::int64_t now() { return base::monotonic_ns(); }

class Host {
 public:
  explicit Host(int others = 0, shm::Durability durability = shm::Durability::kJournal)
      : segment(test::must_create(test::small_segment(directory))),
        producer(segment),
        worker(segment),
        writing(segment) {
    for (int i = 0; i < others; ++i) (void)test::must_queue(*segment, "other-" + std::to_string(i));
    queue = test::must_queue(*segment, "durable");
    task = test::must_task(*segment, "work");
    if (durability != shm::Durability::kMemory) {
      EXPECT_TRUE(engine::Control(*producer).set_durability(queue, durability));
    }
  }

  Result<Opened> open(Store& store, WriterOptions options = kSmallFiles) {
    writer.reset();
    writer = std::make_unique<Writer>(*writing, store, options);
    return writer->open();
  }
  void must_open(Store& store, WriterOptions options = kSmallFiles) {
    const auto opened = open(store, options);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    flush();
  }
  // Gets over the n-th write from now, which fails: one of those that restore, when `opening`, or of the later ones.
  void get_over(PowerStore& store, int n, PowerStore::Fault how, bool opening = false) {
    store.fail_write(n, how);
    for (int tries = 0; opening && !open(store, kLargeFiles).ok();) ASSERT_LT(++tries, 3);
    for (int i = 0; i < 20; ++i) (void)writer->step(now_ns += 600'000'000);
    store.fail_write(-1, PowerStore::Fault::kNone);
    flush();
  }
  // Until everything there is to say has been said, and is on disk.
  void flush() {
    for (int quiet = 0; quiet < 4;) {
      ASSERT_TRUE(writer->step(now_ns += 600'000'000).ok());
      const shm::Header& h = segment->header();
      const bool done = h.journal_durable.load() == h.journal_looks.load() && !shm::JournalMarks(*segment).any();
      quiet = done ? quiet + 1 : 0;
    }
  }

  // As if whoever made the changes had been killed before he could mark them.
  void forget_marks() const {
    shm::JournalMarks marks(*segment);
    shm::JournalMarks::Line line;
    for (std::uint32_t at = 0; marks.take(at, line); ++at) {
    }
  }

  template <class Change>
  TaskId put(std::uint64_t number, Change change) {
    test::Numbered n(queue, task, number);
    TaskExtras extras;
    n.spec.extras = &extras;
    change(n.spec, extras);
    const engine::EnqueueResult made = producer->enqueue(n.spec, now());
    EXPECT_EQ(made.status, EnqueueStatus::kOk) << engine::to_string(made.status);
    return made.id;
  }
  TaskId put(std::uint64_t number) {
    test::Numbered n(queue, task, number);
    const engine::EnqueueResult made = producer->enqueue(n.spec, now());
    EXPECT_EQ(made.status, EnqueueStatus::kOk) << engine::to_string(made.status);
    return made.id;
  }
  // Tasks first .. last, in runs.
  std::vector<TaskId> put_runs(std::uint64_t first, std::uint64_t last) {
    std::deque<test::Numbered> numbered;
    for (std::uint64_t n = first; n <= last; ++n) numbered.emplace_back(queue, task, n);
    std::vector<TaskSpec> specs;
    for (const auto& n : numbered) specs.push_back(n.spec);
    std::vector<TaskId> ids(specs.size());
    std::size_t done = 0;
    EXPECT_EQ(producer->enqueue_many(specs.data(), specs.size(), ids.data(), done, now()), EnqueueStatus::kOk);
    EXPECT_NE(ids[0].item(), 0u) << "a run";
    return ids;
  }
  // Claims one task; false when there is none.
  bool take(engine::Lease& lease, engine::TaskView& view) {
    return worker->claim(queue, &lease, 1, now()) == 1 && worker->view(lease, view) &&
           worker->begin(lease, view, now()) == engine::Begin::kStart;
  }
  // Runs everything that is ready; the numbers, in order.
  std::vector<std::uint64_t> drain() {
    std::vector<std::uint64_t> numbers;
    engine::Lease lease;
    engine::TaskView view;
    while (take(lease, view)) {
      numbers.push_back(test::number_of(view));
      EXPECT_EQ(worker->succeed(lease, view, {}, now()), engine::Settled::kDone);
    }
    return numbers;
  }
  // Numbers of all tasks of durable queues that are alive, in whatever state.
  std::multiset<std::uint64_t> alive() {
    std::multiset<std::uint64_t> numbers;
    for (std::uint32_t slot = 0; slot < segment->header().slab_used.load(); ++slot) {
      const shm::ControlWord word = segment->descriptor(slot).control.load();
      if (word.state() == shm::State::kFree || word.state() == shm::State::kAlloc) continue;
      const auto info = engine::Query(*producer).task(TaskId::make(segment->epoch(), slot, word.generation()));
      if (!info || info->payload.size() != 8) continue;
      std::uint64_t number = 0;
      std::memcpy(&number, info->payload.data(), sizeof number);
      numbers.insert(number);
    }
    return numbers;
  }

  test::ScratchDirectory directory;
  std::shared_ptr<shm::Segment> segment;
  test::Attached producer, worker, writing;
  std::uint32_t queue = 0, task = 0;
  std::unique_ptr<Writer> writer;
  std::int64_t now_ns = base::monotonic_ns();
};

}  // namespace stem::journal
