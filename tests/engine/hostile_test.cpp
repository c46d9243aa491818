// A producer that writes nonsense into the segment can lose its own tasks; it must not make others crash,
// and what is not its own goes on.
#include <cstring>

#include "base/random.hpp"
#include "engine/dead_letters.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class Hostile : public VirtualHost {
 protected:
  void write_word(std::uint32_t slot, shm::ControlWord word) {
    const std::uint64_t bits = word.bits();
    std::memcpy(static_cast<void*>(&segment_->descriptor(slot)), &bits, sizeof bits);
  }
  // A ready task that `spoil` has been at; it is claimed, and refused without harm to the next.
  template <class Spoil>
  void expect_refused(Spoil spoil) {
    const std::uint64_t before = slots(shm::State::kQuarantine);
    const TaskId bad = put(1, [](TaskSpec&, TaskExtras& extras) { extras.headers = "{}"; });
    put(2);
    spoil(descriptor(bad));
    EXPECT_EQ(drain(), (std::vector<std::uint64_t>{2}));
    EXPECT_EQ(slots(shm::State::kQuarantine), before + 1);
    EXPECT_EQ(test::broken_invariants(*producer_), "") << "it is put aside, and counted as there";
    EXPECT_EQ(Query(*producer_).queues()[queue_].quarantined, before + 1);
  }
};

TEST_F(Hostile, IndicesAndLengthsOutOfRangeAreRefused) {
  expect_refused([](shm::Descriptor& d) { d.task = 0xffff; });
  expect_refused([](shm::Descriptor& d) { d.priority = 200; });
  expect_refused([](shm::Descriptor& d) { d.payload_bytes = 0xffffffff; });
  expect_refused([](shm::Descriptor& d) { d.block = 0xffffffff; });
  expect_refused([](shm::Descriptor& d) { d.block = d.block + 1; });
  expect_refused([](shm::Descriptor& d) { d.block = 0; });
}

TEST_F(Hostile, AQueueThatDoesNotExistIsRefused) {
  const TaskId bad = put(1);
  put(2);
  descriptor(bad).queue = 0xffff;
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{2}));
  EXPECT_EQ(slots(shm::State::kQuarantine), 1u);
  descriptor(bad).queue = static_cast<std::uint16_t>(queue_);  // for the count at the end
}

TEST_F(Hostile, RevokingATaskOfAQueueThatDoesNotExistComesToAnEnd) {
  const TaskId bad = put(1);
  descriptor(bad).queue = 0xffff;
  EXPECT_EQ(Control(*producer_).revoke(bad, false, now_), Revoked::kUnknown);
  descriptor(bad).queue = static_cast<std::uint16_t>(queue_);
  EXPECT_EQ(Control(*producer_).revoke(bad, false, now_), Revoked::kCancelled);
}

TEST_F(Hostile, RunsWithNonsenseInThemAreRefused) {
  const auto spoil = [this](std::size_t at, std::uint8_t value) {
    const TaskId bad = put_many(0, 10).at(0);
    const std::byte sane = descriptor(bad).inline_payload[at];
    descriptor(bad).inline_payload[at] = static_cast<std::byte>(value);
    (void)drain();
    descriptor(bad).inline_payload[at] = sane;  // so that it counts as what it was
    EXPECT_NE(descriptor(bad).control.load().state(), shm::State::kLeased) << at << " = " << int{value};
    put(50);
    EXPECT_EQ(drain(), (std::vector<std::uint64_t>{50}));
  };
  spoil(0, 0);
  spoil(0, 16);
  spoil(0, 255);
  spoil(3, 65);
  spoil(9, 255);
  EXPECT_EQ(slots(shm::State::kQuarantine), 5u);
}

TEST_F(Hostile, ASlotInItsLastLifeIsLeftAlone) {
  drain();
  const auto used = static_cast<std::uint32_t>(segment_->header().slab_used.load());
  const std::uint32_t slots_total = segment_->geometry().slot_count;
  ASSERT_LT(used, slots_total);
  for (std::uint32_t slot = used; slot < slots_total; slot += 2) {
    ASSERT_TRUE(segment_->commit(segment_->offset_of(&segment_->descriptor(slot)), sizeof(shm::Descriptor)));
    write_word(slot, shm::ControlWord(shm::ControlWord::kLastGeneration, 0, 0, shm::State::kFree));
  }
  std::uint64_t accepted = 0;
  while (offer(accepted).status == EnqueueStatus::kOk) ++accepted;
  EXPECT_GE(accepted, (slots_total - used) / 2);
  EXPECT_EQ(drain().size(), accepted);
  for (std::uint32_t slot = used; slot < slots_total; slot += 2) write_word(slot, shm::ControlWord());
}

TEST_F(Hostile, RingsWithNonsenseInThemLoseNoTask) {
  base::Random random(7);
  std::size_t ran = 0;
  for (int round = 0; round < 50; ++round) {
    for (std::uint64_t n = 0; n < 20; ++n) put(n);
    const shm::RingRef ref(segment_->queue(queue_).rings[0].load());
    auto* ring = segment_->at<shm::RingHeader>(ref.offset());
    for (int i = 0; i < 10; ++i)
      ring->cells[random.below(std::uint64_t{1} << ref.capacity_log2())].store(random.next());
    pass(2 * kSecondNs);
    ran += drain().size();
  }
  // A spoilt cell may hold its lane up; what waits behind it is there, and can be taken out.
  EXPECT_GT(ran, 20u);
  EXPECT_EQ(ran + stats().ready, 50u * 20);
  EXPECT_EQ(Control(*producer_).purge(queue_, now_) + ran, 50u * 20);
}

