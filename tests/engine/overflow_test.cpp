// Full: a queue at its maximum length, a segment without slots, a payload without room.
#include <algorithm>
#include <cstring>

#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class Overflow : public VirtualHost {
 protected:
  explicit Overflow(void (*change)(shm::SegmentOptions&) = nullptr) : VirtualHost(change) {}
  void limit(std::int64_t max_length, shm::Overflow overflow) {
    Control::Limits limits;
    limits.max_length = max_length;
    limits.overflow = static_cast<int>(overflow);
    Control(*producer_).set_limits(queue_, limits);
  }
};

TEST_F(Overflow, AQueueThatRejectsSaysFull) {
  limit(5, shm::Overflow::kReject);
  for (std::uint64_t n = 0; n < 5; ++n) put(n);
  EXPECT_EQ(offer(5).status, EnqueueStatus::kFull);
  auto task = start();
  ASSERT_TRUE(task);
  put(6);
  EXPECT_EQ(offer(7).status, EnqueueStatus::kFull);
  EXPECT_EQ(succeed(*task), Settled::kDone);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1, 2, 3, 4, 6}));
  EXPECT_EQ(tally(), "enqueued 6 started 6 succeeded 6") << "what was refused is nobody's";
}

TEST_F(Overflow, AQueueThatBlocksIsFullToTheEngine) {
  limit(1, shm::Overflow::kBlock);
  put(1);
  EXPECT_EQ(offer(2).status, EnqueueStatus::kFull) << "the front door waits, the engine does not";
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(Overflow, AQueueMayDropItsOldest) {
  limit(3, shm::Overflow::kDropOldest);
  const TaskId first = put(0, [](TaskSpec& spec) { spec.keep_result = true; });
  for (std::uint64_t n = 1; n < 10; ++n) put(n);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{7, 8, 9}));
  EXPECT_EQ(tally(), "enqueued 10 started 3 succeeded 3 dropped 7");
  std::vector<std::byte> bytes;
  FailureRecord failure;
  EXPECT_EQ(read_result(*producer_, first, bytes, failure), ResultState::kCancelled) << "who waits is told";
  EXPECT_EQ(failure.kind(), "overflow");
}

TEST_F(Overflow, WhatIsLeastUrgentIsDroppedFirst) {
  limit(4, shm::Overflow::kDropOldest);
  for (const std::uint64_t p : {9u, 1u, 5u, 1u})
    put(p, [p](TaskSpec& spec) { spec.priority = static_cast<std::uint8_t>(p); });
  put(100, [](TaskSpec& spec) { spec.priority = 7; });
  put(101, [](TaskSpec& spec) { spec.priority = 7; });
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{9, 100, 101, 5}));
}

TEST_F(Overflow, ALimitSetLaterHoldsForRunsThatAreThere) {
  put_many(0, 30);
  limit(3, shm::Overflow::kDropOldest);
  put(30);
  EXPECT_EQ(count(shm::Counter::kEnqueued), 31u);
  const std::uint64_t dropped = count(shm::Counter::kDropped);
  EXPECT_EQ(drain().size(), 31 - dropped);
}

// Revoked and purged tasks leave stale hints in the rings; they are not the queue's length.
TEST_F(Overflow, WhatWasRevokedTakesNoRoom) {
  limit(4, shm::Overflow::kReject);
  Control(*producer_).pause(queue_, 0);  // nobody looks into the ring
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t n = 0; n < 4; ++n) put(n);
    EXPECT_EQ(offer(4).status, EnqueueStatus::kFull);
    EXPECT_EQ(Control(*producer_).purge(queue_, now_), 4u);
  }
  Control(*producer_).resume(queue_, 0);
  EXPECT_TRUE(drain().empty());
}

TEST_F(Overflow, ABatchStopsWhereTheQueueIsFull) {
  limit(5, shm::Overflow::kReject);
  std::vector<std::unique_ptr<test::Numbered>> tasks;
  std::vector<TaskSpec> specs;
  for (std::uint64_t n = 0; n < 8; ++n) {
    tasks.push_back(std::make_unique<test::Numbered>(queue_, task_, n));
    specs.push_back(tasks.back()->spec);
  }
  std::size_t done = 0;
  EXPECT_EQ(producer_->enqueue_many(specs.data(), 8, nullptr, done, now_), EnqueueStatus::kFull);
  EXPECT_EQ(done, 5u);
  EXPECT_EQ(drain().size(), 5u);
}

// ---- no slot left

class FullSegment : public Overflow {
 protected:
  FullSegment() : Overflow([](shm::SegmentOptions& options) { options.slot_count = 256; }) {}
  std::uint64_t fill() {
    std::uint64_t n = 0;
    while (offer(n).status == EnqueueStatus::kOk) ++n;
    return n;
  }
};

