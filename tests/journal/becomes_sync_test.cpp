// A queue that is made `sync` while somebody enqueues: who is told that all is well has all of it on disk.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "api/producer.hpp"
#include "shm/journal_line.hpp"
#include "tests/journal/host.hpp"

namespace stem::journal {
namespace {

// As whoever makes the queue `sync` leaves it before he has asked the writer to look at every slot.
void half_make_sync(Host& host) {
  ASSERT_TRUE(shm::commit_journal_marks(*host.segment));
  host.segment->queue(host.queue).durability.store(static_cast<std::uint32_t>(shm::Durability::kSync));
}

// A writer at work, whose patrol does not come to these slots.
class Writing {
 public:
  explicit Writing(Host& host)
      : host_(host), thread_([this] {
          while (!stop_) EXPECT_TRUE(host_.writer->step(host_.now_ns += 1000).ok());
        }) {}
  ~Writing() {
    stop_ = true;
    thread_.join();
  }

 private:
  Host& host_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

std::multiset<std::uint64_t> alive_after_the_power_went(const PowerStore& store) {
  PowerStore disk(store.image());
  Host after(0, shm::Durability::kMemory);
  after.must_open(disk);
  return after.alive();
}

TEST(BecomesSync, ABatchIsOnDiskFromItsFirstTaskOn) {
  PowerStore store;
  Host host(0, shm::Durability::kMemory);
  host.must_open(store);
  std::vector<TaskId> ids;
  for (std::uint64_t i = 1; i <= 5; ++i) ids.push_back(host.put(i));
  half_make_sync(host);
  api::Producer producer(*host.producer);
  std::size_t kept = 0;
  {
    Writing writing(host);
    EXPECT_EQ(producer.make_durable(host.queue, ids, kept), nullptr);
  }
  EXPECT_EQ(kept, 5u);
  EXPECT_EQ(alive_after_the_power_went(store), (std::multiset<std::uint64_t>{1, 2, 3, 4, 5}));
}

// Full after three of five; while the producer waits for room, the queue becomes `sync`.
TEST(BecomesSync, WhatABatchEnqueuedBeforeItIsOnDiskToo) {
  struct Waiting final : api::Clock {
    std::int64_t monotonic_ns() const noexcept override { return now(); }
    std::int64_t realtime_ns() const noexcept override { return base::realtime_ns(); }
    void pause(std::int64_t) const noexcept override { then(); }
    std::function<void()> then;
  };
  PowerStore store;
  Host host(0, shm::Durability::kMemory);
  host.must_open(store);
  engine::Control::Limits limits;
  limits.max_length = 3;
  limits.overflow = static_cast<std::int64_t>(shm::Overflow::kBlock);
  engine::Control(*host.producer).set_limits(host.queue, limits);
  Waiting clock;
  clock.then = [&] {
    host.segment->queue(host.queue).max_length.store(0);
    half_make_sync(host);
  };
  api::Producer producer(*host.producer, &clock);
  std::uint64_t numbers[5] = {1, 2, 3, 4, 5};
  std::vector<BytesView> payloads;
  for (const auto& number : numbers) payloads.emplace_back(std::as_bytes(std::span(&number, 1)));
  detail::Enqueued made[5];
  std::size_t done = 0;
  bool detached = false;
  const TaskInfo task("work", {.queue = "durable"}, false);
  {
    Writing writing(host);
    EXPECT_EQ(producer.enqueue_many(task, payloads, false, nullptr, made, done, detached), nullptr);
  }
  EXPECT_EQ(done, 5u);
  EXPECT_EQ(alive_after_the_power_went(store), (std::multiset<std::uint64_t>{1, 2, 3, 4, 5}));
}

}  // namespace
}  // namespace stem::journal
