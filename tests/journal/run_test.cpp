// Runs in queues with a journal: fifteen tasks in a slot, a record for all of them, and what comes back are the tasks.
#include "engine/run.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <map>
#include <set>

#include "journal/image.hpp"
#include "journal/live_set.hpp"
#include "journal/rewrite.hpp"
#include "tests/journal/host.hpp"

namespace stem::journal {
namespace {

using Numbers = std::vector<std::uint64_t>;

Numbers numbers(std::uint64_t first, std::uint64_t last) {
  Numbers all;
  for (std::uint64_t n = first; n <= last; ++n) all.push_back(n);
  return all;
}

// Runs the next `count`, one after another; their numbers.
Numbers run_some(Host& host, int count) {
  Numbers ran;
  engine::Lease leases[64];
  engine::TaskView view;
  const std::uint32_t n = host.worker->claim(host.queue, leases, 64, now());
  for (std::uint32_t i = 0; i < n; ++i) {
    if (static_cast<int>(ran.size()) == count) break;
    EXPECT_TRUE(host.worker->view(leases[i], view));
    EXPECT_EQ(host.worker->begin(leases[i], view, now()), engine::Begin::kStart);
    ran.push_back(test::number_of(view));
    EXPECT_EQ(host.worker->succeed(leases[i], view, {}, now()), engine::Settled::kDone);
  }
  return ran;
}

Numbers sorted(Numbers all) {
  std::sort(all.begin(), all.end());
  return all;
}

std::map<RecordType, int> records_in(Store& store) {
  std::map<RecordType, int> found;
  const auto report = read_journal(store, OnDamage::kStop, [&](const Record& r) {
    ++found[static_cast<RecordType>(r.type)];
    return true;
  });
  EXPECT_TRUE(report.ok());
  return found;
}

TEST(JournalRun, IsOneRecordAndComesBackAsItsTasks) {
  PowerStore store;
  std::vector<TaskId> ids;
  {
    Host host;
    host.must_open(store);
    ids = host.put_runs(1, 40);  // fifteen, fifteen, ten
    host.flush();
    const auto records = records_in(store);
    EXPECT_EQ(records.at(RecordType::kRun), 3);
    EXPECT_FALSE(records.contains(RecordType::kTask));
  }
  Host after(0, shm::Durability::kMemory);
  const auto opened = after.open(store);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(opened->restored, 40u);
  after.flush();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto info = engine::Query(*after.producer).task(ids[i]);
    ASSERT_TRUE(info) << i;
    const std::uint64_t number = i + 1;
    EXPECT_EQ(0, std::memcmp(info->payload.data(), &number, sizeof number));
  }
  EXPECT_EQ(sorted(after.drain()), numbers(1, 40));
  after.flush();
  Host last(0, shm::Durability::kMemory);
  last.must_open(store);
  EXPECT_EQ(last.drain(), Numbers{});
  EXPECT_EQ(test::broken_invariants(*after.producer), "");
}

TEST(JournalRun, ItsItemsThatAreOverStayOver) {
  for (const bool succession : {false, true}) {
    PowerStore store;
    Host host;
    host.must_open(store);
    host.put_runs(1, 30);
    host.flush();
    const Numbers ran = run_some(host, 4);
    ASSERT_EQ(ran.size(), 4u);
    if (!succession) host.flush();
    if (succession) host.must_open(store);  // its end was seen by another writer
    Host after(0, shm::Durability::kMemory);
    PowerStore copy(store.image());
    after.must_open(copy);
    Numbers all = after.drain();
    EXPECT_EQ(all.size(), 26u);
    all.insert(all.end(), ran.begin(), ran.end());
    EXPECT_EQ(sorted(all), numbers(1, 30));
  }
}

TEST(JournalRun, ARunThatIsOverLeavesNothing) {
  PowerStore store;
  Host host;
  host.must_open(store);
  host.put_runs(1, 30);
  host.flush();
  EXPECT_EQ(run_some(host, 64).size(), 30u);
  host.flush();
  EXPECT_EQ(records_in(store).at(RecordType::kEnd), 2);  // one for fifteen
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  EXPECT_EQ(after.drain(), Numbers{});
}

// An item with a fate of its own is a task of its own, in the journal too: with its attempts, under its item's id.
TEST(JournalRun, AnItemThatMovedOutComesBackOnceWithItsFate) {
  PowerStore store;
  TaskId moved;
  std::uint64_t number = 0;
  {
    Host host;
    host.must_open(store);
    host.put_runs(1, 15);
    host.flush();
    engine::Lease leases[15];
    engine::TaskView view;
    ASSERT_EQ(host.worker->claim(host.queue, leases, 15, now()), 15u);
    ASSERT_TRUE(host.worker->view(leases[3], view));
    number = test::number_of(view);
    moved = view.id;
    ASSERT_EQ(host.worker->begin(leases[3], view, now()), engine::Begin::kStart);
    bool retried = false;
    ASSERT_EQ(host.worker->fail(leases[3], view, {"error", "again"}, 3600 * kSecondNs, now(), retried),
              engine::Settled::kDone);
    ASSERT_TRUE(retried);
    host.flush();
  }
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  EXPECT_EQ(after.alive().count(number), 1u);
  EXPECT_EQ(after.alive().size(), 15u);
  const auto info = engine::Query(*after.producer).task(moved);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->tally.attempts, 1u);
  EXPECT_EQ(after.drain().size(), 14u);
}