TEST_F(FullSegment, EverySlotIsUsedAndThenItIsFull) {
  EXPECT_EQ(fill(), 256u);
  EXPECT_EQ(offer(0).status, EnqueueStatus::kFull);
  TaskSpec spec;
  spec.queue = queue_;
  spec.task = task_;
  Loan loan;
  EXPECT_EQ(producer_->loan(spec, 1000, loan, now_), EnqueueStatus::kFull);
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(offer(0).status, EnqueueStatus::kFull);
  EXPECT_EQ(succeed(*task), Settled::kDone);
  put(1000);
  EXPECT_EQ(offer(0).status, EnqueueStatus::kFull);
  EXPECT_EQ(drain().size(), 256u);
  EXPECT_EQ(fill(), 256u) << "all of them came back";
  EXPECT_EQ(drain().size(), 256u);
}

TEST_F(FullSegment, AQueueThatDropsItsOldestGoesOn) {
  limit(0, shm::Overflow::kDropOldest);
  for (std::uint64_t n = 0; n < 1000; ++n) put(n);
  const auto left = drain();
  EXPECT_EQ(left.size(), 256u);
  EXPECT_EQ(left.front(), 744u);
  EXPECT_EQ(tally(), "enqueued 1000 started 256 succeeded 256 dropped 744");
}

TEST_F(FullSegment, SoDoBatches) {
  limit(0, shm::Overflow::kDropOldest);
  for (std::uint64_t n = 0; n < 10'000; n += 100) put_many(n, 100);
  const auto left = drain();
  ASSERT_GE(left.size(), 256u);
  EXPECT_TRUE(std::count(left.begin(), left.end(), 9999u) == 1) << "the last to come is there";
  EXPECT_EQ(count(shm::Counter::kDropped), 10'000 - left.size());
}

// Nothing of the queue is there but what this very batch has brought: its runs are found once their hints are there.
TEST_F(FullSegment, ABatchThatFillsItDropsItsOwnOldest) {
  queue_ = test::must_queue(*segment_, "other");
  (void)fill();
  for (int i = 0; i < 2; ++i) {
    auto task = start();
    ASSERT_TRUE(task);
    ASSERT_EQ(succeed(*task), Settled::kDone);
  }
  queue_ = test::must_queue(*segment_, "q");
  limit(0, shm::Overflow::kDropOldest);
  (void)put_many(0, 60);
  const auto left = drain();
  EXPECT_EQ(count(shm::Counter::kDropped), 60 - left.size());
  ASSERT_FALSE(left.empty());
  EXPECT_EQ(left.back(), 59u);
  EXPECT_TRUE(std::is_sorted(left.begin(), left.end())) << "the oldest went";
}

TEST_F(FullSegment, AnotherQueuesTasksAreNotDropped) {
  (void)fill();
  queue_ = test::must_queue(*segment_, "other");
  limit(0, shm::Overflow::kDropOldest);
  EXPECT_EQ(offer(0).status, EnqueueStatus::kFull);
  queue_ = test::must_queue(*segment_, "q");
  EXPECT_EQ(drain().size(), 256u);
}

// A worker that may hold one task at a time meets runs in a segment without a free slot: it must get on.
TEST_F(FullSegment, RunsAreWorkedOffOneByOne) {
  std::uint64_t number = 0;
  for (;; number += 15) {
    std::vector<std::unique_ptr<test::Numbered>> tasks;
    std::vector<TaskSpec> specs;
    for (std::uint64_t i = 0; i < 15; ++i) {
      tasks.push_back(std::make_unique<test::Numbered>(queue_, task_, number + i));
      specs.push_back(tasks.back()->spec);
    }
    std::size_t done = 0;
    if (producer_->enqueue_many(specs.data(), 15, nullptr, done, now_) != EnqueueStatus::kOk) break;
  }
  ASSERT_EQ(number, 256u * 15);
  std::vector<bool> seen(number);
  for (int idle = 0; idle < 20'000;) {
    Held held;
    if (worker_->claim(queue_, &held.lease, 1, now_) != 1) {
      ++idle;
      continue;
    }
    idle = 0;
    ASSERT_TRUE(worker_->view(held.lease, held.view));
    ASSERT_EQ(worker_->begin(held.lease, held.view, now_), Begin::kStart);
    ASSERT_FALSE(seen[held.number()]);
    seen[held.number()] = true;
    ASSERT_EQ(succeed(held), Settled::kDone);
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), static_cast<std::ptrdiff_t>(number));
  EXPECT_EQ(slots(shm::State::kQuarantine), 0u);
}

// Items that fail while there is no slot to move to: they run again until there is, and none is lost.
TEST_F(FullSegment, ItemsThatFailWithoutRoomAreNotLost) {
  put_many(0, 15);
  const std::uint64_t singles = [this] {
    std::uint64_t n = 100;
    while (offer(n, [](TaskSpec& spec) {
             spec.priority = 0;
             spec.due_ns = INT64_MAX;
           }).status == EnqueueStatus::kOk)
      ++n;
    return n - 100;
  }();
  EXPECT_EQ(singles, 255u);
  for (int round = 0; round < 10'000; ++round) {
    Lease leases[16];
    const std::uint32_t n = worker_->claim(queue_, leases, 16, now_);
    for (std::uint32_t i = 0; i < n; ++i) {
      TaskView view;
      if (!worker_->view(leases[i], view)) continue;
      bool retried = false;
      (void)worker_->fail(leases[i], view, {"error", "no"}, 0, now_, retried);
    }
  }
  EXPECT_EQ(slots(shm::State::kQuarantine), 0u);
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), 255u);  // room at last
  auto numbers = drain();
  std::sort(numbers.begin(), numbers.end());
  ASSERT_EQ(numbers.size(), 15u);
  for (std::uint64_t n = 0; n < 15; ++n) EXPECT_EQ(numbers[n], n);
}

