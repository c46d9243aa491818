// What happened lately, as the event log tells it (shm/event_log.hpp).
#include "shm/event_log.hpp"

#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/trace.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class EventTest : public VirtualHost {
 protected:
  // Of one task, oldest first, as "task-retry task-failed".
  std::string told_of(TaskId id) const {
    std::string text;
    for (const shm::ReadEvent& e : shm::EventReader(*segment_, /*from_now=*/false).read())
      if (e.event.handle == id.handle) text += (text.empty() ? "" : " ") + std::string(shm::event_name(e.event.kind));
    return text;
  }
  shm::ReadEvent last() const {
    const auto events = shm::EventReader(*segment_, /*from_now=*/false).read();
    return events.empty() ? shm::ReadEvent{} : events.back();
  }
  void follow() { shm::follow_events(*segment_, now_ + 3600 * kSecondNs); }
};

TEST_F(EventTest, WhatEveryTaskDoesIsToldOnlyToWhoFollows) {
  const TaskId before = put(1);
  drain();
  EXPECT_EQ(told_of(before), "");
  follow();
  const TaskId after = put(2);
  now_ += 5 * kMillisecondNs;
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(last().event.value, 5 * kMillisecondNs) << "it waited";
  now_ += 7 * kMillisecondNs;
  EXPECT_EQ(succeed(*task), Settled::kDone);
  EXPECT_EQ(told_of(after), "after-task-publish task-prerun task-succeeded");
  EXPECT_EQ(last().event.value, 7 * kMillisecondNs) << "it ran";
  EXPECT_EQ(last().event.queue, queue_);
  EXPECT_EQ(last().event.task, task_);
  EXPECT_EQ(last().participant, worker_.index());
}

TEST_F(EventTest, EachStepIsToldOnlyToWhoFollowsSteps) {
  shm::follow_events(*segment_, now_ + kHourNs, shm::EventDetail::kSteps);
  const TaskId id = put(1);
  now_ += 5 * kMillisecondNs;
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(succeed(*task), Settled::kDone);
  EXPECT_EQ(told_of(id), "before-task-publish after-task-publish task-received task-prerun task-succeeded");
  const std::vector<TaskId> ids = put_many(0, 15);
  Lease leases[15];
  ASSERT_EQ(worker_->claim(queue_, leases, 15, now_), 15u);
  for (const Lease& lease : leases) {
    TaskView view;
    ASSERT_TRUE(worker_->view(lease, view));
    ASSERT_EQ(worker_->begin(lease, view, now_), Begin::kStart);
    EXPECT_EQ(worker_->succeed_later(lease, view, now_), Settled::kDone);
  }
  for (const TaskId item : ids)
    EXPECT_EQ(told_of(item), "before-task-publish after-task-publish task-received task-prerun task-succeeded");
  // Of a task that may not start: it was received all the same.
  const TaskId expired = put(2, [this](TaskSpec&, TaskExtras& extras) { extras.expires_ns = now_ + kSecondNs; });
  now_ += 2 * kSecondNs;
  drain();
  EXPECT_EQ(told_of(expired), "before-task-publish after-task-publish task-received task-expired");
}

TEST_F(EventTest, AFollowerOfStepsWhoIsGoneCostsNothingAfterHisTime) {
  shm::Following steps(*segment_, shm::EventDetail::kSteps);
  EXPECT_TRUE(steps.renew(now_));
  EXPECT_FALSE(steps.renew(now_)) << "it still stands";
  EXPECT_TRUE(worker_->events().stepped(now_));
  EXPECT_TRUE(worker_->events().followed(now_));
  now_ += 10 * kSecondNs;
  EXPECT_FALSE(worker_->events().stepped(now_));
  EXPECT_FALSE(worker_->events().followed(now_));
  EXPECT_TRUE(shm::Following(*segment_, shm::EventDetail::kTasks).renew(now_));
  EXPECT_TRUE(worker_->events().followed(now_));
  EXPECT_FALSE(worker_->events().stepped(now_));
}

TEST_F(EventTest, EveryItemOfARunIsTold) {
  follow();
  const std::vector<TaskId> ids = put_many(0, 15);
  Lease leases[15];
  ASSERT_EQ(worker_->claim(queue_, leases, 15, now_), 15u);
  for (const Lease& lease : leases) {
    TaskView view;
    ASSERT_TRUE(worker_->view(lease, view));
    ASSERT_EQ(worker_->begin(lease, view, now_), Begin::kStart);
    EXPECT_EQ(worker_->succeed_later(lease, view, now_), Settled::kDone);
  }
  EXPECT_EQ(worker_->commit_acks(), Settled::kDone);
  for (const TaskId id : ids) EXPECT_EQ(told_of(id), "after-task-publish task-prerun task-succeeded");
}

