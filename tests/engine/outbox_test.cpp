// Tasks on their way to other hosts and from them, as a gateway moves them.
#include "engine/outbox.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <map>

#include "tests/support/attached.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"

namespace stem::test {
namespace {

using engine::EnqueueStatus;
using engine::Lease;
using engine::Outbox;
using engine::Parcel;
using engine::ResultState;
using engine::TaskView;
using shm::Counter;
using shm::State;

constexpr std::int64_t kNow = 1'000'000'000'000;

class OutboxTest : public ::testing::Test {
 protected:
  OutboxTest()
      : segment_(must_create(small_segment(directory_))),
        producer_(segment_),
        worker_(segment_, shm::Role::kWorker),
        queue_(must_queue(*segment_, "q")),
        task_(must_task(*segment_, "t")) {}

  ~OutboxTest() override { EXPECT_EQ(broken_invariants(*producer_), ""); }

  engine::TaskId enqueue(std::uint64_t number, bool keep_result = false) {
    Numbered task(queue_, task_, number);
    task.spec.keep_result = keep_result;
    const auto made = producer_->enqueue(task.spec, kNow);
    EXPECT_EQ(made.status, EnqueueStatus::kOk);
    return made.id;
  }
  engine::TaskId import(Outbox& outbox, std::uint64_t number, std::string_view origin) {
    Numbered task(queue_, task_, number);
    engine::TaskExtras extras;
    extras.origin = origin;
    task.spec.extras = &extras;
    task.spec.attempt = 2;
    const auto made = outbox.import(task.spec, kNow);
    EXPECT_EQ(made.status, EnqueueStatus::kOk);
    return made.id;
  }
  // The one task there is, claimed and begun by the worker.
  Lease start(TaskView& view) {
    Lease lease;
    EXPECT_EQ(worker_->claim(queue_, &lease, 1, kNow), 1u);
    EXPECT_TRUE(worker_->view(lease, view));
    EXPECT_EQ(worker_->begin(lease, view, kNow), engine::Begin::kStart);
    return lease;
  }
  std::uint64_t count(Counter c) { return engine::Query(*producer_).counters(queue_)[c]; }
  std::map<std::uint64_t, std::string> imports(Outbox& outbox) {
    std::map<std::uint64_t, std::string> found;
    outbox.each_import(
        [&](engine::TaskId id, const engine::TaskExtras& e) { found[id.handle] = std::string(e.origin); });
    return found;
  }

