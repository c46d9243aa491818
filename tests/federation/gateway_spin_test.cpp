// Gateways that look for what comes before they sleep (--spin-us).
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <string>

#include "shm/doorbell.hpp"
#include "tests/federation/gateway_fixture.hpp"

namespace stem::test {
namespace {

constexpr std::int64_t kSpinForLongNs = 600'000'000'000;
constexpr std::int64_t kSpinBrieflyNs = 20'000'000;

// Of the living gateway.
std::uint32_t gateway_of(Host& host) {
  for (std::uint32_t i = 0; i < host.segment().rows_used(); ++i) {
    const shm::RosterRow& row = host.segment().row(i);
    if (row.role.load() == static_cast<std::uint32_t>(shm::Role::kGateway) &&
        shm::row_state(row.status.load()) == shm::RowState::kLive)
      return i;
  }
  ADD_FAILURE() << "no gateway";
  return 0;
}

bool is_asleep(Host& host) {
  const std::uint32_t at = gateway_of(host);
  return (host.segment().header().sleepers[at / 64].load() >> (at % 64) & 1) != 0;
}

std::uint32_t rings_of(Host& host) { return host.segment().row(gateway_of(host)).doorbell.load(); }

// How often it has waited for something of its own accord: a spin that yields does not.
std::uint64_t waits_of(Host& host) {
  std::ifstream status("/proc/" + std::to_string(host.gateway().pid()) + "/status");
  std::uint64_t waits = 0;
  for (std::string word; status >> word;)
    if (word == "voluntary_ctxt_switches:") status >> waits;
  return waits;
}

class SpinTest : public GatewayTest {
 protected:
  SpinTest() : a(server.url(), ledger), b(server.url(), ledger) {}
  // Both hosts, and the first task from one to the other.
  void start(std::int64_t spin_ns) {
    for (Host* host : {&a, &b}) {
      host->gateway_options().spin_ns = spin_ns;
      host->start_gateway();
    }
    b.start_worker();
    pass(1);
  }
  // So many tasks, one after the other.
  void pass(std::uint64_t tasks) {
    for (const std::uint64_t end = next_ + tasks; next_ < end; ++next_) {
      (void)a.enqueue(next_);
      ASSERT_TRUE(wait_until([&] { return ledger.runs(next_) != 0; }, kLong)) << "task " << next_;
    }
  }
  std::uint64_t passed() const { return next_; }

  Host a, b;

 private:
  std::uint64_t next_ = 0;
};

TEST_F(SpinTest, NobodyRingsAGatewayThatLooks) {
  start(kSpinForLongNs);
  const std::uint32_t rings = rings_of(a);
  for (int i = 0; i < 100; ++i) {
    pass(1);
    EXPECT_FALSE(is_asleep(a)) << i;
    EXPECT_FALSE(is_asleep(b)) << i;
  }
  EXPECT_EQ(rings_of(a), rings) << "a producer made a system call for nothing";
  expect_clean({&a, &b});
  EXPECT_EQ(ledger.extra(), 0u);
}

TEST_F(SpinTest, WhoHasLookedForLongEnoughSleepsAndIsRung) {
  start(kSpinBrieflyNs);
  for (Host* host : {&a, &b}) {
    ASSERT_TRUE(wait_until([&] { return is_asleep(*host); }, kLong));
    const std::uint64_t waits = waits_of(*host);
    EXPECT_TRUE(wait_until([&] { return waits_of(*host) >= waits + 5; }, kLong)) << "it does not sleep again";
  }
  // It wakes now and then without being rung, so one task alone may come just then.
  const std::uint32_t rings = rings_of(a);
  for (int i = 0; i < 50 && rings_of(a) == rings; ++i) {
    ASSERT_TRUE(wait_until([&] { return is_asleep(a); }, kLong));
    pass(1);
  }
  EXPECT_NE(rings_of(a), rings);
  expect_clean({&a, &b});
}

TEST_F(SpinTest, OneThatIsStoppedOrKilledWhileItLooksLosesNothing) {
  start(kSpinForLongNs);
  for (Host* host : {&a, &b}) {
    ASSERT_FALSE(is_asleep(*host));
    host->gateway().stop();
    for (std::uint64_t i = 0; i < 20; ++i) (void)a.enqueue(1000 + i + (host == &a ? 0 : 20));
    host->gateway().resume();
  }
  ASSERT_TRUE(wait_until([&] { return ran() == passed() + 40; }, kLong)) << ran();
  for (Host* host : {&a, &b}) {
    ASSERT_FALSE(is_asleep(*host));
    host->kill_gateway();
    for (std::uint64_t i = 0; i < 20; ++i) (void)a.enqueue(2000 + i + (host == &a ? 0 : 20));
    host->start_gateway();
  }
  ASSERT_TRUE(wait_until([&] { return ran() == passed() + 80; }, kLong)) << ran();
  expect_clean({&a, &b});
  EXPECT_EQ(ledger.extra(), 0u);
}

}  // namespace
}  // namespace stem::test