TEST_F(EventTest, AnItemThatBecameATaskOfItsOwnKeepsItsName) {
  follow();
  const std::vector<TaskId> ids = put_many(0, 15);
  EXPECT_EQ(drain().size(), 15u) << "one by one";
  for (const TaskId id : ids) EXPECT_EQ(told_of(id), "after-task-publish task-prerun task-succeeded");
}

TEST_F(EventTest, AnItemThatFailedAndWasRevokedIsToldByItsName) {
  const TaskId id = put_many(0, 15).front();
  Lease leases[15];
  ASSERT_EQ(worker_->claim(queue_, leases, 15, now_), 15u);
  TaskView view;
  ASSERT_TRUE(worker_->view(leases[0], view));
  ASSERT_EQ(worker_->begin(leases[0], view, now_), Begin::kStart);
  bool retried = false;
  ASSERT_EQ(worker_->fail(leases[0], view, {"error", "no"}, kHourNs, now_, retried), Settled::kDone);
  for (int i = 1; i < 15; ++i) EXPECT_EQ(worker_->release(leases[i], now_), Settled::kDone);
  EXPECT_EQ(drain().size(), 14u);
  ++now_;
  EXPECT_EQ(Control(*producer_).revoke(id, false, now_), Revoked::kCancelled);
  EXPECT_EQ(told_of(id), "task-retry task-revoked");
}

TEST_F(EventTest, AFailureIsToldWithItsCauseAndTheNextAttempt) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.max_retries = 1; });
  auto first = start();
  ASSERT_TRUE(first);
  EXPECT_TRUE(fail(*first, "IOError", "disk is gone", 3 * kSecondNs));
  EXPECT_EQ(last().text, "IOError: disk is gone");
  EXPECT_EQ(last().event.value, 3 * kSecondNs);
  EXPECT_EQ(last().event.attempt, 0);
  pass(4 * kSecondNs);
  auto second = start();
  ASSERT_TRUE(second);
  EXPECT_FALSE(fail(*second, "IOError", std::string(200, 'x')));
  EXPECT_EQ(last().event.attempt, 1);
  EXPECT_EQ(last().text.size(), shm::kEventTextBytes) << "cut, and complete";
  EXPECT_EQ(static_cast<DeadReason>(last().event.reason), DeadReason::kMaxRetriesExhausted);
  DeadLetters dead(*producer_);
  ASSERT_EQ(dead.list({}).size(), 1u);
  now_ += kSecondNs;
  EXPECT_TRUE(dead.replay(dead.list({}).front(), 0, now_));
  EXPECT_EQ(told_of(id), "task-retry task-failed task-replayed");
}

TEST_F(EventTest, ARevokedAnExpiredAndALostTask) {
  const TaskId revoked = put(1);
  EXPECT_EQ(Control(*producer_).revoke(revoked, false, now_), Revoked::kCancelled);
  EXPECT_EQ(told_of(revoked), "task-revoked");
  const TaskId expired = put(2, [this](TaskSpec&, TaskExtras& extras) { extras.expires_ns = now_ + kSecondNs; });
  now_ += 2 * kSecondNs;
  drain();
  EXPECT_EQ(told_of(expired), "task-expired");
  const TaskId lost = put(3);
  auto held = start();
  ASSERT_TRUE(held);
  EXPECT_EQ(keeping_->redeliver_held(worker_.index(), now_), 1u);
  EXPECT_EQ(told_of(lost), "task-redelivered");
  EXPECT_EQ(last().event.subject, worker_.index());
  EXPECT_EQ(last().event.reason, shm::kDied);
  EXPECT_EQ(last().event.detail, 1u) << "while it ran";
  now_ += kSecondNs;
  EXPECT_EQ(succeed(*held), Settled::kFenced);
  EXPECT_EQ(told_of(lost), "task-redelivered task-fenced");
  drain();
}

