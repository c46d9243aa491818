// Real hosts over a real Redis, and the real program `stem` that looks at them and commands them.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "federation/keys.hpp"
#include "tests/cli/run_stem.hpp"
#include "tests/federation/connected.hpp"
#include "tests/federation/hosts.hpp"
#include "tests/support/redis_server.hpp"
#include "tests/support/wait.hpp"

namespace stem::test {

class ClusterTest : public ::testing::Test {
 protected:
  ClusterTest() : ledger(10'000) {}

  OwnedReply ask(std::vector<std::string_view> argv);
  // `stem ARGS` on a host; with --json its document, when it ended with `exit_code`.
  cli_test::Outcome stem_on(Host& host, std::vector<std::string> args);
  nlohmann::json json_on(Host& host, std::vector<std::string> args, int exit_code = 0);
  // The heartbeat that Redis has of somebody; null when there is none.
  nlohmann::json beat_of(const std::string& id);
  std::uint64_t ran() const;

  RedisServer server;
  federation::Keys keys{"stem"};
  RunLedger ledger;
};

}  // namespace stem::test
