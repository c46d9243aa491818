// The engine's parts without a segment: ids, retry delays, the extension, failure records.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "engine/extension.hpp"
#include "engine/failure_record.hpp"
#include "engine/limiter.hpp"
#include "engine/retry.hpp"

namespace stem::engine {
namespace {

TEST(TaskIdText, ComesBackAsItWas) {
  base::Random random(1);
  for (int i = 0; i < 10'000; ++i) {
    const TaskId id = TaskId::make(static_cast<std::uint32_t>(random.next() | 1),
                                   static_cast<std::uint32_t>(random.below(shm::kMaxSlots)), random.next() >> 28,
                                   static_cast<std::uint32_t>(random.below(16)));
    TaskId back;
    ASSERT_TRUE(parse_task_id(to_string(id), back)) << to_string(id);
    ASSERT_EQ(back, id);
    ASSERT_EQ(back.slot(), id.slot());
    ASSERT_EQ(back.generation(), id.generation());
    ASSERT_EQ(back.item(), id.item());
  }
}

TEST(TaskIdText, AnythingElseIsRefused) {
  const std::string good = to_string(TaskId::make(0x1f2e3d4c, 5, 6));
  TaskId id;
  for (std::size_t i = 0; i < good.size(); ++i) {
    ASSERT_FALSE(parse_task_id(good.substr(0, i), id)) << i;
    for (const char c : {'x', ' ', '+', '\0'}) {
      std::string bad = good;
      bad[i] = c;
      ASSERT_FALSE(parse_task_id(bad, id)) << bad;
    }
  }
  EXPECT_FALSE(parse_task_id(good + "0", id));
  EXPECT_FALSE(parse_task_id("", id));
  EXPECT_FALSE(parse_task_id(to_string(TaskId::make(0, 5, 6)), id)) << "no segment has epoch 0";
}

TEST(DeadReasonText, ComesBackAsItWas) {
  for (int r = 1; r <= static_cast<int>(DeadReason::kDeliveryLimit); ++r) {
    DeadReason back{};
    ASSERT_TRUE(parse_dead_reason(to_string(static_cast<DeadReason>(r)), back));
    EXPECT_EQ(static_cast<int>(back), r);
  }
  DeadReason ignored{};
  EXPECT_FALSE(parse_dead_reason("", ignored));
  EXPECT_FALSE(parse_dead_reason("nonsense", ignored));
}

TEST(RetryDelay, ExponentialStaysWithinItsBounds) {
  base::Random random(2);
  RetryPolicy policy;
  std::int64_t shortest = INT64_MAX, longest = 0;
  for (std::uint32_t retry = 0; retry < 100; ++retry) {
    for (int i = 0; i < 200; ++i) {
      const std::int64_t delay = retry_delay_ns(policy, retry, random);
      const auto full = retry >= 20 ? policy.max_ns : std::min<std::int64_t>(policy.base_ns << retry, policy.max_ns);
      ASSERT_LE(delay, full);
      ASSERT_GE(delay, full - full / 4 - 1);
      if (retry == 3) {
        shortest = std::min(shortest, delay);
        longest = std::max(longest, delay);
      }
    }
  }
  EXPECT_GT(longest - shortest, 2 * kSecondNs) << "jitter that does not spread is none";
}

TEST(RetryDelay, ConstantAndLinear) {
  base::Random random(3);
  EXPECT_EQ(retry_delay_ns({RetryKind::kConstant, 5, 100}, 77, random), 5);
  EXPECT_EQ(retry_delay_ns({RetryKind::kLinear, 5, 100}, 0, random), 5);
  EXPECT_EQ(retry_delay_ns({RetryKind::kLinear, 5, 100}, 3, random), 20);
  EXPECT_EQ(retry_delay_ns({RetryKind::kLinear, 5, 100}, 1'000'000, random), 100);
}

TEST(RetryDelay, NothingOverflows) {
  base::Random random(4);
  for (const RetryKind kind : {RetryKind::kExponential, RetryKind::kLinear, RetryKind::kConstant, RetryKind::kUser}) {
    for (const std::int64_t base : {INT64_MIN, std::int64_t{-1}, std::int64_t{0}, std::int64_t{1}, INT64_MAX}) {
      for (const std::int64_t most : {INT64_MIN, std::int64_t{0}, INT64_MAX}) {
        for (const std::uint32_t retry : {0u, 1u, 63u, 64u, UINT32_MAX}) {
          const std::int64_t delay = retry_delay_ns({kind, base, most}, retry, random);
          ASSERT_GE(delay, 0);
          ASSERT_LE(delay, std::max<std::int64_t>(most, 0));
        }
      }
    }
  }
}

TEST(RetryKinds, ListsSayWhatIsRetried) {
  TaskExtras extras;
  EXPECT_TRUE(kind_allows_retry(extras, "any"));
  extras.retry_for = "io,timeout";
  EXPECT_TRUE(kind_allows_retry(extras, "io"));
  EXPECT_TRUE(kind_allows_retry(extras, "timeout"));
  EXPECT_FALSE(kind_allows_retry(extras, "i"));
  EXPECT_FALSE(kind_allows_retry(extras, "io,timeout"));
  extras.no_retry_for = "io";
  EXPECT_FALSE(kind_allows_retry(extras, "io")) << "never beats only";
  EXPECT_FALSE(list_has("", ""));
  EXPECT_TRUE(list_has("a,b,", "b"));
}

TaskExtras full_extras() {
  TaskExtras e;
  e.expires_ns = 1;
  e.visibility_ns = 2;
  e.soft_limit_ns = 3;
  e.hard_limit_ns = 4;
  e.result_ttl_ns = 5;
  e.retry = {RetryKind::kLinear, 6, 7};
  e.unique_key = 8;
  e.unique_for_ns = 9;
  e.rate_key = 10;
  e.rate = {11, 60};
  e.group_rate_key = 12;
  e.group_rate = {13, 3600};
  e.concurrency_key = 14;
  e.concurrency_limit = 15;
  e.affinity_key = 16;
  e.headers = "{\"tenant\":\"x\"}";
  e.meta = "{}";
  e.idempotency_key = "key";
  e.link = "abc";
  e.link_error = "d";
  e.retry_for = "io";
  e.no_retry_for = "bug,worse";
  return e;
}

TEST(Extension, ComesBackAsItWas) {
  const TaskExtras e = full_extras();
  std::vector<std::byte> block(extension_bytes(e) + 100);
  write_extension(e, 1000, block);
  std::uint32_t offset = 0;
  const auto back = read_extension(block, offset);
  ASSERT_TRUE(back);
  EXPECT_EQ(offset, extension_bytes(e));
  EXPECT_EQ(offset % 16, 0u);
  EXPECT_EQ(back->expires_ns, 1);
  EXPECT_EQ(back->visibility_ns, 2);
  EXPECT_EQ(back->soft_limit_ns, 3);
  EXPECT_EQ(back->hard_limit_ns, 4);
  EXPECT_EQ(back->result_ttl_ns, 5);
  EXPECT_EQ(back->retry, e.retry);
  EXPECT_EQ(back->unique_key, 8u);
  EXPECT_EQ(back->unique_for_ns, 1009) << "a point in time when read";
  EXPECT_EQ(back->rate, e.rate);
  EXPECT_EQ(back->rate_key, 10u);
  EXPECT_EQ(back->group_rate, e.group_rate);
  EXPECT_EQ(back->group_rate_key, 12u);
  EXPECT_EQ(back->concurrency_key, 14u);
  EXPECT_EQ(back->concurrency_limit, 15u);
  EXPECT_EQ(back->affinity_key, 16u);
  EXPECT_EQ(back->headers, e.headers);
  EXPECT_EQ(back->meta, e.meta);
  EXPECT_EQ(back->idempotency_key, e.idempotency_key);
  EXPECT_EQ(back->link, e.link);
  EXPECT_EQ(back->link_error, e.link_error);
  EXPECT_EQ(back->retry_for, e.retry_for);
  EXPECT_EQ(back->no_retry_for, e.no_retry_for);
}

// Views of whatever a hostile segment says must lie inside the block.
void expect_inside(const std::vector<std::byte>& block, const TaskExtras& e) {
  const char* first = reinterpret_cast<const char*>(block.data());
  for (const std::string_view text :
       {e.headers, e.meta, e.idempotency_key, e.link, e.link_error, e.retry_for, e.no_retry_for}) {
    ASSERT_GE(text.data(), first);
    ASSERT_LE(text.data() + text.size(), first + block.size());
  }
}

TEST(Extension, GarbageIsRefusedOrStaysInside) {
  base::Random random(5);
  for (int i = 0; i < 200'000; ++i) {
    std::vector<std::byte> block(random.below(400));
    for (auto& b : block) b = static_cast<std::byte>(random.next());
    std::uint32_t offset = 0;
    const auto e = read_extension(block, offset);
    if (!e) continue;
    ASSERT_LE(offset, block.size());
    expect_inside(block, *e);
  }
}

TEST(Extension, EveryFlippedBitIsRefusedOrStaysInside) {
  const TaskExtras e = full_extras();
  std::vector<std::byte> good(extension_bytes(e) + 16);
  write_extension(e, 0, good);
  for (std::size_t at = 0; at < sizeof(TaskExtension); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<std::byte> bad = good;
      bad[at] ^= static_cast<std::byte>(1 << bit);
      std::uint32_t offset = 0;
      const auto back = read_extension(bad, offset);
      if (!back) continue;
      ASSERT_LE(offset, bad.size());
      expect_inside(bad, *back);
    }
  }
}

TEST(Extension, TextsBeyondEveryBlockAreTooLarge) {
  const std::string big(shm::kMaxPayloadBytes, 'x');
  TaskExtras e;
  e.headers = big;
  e.meta = big;
  EXPECT_GT(extension_bytes(e), shm::kMaxPayloadBytes);
}

TEST(FailureRecordBytes, ComeBackAndLongTextsAreCut) {
  const std::string kind(500, 'k'), message(5000, 'm');
  FailureRecord record = make_failure_record({kind, message}, 3, 77, 4);
  record.mark_dead(DeadReason::kPoisonPill, 9);
  const auto back = read_failure_record(record.bytes());
  ASSERT_TRUE(back);
  EXPECT_EQ(back->at_ns, 77);
  EXPECT_EQ(back->attempts, 4);
  EXPECT_EQ(back->worker, 3u);
  EXPECT_EQ(back->reason, static_cast<std::uint8_t>(DeadReason::kPoisonPill));
  EXPECT_EQ(back->kind(), kind.substr(0, back->kind().size()));
  EXPECT_EQ(back->message(), message.substr(0, back->message().size()));
  EXPECT_EQ(back->kind().size() + back->message().size(), FailureRecord::kTextBytes);
}

TEST(FailureRecordBytes, GarbageIsRefusedOrStaysInside) {
  base::Random random(6);
  int taken = 0;
  for (int i = 0; i < 100'000; ++i) {
    std::vector<std::byte> bytes(random.below(200));
    for (auto& b : bytes) b = static_cast<std::byte>(random.next());
    const std::uint32_t magic = FailureRecord::kMagic;
    if (bytes.size() >= sizeof magic && random.below(2) == 0) std::memcpy(bytes.data(), &magic, sizeof magic);
    const auto record = read_failure_record(bytes);
    if (!record) continue;
    ++taken;
    ASSERT_LE(record->kind().size() + record->message().size(), FailureRecord::kTextBytes);
  }
  (void)taken;
}

TEST(Fingerprint, GroupsByTaskKindAndFirstLine) {
  const auto print = [](std::uint32_t task, const char* kind, const char* message) {
    return failure_fingerprint(task, kind, message);
  };
  EXPECT_EQ(print(1, "io", "refused\nat 0x1234"), print(1, "io", "refused\nat 0x9999"));
  EXPECT_NE(print(1, "io", "refused"), print(2, "io", "refused"));
  EXPECT_NE(print(1, "io", "refused"), print(1, "bug", "refused"));
  EXPECT_NE(print(1, "io", "refused"), print(1, "io", "reset"));
}

TEST(PackedRate, ComesBack) {
  EXPECT_EQ(unpack_rate(pack_rate({7, 60})), (Rate{7, 60}));
  EXPECT_FALSE(unpack_rate(0));
}

}  // namespace
}  // namespace stem::engine
