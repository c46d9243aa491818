// After a failed write, and beside tasks that do not stand still: what the journal keeps while it is written anew.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "engine/links.hpp"
#include "journal/reader.hpp"
#include "tests/journal/host.hpp"
#include "tests/journal/ticks.hpp"

namespace stem::journal {
namespace {

// Numbers of what would be alive after the power went now.
std::multiset<std::uint64_t> alive_on(const PowerStore& store, const WriterOptions& options = kSmallFiles) {
  PowerStore copy(store.image());
  Host after(0, shm::Durability::kMemory);
  after.must_open(copy, options);
  return after.alive();
}

[[nodiscard]] bool has_file(PowerStore& store, std::uint64_t sequence) {
  const auto names = store.names();
  return names.ok() && std::find(names->begin(), names->end(), file_name(sequence)) != names->end();
}

// A run is said again without the items that an older file says are over; these follow once the marks have been looked
// at, and behind what else is over. Until they are on disk that file stays.
TEST(JournalFault, NoFileGoesWhileEndsFromBeforeTheFaultAreHeld) {
  constexpr std::uint32_t kResults = 12;
  const std::string result(300'000, 'r');  // two of them are as much as one write takes of ends
  const std::string big(60'000, 'y');
  PowerStore store;
  Host host;
  host.must_open(store, kLargeFiles);
  engine::Lease kept[kResults], items[15];
  engine::TaskView view;
  for (std::uint32_t i = 0; i < kResults; ++i)  // in slots before the run's
    host.put(100, [](TaskSpec& spec, TaskExtras& extras) {
      spec.keep_result = true;
      extras.result_ttl_ns = 3600 * kSecondNs;
    });
  ASSERT_EQ(host.worker->claim(host.queue, kept, kResults, now()), kResults);
  const auto end = [&](const engine::Lease& lease, std::string_view with) {
    ASSERT_TRUE(host.worker->view(lease, view));
    ASSERT_EQ(host.worker->begin(lease, view, now()), engine::Begin::kStart);
    ASSERT_EQ(host.worker->succeed(lease, view, std::as_bytes(std::span(with)), now()), engine::Settled::kDone);
  };
  for (std::uint64_t i = 0; i < 32; ++i)  // slots are handed out in no order, but by the thirty-two
    host.put(200 + i, [](TaskSpec& spec, TaskExtras&) { spec.due_ns = now() + 3600 * kSecondNs; });
  const TaskId run = host.put_runs(1, 15).front();
  for (const engine::Lease& lease : kept) ASSERT_LT(lease.slot, run.slot());
  ASSERT_EQ(host.worker->claim(host.queue, items, 15, now()), 15u);
  for (int i = 0; i < 4; ++i) end(items[i], {});
  host.flush();  // the first file says that four are over
  const auto fill = [&](std::uint64_t files) {
    while (host.writer->files() < files) {
      host.put(100, [&](TaskSpec& spec, TaskExtras&) { spec.payload = std::as_bytes(std::span(big)); });
      host.flush();
      EXPECT_EQ(host.drain().size(), 1u);
    }
  };
  fill(2);
  for (const engine::Lease& lease : kept) end(lease, result);
  fill(8);
  int rounds = 0;
  for (; has_file(store, 1); ++rounds) {  // as there come to be files enough that the first may go
    ASSERT_LT(rounds, 10);
    store.fail_write(0, PowerStore::Fault::kError);
    host.put(100);
    for (bool failed = false; !failed;) failed = !host.writer->step(host.now_ns += 600'000'000).ok();
    host.now_ns += 2 * kSecondNs;
    for (int step = 0; step < 12; ++step) {
      ASSERT_TRUE(host.writer->step(host.now_ns += 600'000'000).ok());
      const auto back = alive_on(store, kLargeFiles);
      for (std::uint64_t n = 1; n <= 15; ++n)
        ASSERT_EQ(back.count(n), n <= 4 ? 0u : 1u) << "item " << n << ", step " << step << " of round " << rounds;
    }
  }
  EXPECT_GT(rounds, 0);
}

// Acknowledged after its image was on the way, by a worker that is stopped before it has enqueued what follows, and the
// image did not arrive: it is said again although it is settling.
TEST(JournalFault, WhatIsOwedIsSaidAgain) {
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
  store.fail_write(0, PowerStore::Fault::kError);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(host.writer->step(host.now_ns += 600'000'000).ok());  // it is on its way
  engine::Lease lease;
  engine::TaskView view;
  ASSERT_TRUE(host.take(lease, view));
  shm::ControlWord word = lease.word;
  ASSERT_TRUE(host.segment->descriptor(id.slot()).control.change(
      word, word.with(shm::State::kSettling, host.worker->self().owner())));
  ASSERT_FALSE(host.writer->step(host.now_ns += 600'000'000).ok());
  host.now_ns += 2 * kSecondNs;
  host.flush();
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  EXPECT_EQ(after.drain(), (std::vector<std::uint64_t>{1, 33}));
}

// The mark of a tick that did not arrive is not said again before its task: power lost in between must not lose the
// tick. Between the tasks of the two ticks lies more than a batch.
TEST(JournalFault, ATickThatDidNotArriveIsMarkedWithItsTask) {
  constexpr std::uint64_t kFill = 300;
  const std::string big(1000, 'y');
  PowerStore store;
  Host host;
  host.must_open(store, kLargeFiles);
  ASSERT_TRUE(
      beat::ScheduleStore(*host.producer).put(entry(R"({"id":"a","task":"work","spec":"every:60s"})"), kOrigin).ok());
  host.flush();
  fire(host, "a", kOrigin + 60 * kSecondNs, 1);
  for (std::uint64_t i = 0; i < kFill; ++i)
    host.put(100 + i, [&](TaskSpec&, TaskExtras& extras) { extras.headers = big; });
  host.flush();
  store.fail_write(0, PowerStore::Fault::kError);
  fire(host, "a", kOrigin + 120 * kSecondNs, 2);
  const std::size_t before = store.events();
  for (bool failed = false; !failed;) failed = !host.writer->step(host.now_ns += 600'000'000).ok();
  host.now_ns += 2 * kSecondNs;
  host.flush();
  base::Random random(7);
  std::size_t disks = 0, with = 0, without = 0, last_event = 0;
  for (std::size_t event = before; event <= store.events(); ++event)
    store.lose_power(event, 2, random, [&](const Image& image) {
      if (std::exchange(last_event, event) == event && ++disks % 31 != 0) return;  // the first of each event, some more
      PowerStore disk(image);
      Host after(0, shm::Durability::kMemory);
      after.must_open(disk, kLargeFiles);
      const auto alive = after.alive();
      EXPECT_TRUE(alive.contains(1));
      for (std::uint64_t n = 1; n <= 2; ++n)
        EXPECT_EQ(alive.contains(n), n <= marked(after, "a")) << n << " at event " << event;
      ++(alive.contains(2) ? with : without);
    });
  EXPECT_GT(with, 0u);
  EXPECT_GT(without, 0u);
}

// Its entry goes while the tick's task is on its way: the task is a task like any other, the entry does not come back
// once that is said, and as long as it does, its mark and the task are there together.
TEST(JournalFault, AScheduleIsRemovedWithItsTickOnItsWay) {
  for (const bool said : {false, true}) {  // the tick's task, before the entry goes
    PowerStore store;
    Host host;
    host.must_open(store);
    beat::ScheduleStore schedules(*host.producer);
    ASSERT_TRUE(schedules.put(entry(R"({"id":"a","task":"work","spec":"every:60s"})"), kOrigin).ok());
    host.flush();
    const std::size_t before = store.events();
    fire(host, "a", kOrigin + 60 * kSecondNs, 1);
    if (said) {
      for (int i = 0; i < 2; ++i) ASSERT_TRUE(host.writer->step(host.now_ns += 6'000'000).ok());
    }
    ASSERT_TRUE(schedules.remove("a").ok());
    ASSERT_TRUE(schedules.put(entry(R"({"id":"b","task":"work","spec":"every:60s"})"), kOrigin).ok());  // in its row
    host.flush();
    base::Random random(9);
    std::size_t disks = 0;
    for (std::size_t event = before; event <= store.events(); ++event)
      store.lose_power(event, 2, random, [&](const Image& image) {
        ++disks;
        PowerStore disk(image);
        Host after(0, shm::Durability::kMemory);
        after.must_open(disk);
        const auto alive = after.alive();
        const bool there = beat::ScheduleStore(*after.producer).find("a").has_value();
        EXPECT_LE(alive.count(1), 1u);
        EXPECT_TRUE(!there || alive.contains(1) == (marked(after, "a") == 1)) << "event " << event;
        EXPECT_EQ(marked(after, "b"), 0u) << "another's tick, event " << event;
        if (event == store.events()) {
          EXPECT_FALSE(there);
          EXPECT_EQ(alive.count(1), 1u);
          EXPECT_TRUE(beat::ScheduleStore(*after.producer).find("b"));
        }
      });
    EXPECT_GT(disks, 20u);
  }
}

// One task changes all the time, faster than it can be looked at: what is said to be on disk is there all the same, of
// it and of the others, and once it stands still all is said.
TEST(JournalFault, ATaskThatChangesAllTheTimeIsWrittenBeforeItIsSaidToBe) {
  PowerStore store;
  Host host;
  host.must_open(store);
  for (int round = 0; round < 40; ++round) {
    const std::uint64_t one = 1000 + 2 * static_cast<std::uint64_t>(round);
    const TaskId id = host.put(one);
    engine::Lease lease;
    engine::TaskView view;
    ASSERT_TRUE(host.take(lease, view));
    std::atomic<bool> stop = false;
    std::thread changing([&] {
      shm::ControlCell& cell = host.segment->descriptor(id.slot()).control;
      shm::ControlWord leased = lease.word;
      while (!stop.load(std::memory_order_relaxed))
        for (const auto state : {shm::State::kDelayed, shm::State::kReady, shm::State::kLeased}) {
          shm::ControlWord word = cell.load();
          ASSERT_TRUE(cell.change(word, leased.with(state, state == shm::State::kLeased ? leased.owner() : 0)));
        }
    });
    host.put(one + 1);
    const std::uint64_t position = shm::journal_position(*host.segment);
    for (int i = 0; i < 8; ++i) {
      EXPECT_TRUE(host.writer->step(host.now_ns += 6'000'000).ok());
      if (host.segment->header().journal_durable.load() < position) continue;
      const auto back = alive_on(store);
      EXPECT_TRUE(back.contains(one) && back.contains(one + 1)) << "round " << round << ", step " << i;
      break;
    }
    stop = true;
    changing.join();
    host.flush();
    EXPECT_TRUE(alive_on(store).contains(one));
    ASSERT_EQ(host.worker->succeed(lease, view, {}, now()), engine::Settled::kDone);
    EXPECT_EQ(host.drain(), std::vector<std::uint64_t>{one + 1});
  }
}

}  // namespace
}  // namespace stem::journal