// Random bytes over descriptors, extensions and tables, with everybody at work: nobody crashes.
class Garbage : public Hostile {
 protected:
  void TearDown() override { (void)verify(*producer_); }  // says what is broken, and survives it
  void scribble(void* at, std::size_t bytes, int times) {
    for (int i = 0; i < times; ++i)
      static_cast<std::uint8_t*>(at)[random_.below(bytes)] = static_cast<std::uint8_t>(random_.next());
  }
  void work() {
    Lease leases[16];
    for (int idle = 0; idle < 3;) {
      const std::uint32_t n = worker_->claim(queue_, leases, 16, now_);
      idle = n == 0 ? idle + 1 : 0;
      for (std::uint32_t i = 0; i < n; ++i) {
        TaskView view;
        if (!worker_->view(leases[i], view)) continue;
        if (worker_->begin(leases[i], view, now_) != Begin::kStart) continue;
        bool retried = false;
        switch (random_.below(6)) {
          case 0: (void)worker_->fail(leases[i], view, {"error", "no"}, 0, now_, retried); break;
          case 1: (void)worker_->snooze(leases[i], view, kMillisecondNs, now_); break;
          case 2: (void)worker_->bury(leases[i], view, DeadReason::kPermanentFailure, {"x", "y"}, now_); break;
          case 3: (void)set_progress(*worker_, leases[i], 0.5, "half"); [[fallthrough]];
          default: (void)worker_->succeed(leases[i], view, {}, now_); break;
        }
      }
      if (++rounds_ > 200'000) return;
    }
  }
  base::Random random_{11};
  std::uint64_t rounds_ = 0;
};

TEST_F(Garbage, InDescriptors) {
  for (int round = 0; round < 300; ++round) {
    const TaskId plain = put(1);
    const TaskId block = put(2, [](TaskSpec& spec, TaskExtras& extras) {
      spec.keep_result = true;
      extras.headers = "{\"a\":1}";
      extras.link = "0123456789abcdef0123456789abcdef";
      extras.concurrency_key = 3;
      extras.concurrency_limit = 100;
    });
    const TaskId run = put_many(10, 8).at(0);
    for (const TaskId id : {plain, block, run})
      scribble(reinterpret_cast<std::byte*>(&descriptor(id)) + sizeof(shm::ControlCell),
               sizeof(shm::Descriptor) - sizeof(shm::ControlCell), 3);
    work();
    (void)Query(*producer_).queues();
    for (const TaskId id : {plain, block, run}) (void)Query(*producer_).task(id);
    (void)DeadLetters(*producer_).list({});
    pass(10 * kMillisecondNs);
    work();
    if (round % 50 == 0) patrol();
  }
}

TEST_F(Garbage, InExtensions) {
  for (int round = 0; round < 300; ++round) {
    const TaskId id = put(2, [](TaskSpec& spec, TaskExtras& extras) {
      spec.keep_result = true;
      spec.auto_renew = false;
      extras.headers = "{\"a\":1}";
      extras.unique_key = 9;
      extras.rate_key = 3;
      extras.rate = {1000, 1};
      extras.retry_for = "io";
    });
    const shm::Descriptor& d = descriptor(id);
    const auto bytes =
        producer_->blocks().bytes(d.block - 1, shm::block_tag(id.slot(), id.generation(), shm::BlockKind::kPayload));
    ASSERT_FALSE(bytes.empty());
    scribble(bytes.data(), 200, 4);
    work();
    pass(10 * kMillisecondNs);
    work();
    (void)Control(*producer_).purge(queue_, now_);
    for (const DeadLetter& letter : DeadLetters(*producer_).list({})) (void)DeadLetters(*producer_).purge(letter);
    patrol();
  }
}

TEST_F(Garbage, InTheTablesOfLimitsAndUniqueKeys) {
  for (int round = 0; round < 200; ++round) {
    for (std::uint64_t n = 0; n < 4; ++n)
      (void)offer(n, [n](TaskSpec&, TaskExtras& extras) {
        extras.unique_key = n + 1;
        extras.concurrency_key = n + 1;
        extras.concurrency_limit = 2;
      });
    for (std::uint64_t key = 1; key <= 4; ++key) {
      auto* buckets = segment_->at<shm::UniqueBucket>(segment_->layout().unique);
      scribble(buckets + (base::mix64(key) & (segment_->geometry().unique_buckets - 1)), sizeof(shm::UniqueBucket), 3);
      auto* rows = segment_->at<shm::LimiterRow>(segment_->layout().limiters);
      auto* row = rows + (base::mix64(key) & (segment_->geometry().limiter_count - 1));
      if (row->key.load() == key)
        scribble(&row->denied, sizeof(shm::LimiterRow) - offsetof(shm::LimiterRow, denied), 5);
    }
    work();
    pass(10 * kMillisecondNs);
  }
}

}  // namespace
}  // namespace stem::engine