// As a journal says it that was written when the key of an item that moved out went with it.
Image with_moved_keys(Store& from) {
  PowerStore into;
  Log log(into, kSmallFiles.file_bytes, {});
  Batch batch;
  int changed = 0;
  const auto read = read_journal(from, OnDamage::kStop, [&](const Record& record) {
    std::vector<std::byte> body(record.body.begin(), record.body.end());
    const auto image =
        record.type == static_cast<std::uint32_t>(RecordType::kTask) ? read_task(record.body, {}) : std::nullopt;
    if (image && image->former.first.item() != 0 && (image->head.flags & kHasExtras) != 0) {
      EXPECT_EQ(image->extras.unique_key, 0u) << "it is the segment's";
      const std::uint64_t key = engine::moved_key(image->former.first.handle);
      constexpr std::size_t kBefore = sizeof(TaskKey) + sizeof(TaskState) + sizeof(TaskHead) + sizeof(FormerHead);
      std::memcpy(body.data() + kBefore + offsetof(ExtrasHead, unique_key), &key, sizeof key);
      ++changed;
    }
    batch.begin(record.type);
    batch.put_bytes(body);
    batch.end();
    return true;
  });
  EXPECT_TRUE(read.ok());
  EXPECT_GT(changed, 0);
  EXPECT_TRUE(log.start(batch).ok());
  EXPECT_TRUE(log.finish().ok());
  return into.image();
}

// Generations begin anew with each segment: an item of the new one that has the same place as one that came back moves
// out like any other.
TEST(JournalRun, AnItemOfTheSamePlaceInTheNextSegmentIsNotTakenForIt) {
  const auto fail_fourth = [](Host& host) {
    engine::Lease leases[15];
    engine::TaskView view;
    bool retried = false;
    ASSERT_EQ(host.worker->claim(host.queue, leases, 15, now()), 15u);
    ASSERT_TRUE(host.worker->view(leases[3], view));
    ASSERT_EQ(host.worker->begin(leases[3], view, now()), engine::Begin::kStart);
    ASSERT_EQ(host.worker->fail(leases[3], view, {"error", "again"}, 3600 * kSecondNs, now(), retried),
              engine::Settled::kDone);
    EXPECT_TRUE(retried);
  };
  PowerStore store;
  std::vector<TaskId> ids;
  {
    Host host;
    host.must_open(store);
    ids = host.put_runs(1, 15);
    host.flush();
    fail_fourth(host);
    host.flush();
  }
  for (const Image& image : {store.image(), with_moved_keys(store)}) {
    PowerStore disk(image);
    Host after(0, shm::Durability::kMemory);
    ASSERT_EQ(after.put_runs(101, 115)[3].handle, ids[3].handle);
    after.must_open(disk);
    fail_fourth(after);
    const auto alive = after.alive();
    EXPECT_EQ(alive.count(4), 1u);
    EXPECT_EQ(alive.count(104), 1u) << "swallowed";
    EXPECT_EQ(test::broken_invariants(*after.producer), "");
  }
}

