// Unique keys that hold on all hosts: no worker starts such a task before the gateway has asked for its key.
#include "engine/shared_keys.hpp"

#include <algorithm>

#include "engine/outbox.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class SharedKeysTest : public VirtualHost {
 protected:
  SharedKeysTest() : keys_(*gateway_) {
    keys_.begin_sharing(queue_, /*fail_closed=*/false);
    keys_.share(queue_, now_ + 2 * kSecondNs, /*fail_closed=*/false);
  }
  shm::Ring inbox() {
    return shm::Ring(
        segment_->at<shm::RingHeader>(segment_->layout().inboxes + gateway_.index() * shm::ring_bytes(shm::kInboxLog2)),
        shm::kInboxLog2);
  }

  TaskId put_unique(std::uint64_t key, std::int64_t for_ns = 0) {
    return put(key, [&](TaskSpec& spec, TaskExtras& extras) {
      spec.keep_result = true;
      extras.unique_key = key;
      extras.unique_for_ns = for_ns;
      extras.unique_everywhere = true;
    });
  }
  std::uint32_t take_asked(bool wanted = true) {
    Parcel into[8];
    const std::uint32_t n = keys_.take_asked(
        into, 8, [&](std::uint32_t queue) { return wanted && queue == queue_; }, now_);
    taken_.insert(taken_.end(), into, into + n);
    return n;
  }
  // What the gateway took comes back, and then runs here.
  void TearDown() override {
    keys_.keep(queue_);
    for (const Parcel& parcel : taken_) EXPECT_TRUE(Outbox(*gateway_).give_back(parcel, now_));
    pass(kSecondNs);
    (void)drain();
    VirtualHost::TearDown();
  }

  test::Attached gateway_{segment_, shm::Role::kGateway};
  SharedKeys keys_;
  std::vector<Parcel> taken_;
};

TEST_F(SharedKeysTest, AWorkerLeavesAUniqueTaskToTheGateway) {
  const TaskId id = put_unique(7);
  put(8);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{8})) << "whoever has no key does not wait";
  EXPECT_EQ(take_asked(), 1u);
  EXPECT_EQ(taken_[0].slot, id.slot());
  EXPECT_EQ(slots(shm::State::kOutbox), 1u);
  EXPECT_EQ(taken_[0].word.grant(), 0u) << "waiting uses no delivery up";
  EXPECT_EQ(offer(7, [](TaskSpec&, TaskExtras& extras) { extras.unique_key = 7; }).status, EnqueueStatus::kDuplicate);
}

TEST_F(SharedKeysTest, WhatTheGatewayDoesNotTakeIsNamedAgain) {
  put_unique(7);
  EXPECT_TRUE(drain().empty());
  EXPECT_EQ(take_asked(/*wanted=*/false), 0u);
  EXPECT_EQ(take_asked(), 0u) << "its name is gone";
  pass(kKeyNamedNs + kMillisecondNs);
  EXPECT_TRUE(drain().empty());
  EXPECT_EQ(take_asked(), 1u);
}

TEST_F(SharedKeysTest, WithoutTheGatewayItStartsOrWaits) {
  put_unique(7);
  EXPECT_TRUE(drain().empty());
  pass(3 * kSecondNs);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{7}));
  EXPECT_EQ(count(shm::Counter::kUniqueDegraded), 1u);
  keys_.begin_sharing(queue_, /*fail_closed=*/true);
  put_unique(8);
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(drain().empty());
    pass(kSecondNs);
  }
  EXPECT_EQ(take_asked(), 0u) << "nobody is named to a gateway that cannot ask";
  keys_.keep(queue_);
  pass(kSecondNs);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{8})) << "a gateway that does not share them lets it go";
  EXPECT_EQ(count(shm::Counter::kUniqueDegraded), 1u);
}

TEST_F(SharedKeysTest, AGatewaysWordOutlivesItForAMoment) {
  keys_.begin_sharing(queue_, /*fail_closed=*/false);  // the next one, at its start
  put_unique(7);
  EXPECT_TRUE(drain().empty()) << "what the one before it said still holds";
}