// What a worker keeps for want of a slot is of a queue that rejects; another one drops its own.
TEST_F(FullSegment, WhatAWorkerKeepsOfAnotherQueueIsNotDropped) {
  put_many(0, 15);
  while (offer(100, [](TaskSpec& spec) { spec.due_ns = INT64_MAX; }).status == EnqueueStatus::kOk) {
  }
  Lease leases[16];
  ASSERT_EQ(worker_->claim(queue_, leases, 16, now_), 15u);
  TaskView view;
  bool retried = false;
  for (int i = 0; i < 15; ++i) {
    ASSERT_TRUE(worker_->view(leases[i], view));
    (void)worker_->fail(leases[i], view, {"error", "no"}, 0, now_, retried);
  }
  const std::uint32_t own = queue_;
  queue_ = test::must_queue(*segment_, "other");
  limit(0, shm::Overflow::kDropOldest);
  test::Numbered child(queue_, task_, 7);
  for (int i = 0; i < 15; ++i) EXPECT_EQ(worker_->enqueue(child.spec, now_).status, EnqueueStatus::kFull);
  queue_ = own;
  EXPECT_EQ(count(shm::Counter::kDropped), 0u);
  (void)Control(*producer_).purge(queue_, now_);
  EXPECT_EQ(drain().size(), 15u);
}

// More runs than an engine has places for are held back in a full segment: none is put aside for it.
TEST_F(FullSegment, ManyRunsThatCannotMoveOutAreNotPutAside) {
  for (std::uint64_t n = 0; n < 16; ++n) put_many(n * 4, 4);
  while (offer(100, [](TaskSpec& spec) { spec.due_ns = INT64_MAX; }).status == EnqueueStatus::kOk) {
  }
  for (int round = 0; round < 5'000; ++round) {
    Lease leases[64];
    const std::uint32_t n = worker_->claim(queue_, leases, 64, now_);
    for (std::uint32_t i = 0; i < n; ++i) {
      TaskView view;
      if (!worker_->view(leases[i], view)) continue;
      bool retried = false;
      (void)worker_->fail(leases[i], view, {"error", "no"}, 0, now_, retried);
    }
  }
  EXPECT_EQ(slots(shm::State::kQuarantine), 0u);
  (void)Control(*producer_).purge(queue_, now_);
  EXPECT_EQ(drain().size(), 64u);
}

// Looking at a rate limit again and again pays for nothing while there is no slot to wait in.
TEST_F(FullSegment, WaitingForRoomUsesUpNoRate) {
  put_many(0, 15);
  while (offer(100, [](TaskSpec& spec) { spec.due_ns = INT64_MAX; }).status == EnqueueStatus::kOk) {
  }
  Control::Limits limits;
  limits.set_rate = true;
  limits.rate = {1, 1};
  Control(*producer_).set_limits(queue_, limits);
  for (int round = 0; round < 2'000; ++round) {
    Lease leases[16];
    const std::uint32_t n = worker_->claim(queue_, leases, 16, now_);
    for (std::uint32_t i = 0; i < n; ++i) {
      TaskView view;
      if (!worker_->view(leases[i], view)) continue;
      if (worker_->begin(leases[i], view, now_) != Begin::kStart) continue;
      EXPECT_EQ(worker_->succeed(leases[i], view, {}, now_), Settled::kDone);
    }
  }
  EXPECT_EQ(count(shm::Counter::kSucceeded), 1u);
  (void)Control(*producer_).purge(queue_, now_);
  std::uint64_t ran = 0;
  for (int second = 0; second < 30; ++second) {
    ran += drain().size();
    pass(kSecondNs);
  }
  EXPECT_EQ(ran, 14u);
}

// ---- payloads