// Between two looks it moves out, runs as a task of its own and is over: the run is looked at again for that, and not
// only by the patrol.
TEST(JournalRun, AnItemThatMovedOutAndEndedBetweenTwoLooksIsOver) {
  PowerStore store;
  Host host;
  host.must_open(store);
  host.put_runs(1, 15);
  host.flush();
  engine::Lease leases[15], copy;
  engine::TaskView view;
  bool retried = false;
  ASSERT_EQ(host.worker->claim(host.queue, leases, 15, now()), 15u);
  ASSERT_TRUE(host.worker->view(leases[3], view));
  ASSERT_EQ(host.worker->begin(leases[3], view, now()), engine::Begin::kStart);
  ASSERT_EQ(host.worker->fail(leases[3], view, {"error", "again"}, 0, now(), retried), engine::Settled::kDone);
  ASSERT_TRUE(host.take(copy, view));
  ASSERT_EQ(test::number_of(view), 4u);
  ASSERT_EQ(host.worker->succeed(copy, view, {}, now()), engine::Settled::kDone);
  const std::uint64_t position = shm::journal_position(*host.segment);
  for (int i = 0; host.segment->header().journal_durable.load() < position; ++i) {
    ASSERT_LT(i, 50);
    shm::hurry_journal(*host.segment, position);
    ASSERT_TRUE(host.writer->step(host.now_ns += 1000).ok());  // too soon for the patrol
  }
  Host after(0, shm::Durability::kMemory);
  PowerStore copied(store.image());
  after.must_open(copied);
  EXPECT_EQ(after.alive().count(4), 0u);
  EXPECT_EQ(after.alive().size(), 14u);
}

// Power is lost after every write of a run's life: what was published as on disk and is not over is there, once; what
// was published as over is not.
TEST(JournalRun, PowerIsLostUnderLoad) {
  PowerStore store;
  Host host;
  host.must_open(store);
  struct Point {
    std::size_t event = 0;
    std::set<std::uint64_t> must, may;
  };
  std::vector<Point> points;
  std::map<std::uint64_t, std::uint64_t> accepted_at, ended_at;
  base::Random random(11);
  std::uint64_t next = 1;
  int moved = 0;
  for (int step = 0; step < 50; ++step) {
    if (random.below(2) == 0) {
      const std::uint64_t count = 4 + random.below(12);
      host.put_runs(next, next + count - 1);
      for (std::uint64_t n = next; n < next + count; ++n) accepted_at[n] = shm::journal_position(*host.segment);
      next += count;
    }
    engine::Lease leases[8];
    engine::TaskView view;
    const std::uint32_t claimed = host.worker->claim(host.queue, leases, 8, now());
    for (std::uint32_t i = 0; i < claimed; ++i) {
      ASSERT_TRUE(host.worker->view(leases[i], view));
      ASSERT_EQ(host.worker->begin(leases[i], view, now()), engine::Begin::kStart);
      const std::uint64_t number = test::number_of(view);
      bool retried = false;
      const std::uint64_t fate = random.below(8);
      if (fate == 0 && ++moved) {
        ASSERT_EQ(host.worker->fail(leases[i], view, {"e", "m"}, 0, now(), retried), engine::Settled::kDone);
      } else if (fate == 1 && ++moved) {
        ASSERT_EQ(host.worker->bury(leases[i], view, engine::DeadReason::kPayloadInvalid, {"e", "m"}, now()),
                  engine::Settled::kDone);
      } else {
        ASSERT_EQ(host.worker->succeed(leases[i], view, {}, now()), engine::Settled::kDone);
        ended_at[number] = shm::journal_position(*host.segment);
      }
    }
    ASSERT_TRUE(host.writer->step(host.now_ns += 6'000'000).ok());
    Point point{.event = store.events(), .must = {}, .may = {}};
    const std::uint64_t durable = host.segment->header().journal_durable.load();
    for (const auto& [n, position] : accepted_at) {
      if (!ended_at.contains(n) && position <= durable) point.must.insert(n);
      if (!ended_at.contains(n) || ended_at[n] > durable) point.may.insert(n);
    }
    points.push_back(point);
  }
  EXPECT_GT(moved, 10);
  std::size_t disks = 0;
  for (const Point& point : points)
    store.lose_power(point.event, 2, random, [&](const Image& image) {
      if (++disks % 4 != 0) return;
      PowerStore disk(image);
      Host after(0, shm::Durability::kMemory);
      after.must_open(disk);
      const auto back = after.alive();
      const std::set<std::uint64_t> once(back.begin(), back.end());
      EXPECT_EQ(back.size(), once.size()) << "event " << point.event;
      for (const std::uint64_t n : point.must) EXPECT_TRUE(once.contains(n)) << n << ", event " << point.event;
      for (const std::uint64_t n : once) EXPECT_TRUE(point.may.contains(n)) << n << ", event " << point.event;
    });
  EXPECT_GT(disks, 100u);
}

