// What tests of whole gateways share: a Redis, a ledger of runs, and a look into both sides.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "federation/keys.hpp"
#include "tests/federation/connected.hpp"
#include "tests/federation/hosts.hpp"
#include "tests/support/redis_server.hpp"
#include "tests/support/wait.hpp"

namespace stem::test {

class GatewayTest : public ::testing::Test {
 protected:
  explicit GatewayTest(std::uint64_t numbers = 10'000) : ledger(numbers) {}

  OwnedReply ask(std::vector<std::string_view> argv) {
    Connected client(Connected::quick(server.url()));
    client->start();
    EXPECT_TRUE(client.wait_ready());
    return client.ask(std::move(argv));
  }
  // Entries of all lanes, and of these the ones given to somebody.
  std::pair<std::int64_t, std::int64_t> in_redis() {
    std::int64_t entries = 0, pending = 0;
    for (int lane = 0; lane < federation::kLanes; ++lane) {
      const std::string stream = keys.stream("q", lane);
      entries += ask({"XLEN", stream}).integer;
      const OwnedReply summary = ask({"XPENDING", stream, keys.group("q")});
      if (!summary.elements.empty()) pending += summary.elements[0].integer;
    }
    return {entries, pending};
  }
  void expect_clean_streams() {
    const std::pair<std::int64_t, std::int64_t> nothing(0, 0);
    EXPECT_TRUE(wait_until([&] { return in_redis() == nothing; }, kLong)) << in_redis().first << " entries are left";
  }
  std::uint64_t ran() const {
    std::uint64_t n = 0;
    for (std::uint64_t i = 0; i < ledger.numbers(); ++i) n += ledger.runs(i) != 0;
    return n;
  }
  // Nothing of the work is left anywhere.
  void expect_clean(std::initializer_list<Host*> hosts) {
    EXPECT_TRUE(wait_until(
        [&] {
          for (Host* host : hosts)
            if (slots_in(host->segment(), shm::State::kOutbox) + slots_in(host->segment(), shm::State::kDone) +
                    slots_in(host->segment(), shm::State::kReady) + slots_in(host->segment(), shm::State::kLeased) !=
                0)
              return false;
          return true;
        },
        kLong))
        << "a host holds something still";
    EXPECT_EQ(in_redis(), (std::pair<std::int64_t, std::int64_t>(0, 0)));
    for (Host* host : hosts) EXPECT_EQ(broken_invariants(*host->engine()), "");
  }

  RedisServer server;
  federation::Keys keys{"stem"};
  RunLedger ledger;
};

}  // namespace stem::test
