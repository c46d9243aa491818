// The writer and what comes back: tasks in a segment, a disk that may lose power, another segment.
#include "journal/writer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "engine/dead_letters.hpp"
#include "engine/links.hpp"
#include "shm/journal_line.hpp"
#include "tests/journal/host.hpp"

namespace stem::journal {
namespace {

TEST(JournalWriter, WhatWasNotOverComesBack) {
  PowerStore store;
  {
    Host host;
    host.must_open(store);
    for (std::uint64_t i = 1; i <= 5; ++i) host.put(i);
    EXPECT_EQ(host.drain().size(), 5u);
    for (std::uint64_t i = 6; i <= 9; ++i) host.put(i);
    engine::Lease lease;
    engine::TaskView view;
    ASSERT_TRUE(host.take(lease, view));  // 6 runs when the power goes
    host.flush();
  }
  Host after(3, shm::Durability::kMemory);
  const auto opened = after.open(store);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(opened->restored, 4u);
  EXPECT_EQ(shm::durability_of(*after.segment, after.queue), shm::Durability::kJournal);
  EXPECT_EQ(after.drain(), (std::vector<std::uint64_t>{6, 7, 8, 9}));
  after.flush();
  Host last(1, shm::Durability::kMemory);
  const auto again = last.open(store);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->restored, 0u);
  EXPECT_EQ(test::broken_invariants(*after.producer), "");
}

TEST(JournalWriter, EverythingATaskHadComesBackWithIt) {
  PowerStore store;
  std::string big(100'000, 'x');
  const std::int64_t due = now() + 3600 * kSecondNs;
  {
    Host host;
    host.must_open(store);
    const std::uint32_t follow = test::must_task(*host.segment, "follow");
    host.put(1, [&](TaskSpec& spec, TaskExtras&) { spec.due_ns = due; });
    host.put(2, [](TaskSpec& spec, TaskExtras& extras) {
      spec.priority = 7;
      spec.max_retries = 9;
      extras.headers = R"({"tenant":"a"})";
      extras.meta = R"({"k":1})";
      extras.idempotency_key = "once";
      extras.unique_key = 4711;
      extras.retry = {engine::RetryKind::kConstant, 5, 6};
    });
    host.put(3, [&](TaskSpec&, TaskExtras& extras) {
      static std::string link;
      link.clear();
      test::Numbered child(host.queue, follow, 33);
      engine::append_link(link, child.spec);
      extras.link = link;
    });
    host.put(4, [&](TaskSpec& spec, TaskExtras&) { spec.payload = std::as_bytes(std::span(big)); });
    host.flush();
  }
  Host after(5, shm::Durability::kMemory);
  (void)test::must_task(*after.segment, "something-else");
  after.must_open(store);
  std::set<std::uint64_t> seen;
  engine::Lease lease;
  engine::TaskView view;
  while (after.take(lease, view)) {
    if (view.payload.size() == big.size()) {
      seen.insert(4);
      EXPECT_EQ(std::memcmp(view.payload.data(), big.data(), big.size()), 0);
    } else {
      seen.insert(test::number_of(view));
    }
    if (test::number_of(view) == 2) {
      EXPECT_EQ(view.priority, 7);
      EXPECT_EQ(view.max_retries, 9);
      EXPECT_EQ(view.extras.headers, R"({"tenant":"a"})");
      EXPECT_EQ(view.extras.meta, R"({"k":1})");
      EXPECT_EQ(view.extras.idempotency_key, "once");
      EXPECT_EQ(view.extras.retry, (engine::RetryPolicy{engine::RetryKind::kConstant, 5, 6}));
      test::Numbered same(after.queue, after.task, 99);
      TaskExtras extras;
      extras.unique_key = 4711;
      same.spec.extras = &extras;
      EXPECT_EQ(after.producer->enqueue(same.spec, now()).status, EnqueueStatus::kDuplicate);
    }
    if (test::number_of(view) == 33) {
      EXPECT_EQ(shm::task_name(*after.segment, view.task), "follow");
    }
    EXPECT_EQ(after.worker->succeed(lease, view, {}, now()), engine::Settled::kDone);
  }
  EXPECT_EQ(seen, (std::set<std::uint64_t>{2, 3, 4, 33}));
  ASSERT_EQ(after.alive(), (std::multiset<std::uint64_t>{1}));
  for (std::uint32_t slot = 0; slot < after.segment->header().slab_used.load(); ++slot) {
    const shm::ControlWord word = after.segment->descriptor(slot).control.load();
    if (word.state() != shm::State::kDelayed) continue;
    EXPECT_NEAR(static_cast<double>(after.producer->due_ns(slot, word)), static_cast<double>(due), 5e6);
  }
}

TEST(JournalWriter, WhoHasNoKeyAnyMoreGivesWayToNobody) {
  PowerStore store;
  const auto key = [](std::int64_t for_ns) {
    return [for_ns](TaskSpec&, TaskExtras& extras) {
      extras.unique_key = 4711;
      extras.unique_for_ns = for_ns;
    };
  };
  {
    Host host;
    host.must_open(store);
    engine::Lease lease;
    engine::TaskView view;
    for (std::uint64_t i = 1; i <= 2; ++i) {  // two letters of one key: each died before the next came
      host.put(i, key(3600 * kSecondNs));
      ASSERT_TRUE(host.take(lease, view));
      ASSERT_EQ(host.worker->bury(lease, view, engine::DeadReason::kPayloadInvalid, {"bad", "no good"}, now()),
                engine::Settled::kDone);
    }
    host.put(3, key(1));  // its time is over at once
    host.put(4, key(3600 * kSecondNs));
    host.flush();
  }
  Host after(3, shm::Durability::kMemory);
  const auto opened = after.open(store);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(opened->restored, 4u);
  EXPECT_EQ(opened->gave_way, 0u);
  EXPECT_EQ(after.drain(), (std::vector<std::uint64_t>{3, 4}));
}

TEST(JournalWriter, AttemptsAndDeadLettersComeBack) {
  PowerStore store;
  {
    Host host;
    host.must_open(store);
    host.put(1, [](TaskSpec& spec, TaskExtras&) { spec.max_retries = 5; });
    host.put(2);
    engine::Lease lease;
    engine::TaskView view;
    bool retried = false;
    for (int attempt = 0; attempt < 3; ++attempt) {
      ASSERT_TRUE(host.take(lease, view));
      if (test::number_of(view) == 2) {
        ASSERT_EQ(host.worker->bury(lease, view, engine::DeadReason::kPayloadInvalid, {"bad", "no good"}, now()),
                  engine::Settled::kDone);
        ASSERT_TRUE(host.take(lease, view));
      }
      ASSERT_EQ(host.worker->fail(lease, view, {"error", "again"}, 0, now(), retried), engine::Settled::kDone);
    }
    host.flush();
  }
  Host after(2, shm::Durability::kMemory);
  after.must_open(store);
  engine::Lease lease;
  engine::TaskView view;
  ASSERT_TRUE(after.take(lease, view));
  EXPECT_EQ(test::number_of(view), 1u);
  EXPECT_EQ(view.tally.attempts, 3u);
  const auto letters = engine::DeadLetters(*after.producer).list({});
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_EQ(letters[0].failure.reason, static_cast<std::uint8_t>(engine::DeadReason::kPayloadInvalid));
  EXPECT_EQ(letters[0].failure.kind(), "bad");
  EXPECT_EQ(letters[0].failure.message(), "no good");
  EXPECT_NEAR(static_cast<double>(letters[0].failure.at_ns), static_cast<double>(now()), 30e9);
  EXPECT_TRUE(engine::DeadLetters(*after.producer).replay(letters[0], 0, now()));
  EXPECT_EQ(after.drain(), std::vector<std::uint64_t>{2});
}

TEST(JournalWriter, ASuccessorWritesWhatTheLastOneDidNot) {
  PowerStore store;
  Host host;
  host.must_open(store);
  for (std::uint64_t i = 1; i <= 10; ++i) host.put(i);
  host.flush();
  EXPECT_EQ(host.drain().size(), 10u);                   // their ends were never written,
  for (std::uint64_t i = 11; i <= 14; ++i) host.put(i);  // nor these,
  host.forget_marks();                                   // and the marks are gone
  host.must_open(store);
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  EXPECT_EQ(after.alive(), (std::multiset<std::uint64_t>{11, 12, 13, 14}));
}

TEST(JournalWriter, ATaskWithoutAHintIsFound) {
  PowerStore store;
  Host host;
  host.must_open(store);
  host.put(1);
  host.forget_marks();
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(host.writer->step(host.now_ns += 600'000'000).ok());
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  EXPECT_EQ(after.alive(), std::multiset<std::uint64_t>{1});
}

// Acknowledged before the journal ever saw it, by a worker that is stopped before it has enqueued what follows: what it
// owes is not lost with the power.
TEST(JournalWriter, WhatIsOwedAfterAnAcknowledgementIsWritten) {
  PowerStore store;
  Host host;
  host.must_open(store);
  const std::uint32_t follow = test::must_task(*host.segment, "follow");
  std::string link;
  const TaskId id = host.put(1, [&](TaskSpec&, TaskExtras& extras) {
    test::Numbered child(host.queue, follow, 33);
    engine::append_link(link, child.spec);
    extras.link = link;
  });
  engine::Lease lease;
  engine::TaskView view;
  ASSERT_TRUE(host.take(lease, view));
  shm::ControlWord word = lease.word;
  ASSERT_TRUE(host.segment->descriptor(id.slot()).control.change(
      word, word.with(shm::State::kSettling, host.worker->self().owner())));
  host.flush();
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  EXPECT_EQ(after.drain(), (std::vector<std::uint64_t>{1, 33}));
}

TEST(JournalWriter, QueuesInMemoryAreNotWritten) {
  PowerStore store;
  Host host(0, shm::Durability::kMemory);
  host.must_open(store);
  const std::uint64_t before = host.writer->written_bytes();
  for (std::uint64_t i = 1; i <= 50; ++i) host.put(i);
  host.flush();
  EXPECT_EQ(host.writer->written_bytes(), before);
  // Made durable, what waits there follows; and the other way round it is forgotten.
  ASSERT_TRUE(engine::Control(*host.producer).set_durability(host.queue, shm::Durability::kJournal));
  host.flush();
  {
    Host after(0, shm::Durability::kMemory);
    PowerStore copy(store.image());
    after.must_open(copy);
    EXPECT_EQ(after.alive().size(), 50u);
  }
  ASSERT_TRUE(engine::Control(*host.producer).set_durability(host.queue, shm::Durability::kMemory));
  host.flush();
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  EXPECT_EQ(after.alive().size(), 0u);
  EXPECT_EQ(shm::durability_of(*after.segment, after.queue), shm::Durability::kMemory);
}

// A queue that has no journal for a while: what waits in it all the time is there again when it has one, also when that it
// was gone has not been said until then, for a write failed.
TEST(JournalWriter, AQueueMayLeaveTheJournalAndComeBack) {
  for (const bool said : {false, true}) {
    PowerStore store;
    Host host;
    host.must_open(store);
    host.put(1);
    host.flush();
    ASSERT_TRUE(engine::Control(*host.producer).set_durability(host.queue, shm::Durability::kMemory));
    if (said) {
      host.flush();
    } else {
      store.fail_write(0, PowerStore::Fault::kError);
      for (bool failed = false; !failed;) failed = !host.writer->step(host.now_ns += 600'000'000).ok();
      host.now_ns += 2 * kSecondNs;
    }
    ASSERT_TRUE(engine::Control(*host.producer).set_durability(host.queue, shm::Durability::kJournal));
    host.flush();
    for (const bool over : {false, true}) {
      PowerStore copy(store.image());
      Host after(0, shm::Durability::kMemory);
      after.must_open(copy);
      EXPECT_EQ(after.alive(), over ? std::multiset<std::uint64_t>{} : std::multiset<std::uint64_t>{1}) << said;
      EXPECT_EQ(host.drain().size(), over ? 0u : 1u);
      host.flush();
    }
  }
}

TEST(JournalWriter, MoreChangesThanABatchHoldsAreAllWritten) {
  PowerStore store;
  Host host;
  host.must_open(store, {.file_bytes = 16u << 20});
  engine::Lease lease;
  engine::TaskView view;
  std::multiset<std::uint64_t> all;
  for (std::uint64_t i = 0; i < 3500; ++i) {  // two changes each
    host.put(1'000'000 + i);
    ASSERT_TRUE(host.take(lease, view));
    ASSERT_EQ(host.worker->succeed(lease, view, {}, now()), engine::Settled::kDone);
  }
  const std::uint64_t before = host.writer->written_bytes();
  for (std::uint64_t i = 1; i <= 3500; ++i) {
    host.put(i);
    all.insert(i);
  }
  host.flush();
  EXPECT_GT(host.writer->written_bytes() - before, 300'000u);  // more than one
  Host after(0, shm::Durability::kMemory);
  after.must_open(store, {.file_bytes = 16u << 20});
  EXPECT_EQ(after.alive(), all);
}

// A write costs a tenth of a millisecond and more, whatever its size: where somebody waits for the disk, much goes at
// once. Where nobody does, a smaller batch is full: what is over before it is looked at needs no record.
TEST(JournalWriter, WritesAreLargeWhereSomebodyWaits) {
  const std::string big(1000, 'y');
  for (const bool awaited : {false, true}) {
    PowerStore store;
    Host host;
    host.must_open(store, {});
    for (std::uint64_t i = 0; i < 2000; ++i)
      host.put(0, [&](TaskSpec& spec, TaskExtras&) { spec.payload = std::as_bytes(std::span(big)); });
    const std::size_t before = store.events();
    const std::uint64_t bytes_before = host.writer->written_bytes();
    if (awaited) shm::hurry_journal(*host.segment, shm::journal_position(*host.segment));
    host.flush();
    EXPECT_GT(host.writer->written_bytes() - bytes_before, 2'000'000u);
    const std::size_t writes = (store.events() - before) / 2;
    EXPECT_TRUE(awaited ? writes <= 5 : writes >= 8) << writes;
  }
}

TEST(JournalWriter, TheNextFileIsMadeBeforeItIsNeeded) {
  PowerStore store;
  Host host;
  host.must_open(store);
  const int first = store.created();
  std::string big(1000, 'y');
  std::uint64_t tasks = 0;
  while (host.writer->files() < 8) {
    for (int i = 0; i < 20; ++i, ++tasks)
      host.put(0, [&](TaskSpec& spec, TaskExtras&) { spec.payload = std::as_bytes(std::span(big)); });
    host.flush();
    ASSERT_LT(tasks, 8000u);
  }
  EXPECT_EQ(store.created(), first);
  // Where files are recycled none is made.
  while (!host.drain().empty()) host.flush();
  const std::size_t before = store.events();
  for (int i = 0; i < 400; ++i) {
    host.put(0, [&](TaskSpec& spec, TaskExtras&) { spec.payload = std::as_bytes(std::span(big)); });
    host.flush();
    ASSERT_EQ(host.drain().size(), 1u);
  }
  host.flush();
  EXPECT_GT(store.events(), before);
  EXPECT_EQ(store.created(), first);
  EXPECT_LE(host.writer->files(), 5u);
}

// Whose batch is on disk is told so before anything that may take seconds: a new file, a change of a name.
TEST(JournalWriter, WhoIsOnDiskDoesNotWaitForTheNextFile) {
  PowerStore store;
  Host host;
  host.must_open(store);
  const shm::Header& h = host.segment->header();
  std::uint64_t on_disk = 0;
  int renamed = 0;
  store.before_rename([&] {
    ++renamed;
    EXPECT_GE(h.journal_durable.load(), on_disk);
  });
  std::string big(60'000, 'y');
  for (std::uint64_t i = 0; i < 100; ++i) {
    host.put(i, [&](TaskSpec& spec, TaskExtras&) { spec.payload = std::as_bytes(std::span(big)); });
    const std::uint64_t position = shm::journal_position(*host.segment);
    shm::hurry_journal(*host.segment, position);
    ASSERT_TRUE(host.writer->step(host.now_ns += 1000).ok());  // lands what was launched by the last one
    on_disk = position;
  }
  EXPECT_GT(renamed, 10);
}

TEST(JournalWriter, CompactionKeepsWhatLives) {
  PowerStore store;
  Host host;
  host.must_open(store);
  std::multiset<std::uint64_t> backlog;
  for (std::uint64_t i = 1; i <= 200; ++i) {  // stays for the whole time
    host.put(i, [](TaskSpec& spec, TaskExtras&) { spec.due_ns = now() + 3600 * kSecondNs; });
    backlog.insert(i);
  }
  host.flush();
  std::string big(1000, 'y');
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 50; ++i)
      host.put(0, [&](TaskSpec& spec, TaskExtras&) { spec.payload = std::as_bytes(std::span(big)); });
    host.flush();
    (void)host.drain();
  }
  host.flush();
  EXPECT_LE(host.writer->files(), 5u);
  EXPECT_GT(host.writer->written_bytes(), 10 * kSmallFiles.file_bytes);
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  EXPECT_EQ(after.alive(), backlog);
}

TEST(JournalWriter, RunsThatWaitWhenTheirQueueIsMadeDurableAreWritten) {
  constexpr std::uint64_t kTasks = 40;  // two runs and more
  PowerStore store;
  TaskId known;
  {
    Host host(0, shm::Durability::kMemory);
    host.must_open(store);
    std::deque<test::Numbered> numbered;
    for (std::uint64_t i = 1; i <= kTasks; ++i) numbered.emplace_back(host.queue, host.task, i);
    std::vector<TaskSpec> specs;
    for (const auto& n : numbered) specs.push_back(n.spec);
    std::vector<TaskId> ids(kTasks);
    std::size_t done = 0;
    ASSERT_EQ(host.producer->enqueue_many(specs.data(), specs.size(), ids.data(), done, now()), EnqueueStatus::kOk);
    ASSERT_NE(ids[0].item(), 0u) << "a run";
    known = ids[1];
    engine::Lease lease;
    engine::TaskView view;
    ASSERT_TRUE(host.take(lease, view));  // one of the first run is over already
    ASSERT_EQ(host.worker->succeed(lease, view, {}, now()), engine::Settled::kDone);
    ASSERT_TRUE(engine::Control(*host.producer).set_durability(host.queue, shm::Durability::kJournal));
    host.flush();
    EXPECT_EQ(test::broken_invariants(*host.producer), "");
  }
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  EXPECT_TRUE(engine::Query(*after.producer).task(known)) << "by the id of the item";
  auto back = after.drain();
  std::sort(back.begin(), back.end());
  ASSERT_EQ(back.size(), kTasks - 1);
  EXPECT_EQ(back.front(), 2u);
  EXPECT_EQ(std::adjacent_find(back.begin(), back.end()), back.end());
}

// EIO, a short write, a full disk: nothing is published that is not on disk, and everything is there afterwards.
TEST(JournalWriter, AFailedWriteIsToldAndMendedInAnotherFile) {
  for (const auto fault : {PowerStore::Fault::kShort, PowerStore::Fault::kError}) {
    for (int n = 0; n < 6; ++n) {
      PowerStore store;
      Host host;
      host.must_open(store);
      for (std::uint64_t i = 1; i <= 20; ++i) host.put(i);
      host.flush();
      for (std::uint64_t i = 0; i < 10; ++i) {
        engine::Lease lease;
        engine::TaskView view;
        ASSERT_TRUE(host.take(lease, view));
        ASSERT_EQ(host.worker->succeed(lease, view, {}, now()), engine::Settled::kDone);
        host.put(100 + i);
      }
      store.fail_write(n, fault);
      int failures = 0;
      for (int i = 0; i < 30; ++i) {
        host.put(300 + static_cast<std::uint64_t>(i));
        const std::uint64_t before = host.segment->header().journal_durable.load();
        if (host.writer->step(host.now_ns += 600'000'000).ok()) continue;
        ++failures;
        EXPECT_FALSE(shm::journal_runs(*host.segment, host.now_ns));
        EXPECT_EQ(host.segment->header().journal_durable.load(), before);
        host.put(200 + static_cast<std::uint64_t>(i));
      }
      EXPECT_EQ(failures, 1);
      host.flush();
      EXPECT_TRUE(shm::journal_runs(*host.segment, host.now_ns));
      EXPECT_EQ(store.writes_after_failure(), 0);
      Host after(0, shm::Durability::kMemory);
      after.must_open(store);
      EXPECT_EQ(after.alive(), host.alive()) << "write " << n;
    }
  }
}

TEST(JournalWriter, AFullDiskRefusesUntilThereIsRoom) {
  PowerStore store;
  Host host;
  host.must_open(store);
  store.refuse_new_files(true);
  std::string big(5000, 'z');
  bool refused = false;
  for (int i = 0; i < 200 && !refused; ++i) {
    host.put(0, [&](TaskSpec& spec, TaskExtras&) { spec.payload = std::as_bytes(std::span(big)); });
    refused = !host.writer->step(host.now_ns += 600'000'000).ok();
  }
  ASSERT_TRUE(refused);
  EXPECT_FALSE(shm::journal_runs(*host.segment, host.now_ns));
  host.put(7);
  EXPECT_FALSE(host.writer->step(host.now_ns += 2 * kSecondNs).ok());
  store.refuse_new_files(false);
  host.now_ns += 2 * kSecondNs;
  host.flush();
  EXPECT_TRUE(shm::journal_runs(*host.segment, host.now_ns));
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  EXPECT_EQ(after.alive(), std::multiset<std::uint64_t>{7});
}

// The one who restores is killed at every write: each task comes back once, into the same new segment.
TEST(JournalWriter, RestoringIsKilledAtEveryWrite) {
  PowerStore store;
  const std::string bulk(4000, 'x');  // so that they are several batches
  std::multiset<std::uint64_t> all;
  std::map<std::uint64_t, TaskId> ids;
  {
    Host host;
    host.must_open(store, kLargeFiles);
    for (std::uint64_t i = 1; i <= 300; ++i) {
      ids[i] = host.put(i, [&](TaskSpec&, TaskExtras& extras) { extras.headers = bulk; });
      all.insert(i);
    }
    host.flush();
  }
  const Image image = store.image();
  for (int n = 0; n < 10; ++n) {
    PowerStore disk(image);
    Host after(0, shm::Durability::kMemory);
    after.get_over(disk, n, PowerStore::Fault::kShort, /*opening=*/true);
    EXPECT_EQ(after.alive(), all) << "write " << n;
    for (const auto& [number, id] : ids) {  // also where a slot of a restore that failed has one's old id still
      const auto info = engine::Query(*after.producer).task(id);
      ASSERT_TRUE(info) << "write " << n << ", task " << number;
      EXPECT_EQ(0, std::memcmp(info->payload.data(), &number, sizeof number)) << "write " << n;
    }
    EXPECT_EQ(test::slots_in(*after.segment, shm::State::kWaiting), 0u);
    EXPECT_EQ(test::broken_invariants(*after.producer), "");
  }
}

// The one who restores is killed right after a write, before he lets go what it says: the next one does so in the order in
// which the tasks were enqueued, whatever slots they have.
TEST(JournalWriter, TheOrderStaysWhoeverRestores) {
  constexpr std::uint64_t kSingle = 300, kAll = 360;
  PowerStore store;
  const std::string bulk(4000, 'x');  // so that they are several batches
  std::vector<std::uint64_t> all;
  {
    Host host;
    host.must_open(store, kLargeFiles);
    for (std::uint64_t i = 1; i <= kSingle; ++i)
      host.put(i, [&](TaskSpec&, TaskExtras& extras) { extras.headers = bulk; });
    for (std::uint64_t i = kSingle + 1; i <= kAll; i += 15) host.put_runs(i, i + 14);
    for (std::uint64_t i = 1; i <= kAll; ++i) all.push_back(i);
    host.flush();
  }
  const Image image = store.image();
  for (int n = 0; n < 10; ++n) {
    PowerStore disk(image);
    Host after(0, shm::Durability::kMemory);
    after.get_over(disk, n, PowerStore::Fault::kUnheard, /*opening=*/true);
    EXPECT_EQ(test::slots_in(*after.segment, shm::State::kWaiting), 0u);
    EXPECT_EQ(after.drain(), all) << "write " << n;
    EXPECT_EQ(test::broken_invariants(*after.producer), "");
  }
}

// What comes back goes to disk by the batch: a task's share of a write, not a write for each few.
TEST(JournalWriter, RestoringWritesFewBatches) {
  constexpr int kTasks = 1000;
  PowerStore store;
  {
    Host host;
    host.must_open(store, kLargeFiles);
    for (std::uint64_t i = 1; i <= kTasks; ++i) host.put(i);
    host.flush();
  }
  Host after(0, shm::Durability::kMemory);
  const std::size_t before = store.events();
  after.must_open(store, kLargeFiles);
  EXPECT_EQ(after.alive().size(), std::size_t{kTasks});
  EXPECT_LE(store.events() - before, 20u);  // each write is two, a new file some more
}

// Power is lost after every write while tasks come and go. Whatever the disk holds then: a task whose hint was
// published as on disk is there unless it ended since; and none whose end was published.
TEST(JournalWriter, PowerIsLostUnderLoad) {
  PowerStore store;
  Host host;
  host.must_open(store);
  struct Point {
    std::size_t event;
    std::set<std::uint64_t> must;  // were alive and on disk
    std::set<std::uint64_t> may;   // were ever there, and their ends are not on disk
  };
  std::vector<Point> points;
  std::set<std::uint64_t> accepted, ended;
  std::map<std::uint64_t, std::uint64_t> accepted_at, ended_at;
  base::Random random(3);
  std::uint64_t next = 0;
  for (int step = 0; step < 60; ++step) {
    for (std::uint64_t i = random.below(4); i > 0; --i) {
      host.put(++next);
      accepted.insert(next);
      accepted_at[next] = shm::journal_position(*host.segment);
    }
    engine::Lease lease;
    engine::TaskView view;
    for (std::uint64_t i = random.below(4); i > 0 && host.take(lease, view); --i) {
      ASSERT_EQ(host.worker->succeed(lease, view, {}, now()), engine::Settled::kDone);
      ended.insert(test::number_of(view));
      ended_at[test::number_of(view)] = shm::journal_position(*host.segment);
    }
    ASSERT_TRUE(host.writer->step(host.now_ns += 6'000'000).ok());
    Point point{.event = store.events(), .must = {}, .may = {}};
    const std::uint64_t durable = host.segment->header().journal_durable.load();
    for (const std::uint64_t n : accepted) {
      if (!ended.contains(n) && accepted_at[n] <= durable) point.must.insert(n);
      if (!ended.contains(n) || ended_at[n] > durable) point.may.insert(n);
    }
    points.push_back(point);
  }
  std::size_t disks = 0;
  for (std::size_t i = 0; i + 1 < points.size(); i += 2) {
    store.lose_power(points[i].event, 2, random, [&](const Image& image) {
      if (++disks % 3 != 0) return;
      PowerStore disk(image);
      Host after(0, shm::Durability::kMemory);
      after.must_open(disk);
      const auto back = after.alive();
      const std::set<std::uint64_t> once(back.begin(), back.end());
      EXPECT_EQ(back.size(), once.size()) << "event " << points[i].event;
      for (const std::uint64_t n : points[i].must) EXPECT_TRUE(once.contains(n)) << n;
      for (const std::uint64_t n : once) EXPECT_TRUE(points[i].may.contains(n)) << n;
    });
  }
  EXPECT_GT(disks, 100u);
}

}  // namespace
}  // namespace stem::journal