class Payload : public VirtualHost {
 protected:
  static std::vector<std::byte> bytes(std::size_t size) {
    std::vector<std::byte> all(size);
    for (std::size_t i = 0; i < size; ++i) all[i] = static_cast<std::byte>(i * 31 + size);
    return all;
  }
  EnqueueResult enqueue(const std::vector<std::byte>& payload, const TaskExtras* extras = nullptr) {
    TaskSpec spec;
    spec.queue = queue_;
    spec.task = task_;
    spec.payload = payload;
    spec.extras = extras;
    return producer_->enqueue(spec, now_);
  }
};

TEST_F(Payload, EverySizeUpToOneMebibyteArrivesWhole) {
  TaskExtras extras;
  extras.headers = "{}";
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65},
                                 std::size_t{192}, std::size_t{193}, std::size_t{4032}, std::size_t{4033},
                                 std::size_t{100'000}, std::size_t{(1u << 20) - 1}, std::size_t{1u << 20}}) {
    for (const TaskExtras* with : {static_cast<const TaskExtras*>(nullptr), static_cast<const TaskExtras*>(&extras)}) {
      const auto sent = bytes(size);
      ASSERT_EQ(enqueue(sent, with).status, EnqueueStatus::kOk) << size;
      auto task = start();
      ASSERT_TRUE(task) << size;
      ASSERT_EQ(task->view.payload.size(), size);
      ASSERT_TRUE(std::equal(sent.begin(), sent.end(), task->view.payload.begin()));
      ASSERT_EQ(succeed(*task), Settled::kDone);
    }
  }
}

TEST_F(Payload, BeyondThatItIsTooLarge) {
  const auto sent = bytes((1u << 20) + 1);
  EXPECT_EQ(enqueue(sent).status, EnqueueStatus::kTooLarge);
  TaskSpec spec;
  spec.queue = queue_;
  spec.task = task_;
  Loan loan;
  EXPECT_EQ(producer_->loan(spec, (1u << 20) + 1, loan, now_), EnqueueStatus::kTooLarge);
  const std::string headers(500'000, 'h');
  TaskExtras extras;
  extras.headers = headers;
  EXPECT_EQ(enqueue(bytes(500'000), &extras).status, EnqueueStatus::kOk) << "headers and payload share the room";
  EXPECT_EQ(enqueue(bytes(1u << 20), &extras).status, EnqueueStatus::kTooLarge);
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), 1u);
  EXPECT_EQ(tally(), "enqueued 1 cancelled 1");
}

TEST_F(Payload, ALoanIsWrittenInPlaceAndMayBeDropped) {
  TaskSpec spec;
  spec.queue = queue_;
  spec.task = task_;
  for (const std::uint32_t size : {10u, 64u, 65u, 500'000u}) {
    Loan loan;
    ASSERT_EQ(producer_->loan(spec, size, loan, now_), EnqueueStatus::kOk);
    ASSERT_EQ(loan.payload.size(), size);
    producer_->drop(loan);
    ASSERT_EQ(producer_->loan(spec, size, loan, now_), EnqueueStatus::kOk);
    const auto sent = bytes(size);
    std::memcpy(loan.payload.data(), sent.data(), size);
    ASSERT_EQ(producer_->publish(loan, now_).status, EnqueueStatus::kOk);
    auto task = start();
    ASSERT_TRUE(task);
    ASSERT_EQ(task->view.payload.size(), size);
    EXPECT_TRUE(std::equal(sent.begin(), sent.end(), task->view.payload.begin()));
    EXPECT_EQ(succeed(*task), Settled::kDone);
  }
  EXPECT_EQ(tally(), "enqueued 4 started 4 succeeded 4");
}

TEST_F(Payload, BlocksComeBack) {
  const std::uint64_t before = segment_->header().superblocks_used.load();
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(enqueue(bytes(300'000)).status, EnqueueStatus::kOk);
    auto task = start();
    ASSERT_TRUE(task);
    ASSERT_EQ(succeed(*task), Settled::kDone);
  }
  EXPECT_LE(segment_->header().superblocks_used.load() - before, 4u);
}

TEST_F(Payload, WithoutRoomForItNothingIsMade) {
  std::uint64_t accepted = 0;
  EnqueueStatus status = EnqueueStatus::kOk;
  while ((status = enqueue(bytes(1u << 20)).status) == EnqueueStatus::kOk) ++accepted;
  EXPECT_EQ(status, EnqueueStatus::kNoMemory);
  EXPECT_GT(accepted, 100u);
  put(1);  // small ones still fit
  put_many(2, 15);
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), accepted + 16);
  patrol();
  EXPECT_EQ(enqueue(bytes(1u << 20)).status, EnqueueStatus::kOk);
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), 1u);
}

}  // namespace
}  // namespace stem::engine