TEST_F(EventTest, AQueuePausedAndResumed) {
  Control control(*producer_);
  control.pause(queue_, now_);
  EXPECT_EQ(last().event.kind, shm::EventKind::kQueuePaused);
  control.resume(queue_, now_ + 1);
  EXPECT_EQ(last().event.kind, shm::EventKind::kQueueResumed);
  EXPECT_EQ(last().event.queue, queue_);
}

TEST_F(EventTest, WhoReadsTooLateIsToldHowManyHeMissed) {
  follow();
  shm::EventReader reader(*segment_, /*from_now=*/true);
  put_many(0, shm::kEventCells + 100);
  const auto events = reader.read();
  EXPECT_EQ(events.size(), shm::kEventCells);
  EXPECT_EQ(reader.missed(), 100u);
  EXPECT_TRUE(reader.read().empty()) << "each once";
  EXPECT_EQ(drain().size(), shm::kEventCells + 100);
}

TEST_F(EventTest, AListenerHearsWhatItsEngineWrites) {
  std::vector<shm::EventKind> heard;
  worker_->events().listen([&heard](const shm::Event& event) { heard.push_back(event.kind); });
  put(1);
  drain();
  EXPECT_EQ(heard, (std::vector{shm::EventKind::kStarted, shm::EventKind::kSucceeded}))
      << "nobody follows, and a listener hears everything all the same";
}

TEST_F(EventTest, AListenerMayAskForSteps) {
  std::vector<shm::EventKind> heard;
  worker_->events().listen([&heard](const shm::Event& event) { heard.push_back(event.kind); },
                           shm::EventDetail::kSteps);
  put(1);
  drain();
  EXPECT_EQ(heard, (std::vector{shm::EventKind::kReceived, shm::EventKind::kStarted, shm::EventKind::kSucceeded}));
}

TEST_F(EventTest, WhyALeaseEndedIsTold) {
  const auto reason_after = [this](LeaseEnd end) {
    put(1);
    auto held = start();
    EXPECT_TRUE(held);
    EXPECT_TRUE(keeping_->redeliver(held->lease.slot, held->lease.word, held->view.id.handle, end, now_));
    const std::uint8_t reason = last().event.reason;
    drain();
    now_ += kSecondNs;
    return reason;
  };
  EXPECT_EQ(reason_after(LeaseEnd::kSilent), shm::kSilent);
  EXPECT_EQ(reason_after(LeaseEnd::kExpired), shm::kLeaseOver);
  EXPECT_EQ(reason_after(LeaseEnd::kDetached), shm::kLeftBehind);
  EXPECT_EQ(reason_after(LeaseEnd::kStopped), shm::kStopped);
  EXPECT_EQ(reason_after(LeaseEnd::kDied), shm::kDied);
}

TEST_F(EventTest, ATraceTravelsWithItsTask) {
  follow();
  const std::string parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const std::string headers = R"({"tenant":"a","traceparent":")" + parent + R"("})";
  put(1, [&](TaskSpec&, TaskExtras& extras) { extras.headers = headers; });
  EXPECT_EQ(last().text, parent);
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(last().text, parent);
  EXPECT_EQ(succeed(*task), Settled::kDone);
}

TEST(Traceparent, OnlyOfTheRightForm) {
  const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  EXPECT_EQ(traceparent_of(R"({"traceparent": ")" + good + "\"}"), good);
  EXPECT_EQ(traceparent_of(""), "");
  EXPECT_EQ(traceparent_of(R"({"traceparent":"short"})"), "");
  EXPECT_EQ(traceparent_of(R"({"traceparent":)"), "");
  EXPECT_EQ(traceparent_of(R"({"a":"traceparent","traceparent":")" + good + "\"}"), good);
  std::string wrong = good;
  wrong[5] = 'Z';
  EXPECT_EQ(traceparent_of(R"({"traceparent":")" + wrong + "\"}"), "");
}

TEST(EventNames, EachKindHasItsOwn) {
  for (std::uint32_t i = 1; i < shm::kEventKinds; ++i) {
    shm::EventKind kind{};
    EXPECT_TRUE(shm::parse_event_name(shm::event_name(static_cast<shm::EventKind>(i)), kind));
    EXPECT_EQ(static_cast<std::uint32_t>(kind), i);
  }
  shm::EventKind kind{};
  EXPECT_FALSE(shm::parse_event_name("no-such-event", kind));
  EXPECT_STREQ(shm::event_name(static_cast<shm::EventKind>(200)), "unknown");
}

}  // namespace
}  // namespace stem::engine