  ScratchDirectory directory_;
  std::shared_ptr<shm::Segment> segment_;
  Attached producer_;
  Attached worker_;
  std::uint32_t queue_;
  std::uint32_t task_;
  std::vector<Lease> imported_;
};

TEST_F(OutboxTest, WhatIsTakenNobodyRunsHereAndHandingOverEndsIt) {
  Attached gateway(segment_, shm::Role::kGateway);
  Outbox outbox(*gateway);
  for (std::uint64_t i = 0; i < 5; ++i) (void)enqueue(i);
  Parcel parcels[8];
  ASSERT_EQ(outbox.take(queue_, parcels, 8, imported_, kNow), 5u);
  Lease lease;
  EXPECT_EQ(worker_->claim(queue_, &lease, 1, kNow), 0u);
  for (std::uint64_t i = 0; i < 5; ++i) {
    TaskView view;
    ASSERT_TRUE(outbox.view(parcels[i], view));
    EXPECT_EQ(number_of(view), i);
    EXPECT_TRUE(outbox.hand_over(parcels[i]));
    EXPECT_FALSE(outbox.hand_over(parcels[i])) << "twice";
  }
  EXPECT_EQ(count(Counter::kExported), 5u);
  EXPECT_EQ(slots_in(*segment_, State::kOutbox), 0u);
}

TEST_F(OutboxTest, ItemsOfARunTravelByThemselves) {
  Attached gateway(segment_, shm::Role::kGateway);
  Outbox outbox(*gateway);
  std::vector<std::unique_ptr<Numbered>> tasks;
  std::vector<engine::TaskSpec> specs;
  for (std::uint64_t i = 0; i < 15; ++i) {
    tasks.push_back(std::make_unique<Numbered>(queue_, task_, i));
    specs.push_back(tasks.back()->spec);
  }
  std::size_t done = 0;
  ASSERT_EQ(producer_->enqueue_many(specs.data(), specs.size(), nullptr, done, kNow), EnqueueStatus::kOk);
  Parcel parcels[16];
  std::map<std::uint64_t, int> seen;
  while (const std::uint32_t n = outbox.take(queue_, parcels, 16, imported_, kNow)) {
    for (std::uint32_t i = 0; i < n; ++i) {
      TaskView view;
      ASSERT_TRUE(outbox.view(parcels[i], view));
      ++seen[number_of(view)];
      EXPECT_TRUE(outbox.hand_over(parcels[i]));
    }
  }
  EXPECT_EQ(seen.size(), 15u);
  for (const auto& [number, times] : seen) EXPECT_EQ(times, 1) << number;
  EXPECT_EQ(count(Counter::kExported), 15u);
}

TEST_F(OutboxTest, ADeadGatewaysParcelsWaitForTheNext) {
  const engine::TaskId id = enqueue(7);
  Process gateway([this] {
    auto segment = must_attach("test", directory_.path());
    Attached self(segment, shm::Role::kGateway);
    Parcel parcel;
    if (Outbox(*self).take(queue_, &parcel, 1, imported_, kNow) == 1) ::raise(SIGKILL);
    return 1;
  });
  ASSERT_EQ(gateway.wait(), 128 + SIGKILL);
  EXPECT_EQ(worker_->sweep_all(kNow), 1u);
  Lease lease;
  EXPECT_EQ(worker_->claim(queue_, &lease, 1, kNow), 0u) << "it may be on another host";
  EXPECT_EQ(slots_in(*segment_, State::kOutbox), 1u);
  EXPECT_EQ(broken_invariants(*producer_), "");

  Attached next(segment_, shm::Role::kGateway);
  Outbox outbox(*next);
  const auto adopted = outbox.adopt();
  ASSERT_EQ(adopted.size(), 1u);
  EXPECT_TRUE(outbox.adopt().empty()) << "once";
  TaskView view;
  ASSERT_TRUE(outbox.view(adopted[0], view));
  EXPECT_EQ(view.id, id);
  ASSERT_TRUE(outbox.give_back(adopted[0], kNow));
  const Lease mine = start(view);
  EXPECT_EQ(worker_->succeed(mine, view, {}, kNow), engine::Settled::kDone);
}

TEST_F(OutboxTest, ACleanEndLeavesParcelsToTheNext) {
  Attached gateway(segment_, shm::Role::kGateway);
  Outbox outbox(*gateway);
  (void)enqueue(1);
  Parcel parcel;
  ASSERT_EQ(outbox.take(queue_, &parcel, 1, imported_, kNow), 1u);
  outbox.leave(parcel);
  EXPECT_FALSE(outbox.hand_over(parcel));
  const auto adopted = outbox.adopt();
  ASSERT_EQ(adopted.size(), 1u);
  outbox.leave(adopted[0]);
}

TEST_F(OutboxTest, AResultThatComesBackIsTheTasks) {
  Attached gateway(segment_, shm::Role::kGateway);
  Outbox outbox(*gateway);
  const engine::TaskId good = enqueue(1, true);
  const engine::TaskId bad = enqueue(2, true);
  Parcel parcels[2];
  ASSERT_EQ(outbox.take(queue_, parcels, 2, imported_, kNow), 2u);
  std::vector<std::byte> bytes;
  engine::FailureRecord failure;
  EXPECT_EQ(engine::read_result(*producer_, good, bytes, failure), ResultState::kPending);
  const std::string_view result = "forty-two";
  ASSERT_TRUE(outbox.end(parcels[0], engine::OutcomeKind::kSucceeded, std::as_bytes(std::span(result)), kNow));
  EXPECT_FALSE(outbox.end(parcels[0], engine::OutcomeKind::kSucceeded, {}, kNow)) << "twice";
  const auto record = engine::make_failure_record({"remote", "it broke there"}, 0, kNow, 3);
  ASSERT_TRUE(outbox.end(parcels[1], engine::OutcomeKind::kFailed, record.bytes(), kNow));

  ASSERT_EQ(engine::read_result(*producer_, good, bytes, failure), ResultState::kSucceeded);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), result);
  ASSERT_EQ(engine::read_result(*producer_, bad, bytes, failure), ResultState::kFailed);
  EXPECT_EQ(failure.message(), "it broke there");
  EXPECT_EQ(count(Counter::kExported), 2u);
}