// Who restores is killed at every write: each item comes back once.
TEST(JournalRun, RestoringIsKilledAtEveryWrite) {
  PowerStore store;
  std::multiset<std::uint64_t> all;
  {
    Host host;
    host.must_open(store, kLargeFiles);
    host.put_runs(1, 3000);
    for (std::uint64_t n = 1; n <= 3000; ++n) all.insert(n);
    engine::Lease leases[30];
    engine::TaskView view;
    ASSERT_EQ(host.worker->claim(host.queue, leases, 30, now()), 30u);
    for (int i = 0; i < 30; i += 5) {  // some of them are tasks of their own by now, also dead ones
      ASSERT_TRUE(host.worker->view(leases[i], view));
      ASSERT_EQ(host.worker->begin(leases[i], view, now()), engine::Begin::kStart);
      ASSERT_EQ(host.worker->bury(leases[i], view, engine::DeadReason::kPayloadInvalid, {"e", "m"}, now()),
                engine::Settled::kDone);
    }
    host.flush();
  }
  const Image image = store.image();
  for (int n = 0; n < 8; ++n) {
    PowerStore disk(image);
    Host after(0, shm::Durability::kMemory);
    after.get_over(disk, n, PowerStore::Fault::kShort, /*opening=*/true);
    EXPECT_EQ(after.alive(), all) << "write " << n;
    EXPECT_EQ(test::slots_in(*after.segment, shm::State::kWaiting), 0u);
    EXPECT_EQ(test::broken_invariants(*after.producer), "");
  }
}

// The file with a run's record, and the one that says which of its items are over, are dropped while it lives on.
TEST(JournalRun, CompactionKeepsWhatIsLeftOfARun) {
  PowerStore store;
  Host host;
  host.must_open(store);
  host.put_runs(1, 15);
  host.flush();
  engine::Lease leases[15];
  engine::TaskView view;
  ASSERT_EQ(host.worker->claim(host.queue, leases, 15, now()), 15u);
  std::string big(1000, 'y');
  for (int round = 0; round < 60; ++round) {
    if (round % 8 == 0) {
      const engine::Lease& lease = leases[round / 8];
      ASSERT_TRUE(host.worker->view(lease, view));
      ASSERT_EQ(host.worker->begin(lease, view, now()), engine::Begin::kStart);
      ASSERT_EQ(host.worker->succeed(lease, view, {}, now()), engine::Settled::kDone);
    }
    for (int i = 0; i < 50; ++i)
      host.put(100, [&](TaskSpec& spec, TaskExtras&) { spec.payload = std::as_bytes(std::span(big)); });
    host.flush();
    EXPECT_EQ(host.drain().size(), 50u);
  }
  host.flush();
  EXPECT_LE(host.writer->files(), 5u);
  EXPECT_GT(host.writer->written_bytes(), 10 * kSmallFiles.file_bytes);
  Host after(0, shm::Durability::kMemory);
  PowerStore copy(store.image());
  after.must_open(copy);
  EXPECT_EQ(sorted(after.drain()), numbers(9, 15));
  // And so does `stem journal compact`.
  PowerStore rewritten(store.image());
  host.writer.reset();
  const auto done = rewrite_journal(rewritten, kSmallFiles.file_bytes, OnDamage::kStop);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(done->tasks, 7u);
  Host last(0, shm::Durability::kMemory);
  last.must_open(rewritten);
  EXPECT_EQ(sorted(last.drain()), numbers(9, 15));
}

