// A host whose time is a number: one small segment, a producer, a worker, a keeper, and a clock that the
// test moves. After each test the invariants hold, and nothing is left for recovery.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "engine/control.hpp"
#include "engine/query.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::engine {

inline constexpr std::int64_t kMillisecondNs = 1'000'000;
inline constexpr std::int64_t kHourNs = 3600 * kSecondNs;

// A claimed task and what its worker reads of it.
struct Held {
  Held() = default;
  Held(const Held& other) : lease(other.lease), view(other.view) { rebase(other); }
  Held& operator=(const Held& other) {
    lease = other.lease;
    view = other.view;
    rebase(other);
    return *this;
  }
  std::uint64_t number() const { return test::number_of(view); }

  Lease lease;
  TaskView view;

 private:
  // A short payload lies in the view itself.
  void rebase(const Held& other) {
    if (other.view.payload.data() == other.view.inline_copy) view.payload = {view.inline_copy, view.payload.size()};
  }
};

class VirtualHost : public ::testing::Test {
 protected:
  // A small segment, unless `change` wants another.
  explicit VirtualHost(void (*change)(shm::SegmentOptions&) = nullptr);
  void TearDown() override;

  // ---- producing: a task of queue_ and task_ whose payload is `number`; `change` may alter the spec, and
  // the extras when it takes both.
  EnqueueResult offer(std::uint64_t number) {
    return offer(number, [](TaskSpec&) {});
  }
  template <class Change>
  EnqueueResult offer(std::uint64_t number, Change change) {
    test::Numbered task(queue_, task_, number);
    TaskExtras extras;
    if constexpr (std::is_invocable_v<Change, TaskSpec&, TaskExtras&>) {
      task.spec.extras = &extras;
      change(task.spec, extras);
    } else {
      change(task.spec);
    }
    return producer_->enqueue(task.spec, now_);
  }
  // The same, and it is accepted.
  template <class... Args>
  TaskId put(Args&&... args) {
    const EnqueueResult made = offer(std::forward<Args>(args)...);
    EXPECT_EQ(made.status, EnqueueStatus::kOk) << to_string(made.status);
    return made.id;
  }
  // `count` plain tasks by enqueue_many, numbered from `first`; runs of fifteen where they fit.
  std::vector<TaskId> put_many(std::uint64_t first, std::uint64_t count);

  // ---- working
  // Claims one task of queue_; nothing when there is none.
  std::optional<Held> take(test::Attached& worker);
  std::optional<Held> take() { return take(worker_); }
  // Claims one and begins it; nothing unless the handler may start. `began_` is the last answer.
  std::optional<Held> start(test::Attached& worker);
  std::optional<Held> start() { return start(worker_); }
  // The numbers of all that may start now, in order; each is acknowledged at once.
  std::vector<std::uint64_t> drain();
  Settled succeed(const Held& task, std::string_view result = {}) { return succeed(worker_, task, result); }
  Settled succeed(test::Attached& worker, const Held& task, std::string_view result = {});
  // A failed attempt; true when it will be tried again.
  bool fail(const Held& task, std::string_view kind = "error", std::string_view message = "no",
            std::int64_t delay_ns = -1);

  // ---- time
  // Lets time pass: the keeper wakes when it asked for it, and who is alive beats.
  void pass(std::int64_t ns);
  // The worker stands still from now on: no life signs.
  void stop_worker() { worker_beats_ = false; }
  // A whole patrol pass now.
  void patrol() { keeper_.patrol_all(now_); }

  // ---- looking
  // Counters of queue_ that are not zero, by name: "enqueued 2 started 1 succeeded 1".
  std::string tally() { return tally(queue_); }
  std::string tally(std::uint32_t queue);
  std::uint64_t count(shm::Counter counter) { return test::total(*producer_, queue_, counter); }
  std::string state_of(TaskId id);  // as reference §1 has it; "gone" when it is over
  QueueStats stats() { return Query(*producer_).queues()[queue_]; }
  // slots in a state
  std::uint64_t slots(shm::State state) { return test::slots_in(*segment_, state); }
  shm::Descriptor& descriptor(TaskId id) { return segment_->descriptor(id.slot()); }

  test::ScratchDirectory directory_;
  std::shared_ptr<shm::Segment> segment_;
  test::Attached producer_;
  test::Attached worker_;
  test::Attached keeping_;
  std::uint32_t queue_, task_;
  std::int64_t now_;
  Keeper keeper_;
  Begin began_ = Begin::kLost;
  bool worker_beats_ = true;
};

}  // namespace stem::engine