TEST_F(SharedKeysTest, WhoHasOrNeedsNoKeyOfTheClusterStarts) {
  put(1, [](TaskSpec&, TaskExtras& extras) { extras.unique_key = 1; });  // the engine's own
  put_unique(2, 10 * kMillisecondNs);
  put(3, [](TaskSpec&, TaskExtras& extras) {
    extras.unique_key = 3;
    extras.unique_everywhere = true;
    extras.origin = "elsewhere";
  });
  now_ += 20 * kMillisecondNs;
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST_F(SharedKeysTest, AnOldNameOfATaskThatIsToRunAgainLaterTakesNothing) {
  put_unique(7);
  EXPECT_TRUE(drain().empty());
  pass(3 * kSecondNs);
  auto held = start();
  ASSERT_TRUE(held);
  EXPECT_TRUE(fail(*held, "error", "no", 10 * kSecondNs));
  EXPECT_EQ(take_asked(), 0u);
  pass(11 * kSecondNs);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{7}));
}

TEST_F(SharedKeysTest, AFullInboxIsTriedAgainSoon) {
  for (std::uint64_t key = 1; key <= 300; ++key) put_unique(key);
  EXPECT_TRUE(drain().empty());
  std::uint64_t taken = 0;
  for (int look = 0; look < 40; ++look) {
    while (const std::uint32_t n = take_asked()) taken += n;
    pass(5 * kMillisecondNs);
    EXPECT_TRUE(drain().empty());
  }
  EXPECT_EQ(taken, 300u) << "well before those that were named would come again";
}

TEST_F(SharedKeysTest, NonsenseInTheSegmentHoldsNobodyBack) {
  std::uint64_t key = 100;
  const std::uint64_t of_us = gateway_.index() + 1;
  for (const std::uint64_t nonsense : std::initializer_list<std::uint64_t>{~0ull, 0xfff, ~0ull << 24 | 1, of_us}) {
    segment_->queue(queue_).keys_shared.store(nonsense & ~(1ull << 12));
    put_unique(++key);
    EXPECT_EQ(drain(), (std::vector<std::uint64_t>{key})) << std::hex << nonsense;
  }
  EXPECT_TRUE(inbox().push(1, shm::kMaxSlots - 1));
  EXPECT_TRUE(inbox().push(12345, 0));
  EXPECT_EQ(take_asked(), 0u);
}

TEST_F(SharedKeysTest, WhatNeedsNoKeyOfTheClusterStaysWhoeverNamesIt) {
  const std::int64_t due_ns = now_ + 100 * kMillisecondNs;
  const auto later = [&](TaskSpec& spec) { spec.due_ns = due_ns; };
  const TaskId plain = put(1, [&](TaskSpec& spec, TaskExtras&) { later(spec); });
  const TaskId local = put(2, [&](TaskSpec& spec, TaskExtras& extras) {
    later(spec);
    extras.unique_key = 2;
  });
  const TaskId import = put(3, [&](TaskSpec& spec, TaskExtras& extras) {
    later(spec);
    extras.unique_key = 3;
    extras.unique_everywhere = true;
    extras.origin = "elsewhere";
  });
  for (const TaskId id : {plain, local, import}) ASSERT_TRUE(inbox().push(id.generation(), id.slot()));
  EXPECT_EQ(take_asked(), 0u);
  EXPECT_TRUE(drain().empty()) << "not yet due";
  pass(kSecondNs);
  auto ran = drain();
  std::sort(ran.begin(), ran.end());
  EXPECT_EQ(ran, (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST_F(SharedKeysTest, AGatewayThatWasStoppedLeavesItsSuccessorsWord) {
  test::Attached next(segment_, shm::Role::kGateway);
  SharedKeys(*next).begin_sharing(queue_, /*fail_closed=*/true);
  keys_.share(queue_, now_ + 5 * kSecondNs, /*fail_closed=*/false);
  const auto said = shm::KeysShared::unpack(segment_->queue(queue_).keys_shared.load());
  EXPECT_EQ(said.gateway, next.index() + 1);
  EXPECT_TRUE(said.fail_closed);
}

}  // namespace
}  // namespace stem::engine