TEST_F(OutboxTest, AResultWithoutRoomIsNotAnEmptyOne) {
  Attached gateway(segment_, shm::Role::kGateway);
  Outbox outbox(*gateway);
  const engine::TaskId id = enqueue(1, true);
  Parcel parcel;
  ASSERT_EQ(outbox.take(queue_, &parcel, 1, imported_, kNow), 1u);
  const std::string large(shm::kMaxPayloadBytes + 1, 'x');
  EXPECT_FALSE(outbox.end(parcel, engine::OutcomeKind::kSucceeded, std::as_bytes(std::span(large)), kNow));
  std::vector<std::byte> bytes;
  engine::FailureRecord failure;
  EXPECT_EQ(engine::read_result(*producer_, id, bytes, failure), ResultState::kPending);
  EXPECT_TRUE(outbox.end(parcel, engine::OutcomeKind::kSucceeded, std::as_bytes(std::span(large).first(9)), kNow));
}

TEST_F(OutboxTest, AnImportedTaskStaysUntilItsEndWasTold) {
  Attached gateway(segment_, shm::Role::kGateway);
  Outbox outbox(*gateway);
  const engine::TaskId id = import(outbox, 9, "lane/1-0");
  EXPECT_FALSE(outbox.forget(id)) << "not over";
  TaskView view;
  const Lease lease = start(view);
  EXPECT_EQ(view.tally.attempts, 2u) << "the attempts it had on other hosts";
  EXPECT_EQ(imports(outbox)[id.handle], "lane/1-0");
  const std::string_view result = "done";
  ASSERT_EQ(worker_->succeed(lease, view, std::as_bytes(std::span(result)), kNow), engine::Settled::kDone);
  EXPECT_EQ(imports(outbox)[id.handle], "lane/1-0") << "over, and not told yet";
  std::vector<std::byte> bytes;
  engine::FailureRecord failure;
  EXPECT_EQ(engine::read_result(*gateway, id, bytes, failure), ResultState::kSucceeded);
  EXPECT_TRUE(outbox.forget(id));
  EXPECT_TRUE(outbox.forget(id)) << "again";
  EXPECT_TRUE(imports(outbox).empty());
  EXPECT_EQ(count(Counter::kImported), 1u);
  EXPECT_EQ(slots_in(*segment_, State::kDone), 0u);
}

TEST_F(OutboxTest, ADeadImportIsTheGatewaysToBury) {
  Attached gateway(segment_, shm::Role::kGateway);
  Outbox outbox(*gateway);
  const engine::TaskId id = import(outbox, 9, "lane/2-0");
  TaskView view;
  const Lease lease = start(view);
  ASSERT_EQ(worker_->bury(lease, view, engine::DeadReason::kPermanentFailure, {"broken", "for good"}, kNow),
            engine::Settled::kDone);
  EXPECT_EQ(imports(outbox)[id.handle], "lane/2-0");
  EXPECT_TRUE(outbox.forget(id));
  EXPECT_EQ(slots_in(*segment_, State::kDead), 0u);
  EXPECT_EQ(count(Counter::kDeadPurged), 1u);
}

TEST_F(OutboxTest, AnImportedTaskIsNotOursToSend) {
  Attached gateway(segment_, shm::Role::kGateway);
  Outbox outbox(*gateway);
  const engine::TaskId id = import(outbox, 9, "lane/3-0");
  Parcel parcel;
  ASSERT_EQ(outbox.take(queue_, &parcel, 1, imported_, kNow), 0u);
  ASSERT_EQ(imported_.size(), 1u);
  const std::uint32_t grant = imported_[0].word.grant();
  outbox.put_off(imported_[0], kNow + 1);
  const auto word = segment_->descriptor(id.slot()).control.load();
  EXPECT_EQ(word.state(), State::kDelayed);
  EXPECT_EQ(word.grant(), grant) << "waiting uses nothing up";
}

}  // namespace
}  // namespace stem::test