TEST(JournalRun, AFailedWriteForgetsNeitherItemsNorTheirEnds) {
  for (int n = 0; n < 5; ++n) {
    PowerStore store;
    Host host;
    host.must_open(store);
    host.put_runs(1, 30);
    host.flush();
    const Numbers first = run_some(host, 5);
    store.fail_write(n, PowerStore::Fault::kError);
    int failures = 0;
    for (std::uint64_t i = 0; i < 12; ++i) {
      host.put(100 + i);
      failures += host.writer->step(host.now_ns += 1'100'000'000).ok() ? 0 : 1;
    }
    EXPECT_EQ(failures, 1);
    host.flush();
    Host after(0, shm::Durability::kMemory);
    after.must_open(store);
    EXPECT_EQ(after.alive(),
              [&] {
                std::multiset<std::uint64_t> all;
                for (std::uint64_t i = 1; i <= 30; ++i)
                  if (std::find(first.begin(), first.end(), i) == first.end()) all.insert(i);
                for (std::uint64_t i = 0; i < 12; ++i) all.insert(100 + i);
                return all;
              }())
        << "write " << n;
  }
}

// A run's record that was made up: refused, whatever it says.
TEST(JournalRun, ARecordThatMakesNoSenseIsRefused) {
  Batch batch;
  const TaskKey key{1, 2, 3};
  const auto body = [&](std::uint8_t count, std::uint8_t bytes, std::size_t payload, std::uint8_t priority) {
    batch.clear();
    batch.begin(static_cast<std::uint32_t>(RecordType::kRun));
    batch.put(key);
    RunRecord head;
    head.count = count;
    head.priority = priority;
    batch.put(head);
    for (int i = 0; i < count; ++i) batch.put(bytes);
    batch.put_bytes(std::vector<std::byte>(payload));
    batch.end();
    const std::span<const std::byte> whole = batch.seal({});
    return whole.subspan(sizeof(BatchHeader) + sizeof(RecordHeader),
                         batch.bytes() - sizeof(BatchHeader) - sizeof(RecordHeader));
  };
  EXPECT_TRUE(read_run(body(4, 8, 32, 0)));
  EXPECT_FALSE(read_run(body(0, 8, 0, 0)));
  EXPECT_FALSE(read_run(body(16, 8, 128, 0)));
  EXPECT_FALSE(read_run(body(4, 8, 31, 0)));
  EXPECT_FALSE(read_run(body(4, 8, 33, 0)));
  EXPECT_FALSE(read_run(body(4, 65, 260, 0)));
  EXPECT_FALSE(read_run(body(4, 8, 32, shm::kPriorities)));
  LiveSet live;
  std::byte items[sizeof(TaskKey) + sizeof(ItemsRecord)] = {};
  std::memcpy(items, &key, sizeof key);
  ItemsRecord over{1u << engine::kRunItems};
  std::memcpy(items + sizeof key, &over, sizeof over);
  EXPECT_FALSE(live.apply({static_cast<std::uint32_t>(RecordType::kItems), items, 1}));
  over.over = 1;
  std::memcpy(items + sizeof key, &over, sizeof over);
  EXPECT_TRUE(live.apply({static_cast<std::uint32_t>(RecordType::kItems), items, 1}));
  EXPECT_EQ(live.alive(), 0u);
}

// Runs and single tasks of one batch: each was enqueued a nanosecond or more after the one before.
TEST(JournalRun, ABatchKeepsItsOrderOverReboots) {
  constexpr std::uint64_t kAll = 600;
  PowerStore store;
  {
    Host host;
    host.must_open(store, kLargeFiles);
    std::deque<test::Numbered> tasks;
    std::vector<engine::TaskSpec> specs;
    engine::TaskExtras extras;
    extras.visibility_ns = 60 * kSecondNs;
    for (std::uint64_t n = 1; n <= kAll; ++n) {
      specs.push_back(tasks.emplace_back(host.queue, host.task, n).spec);
      if (n % 37 < 5) specs.back().extras = &extras;  // a slot of its own
    }
    std::size_t done = 0;
    ASSERT_EQ(host.producer->enqueue_many(specs.data(), specs.size(), nullptr, done, now()), EnqueueStatus::kOk);
    ASSERT_EQ(done, kAll);
    host.flush();
  }
  Host once(0, shm::Durability::kMemory);
  once.must_open(store, kLargeFiles);
  PowerStore disk(store.image());
  Host twice(0, shm::Durability::kMemory);
  twice.must_open(disk, kLargeFiles);
  EXPECT_EQ(once.drain(), numbers(1, kAll));
  EXPECT_EQ(twice.drain(), numbers(1, kAll));
}

// The clock on the wall is behind what it was when they were enqueued: nobody has waited for less than no time.
TEST(JournalRun, NothingWasEnqueuedInTheFuture) {
  constexpr std::uint64_t kAll = 40;
  PowerStore store;
  const std::int64_t before = now();
  std::vector<std::uint64_t> all;
  {
    Host host;
    host.must_open(store, kLargeFiles);
    for (std::uint64_t i = 1; i <= kAll; ++i) {
      test::Numbered n(host.queue, host.task, i);
      const std::int64_t ahead = i <= kAll / 2 ? 0 : 3600 * kSecondNs;
      ASSERT_EQ(host.producer->enqueue(n.spec, before + ahead + static_cast<std::int64_t>(i)).status,
                EnqueueStatus::kOk);
      all.push_back(i);
    }
    host.flush();
  }
  for (int reboots = 0; reboots < 2; ++reboots) {
    Host after(0, shm::Durability::kMemory);
    after.must_open(store, kLargeFiles);
    for (std::uint32_t slot = 0; slot < after.segment->header().slab_used.load(); ++slot)
      EXPECT_LE(after.segment->descriptor(slot).enqueued_ns, now());
    if (reboots == 1) {
      EXPECT_EQ(after.drain(), all);
    }
  }
}

}  // namespace
}  // namespace stem::journal
