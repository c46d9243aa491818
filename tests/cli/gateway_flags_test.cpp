// Keys and settings of `stem gateway start`: what is half, open to others or wrong is refused before anything starts,
// and no secret is ever shown.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "scene.hpp"
#include "shm/doorbell.hpp"
#include "tests/cli/run_stem.hpp"
#include "tests/support/process.hpp"
#include "tests/support/redis_server.hpp"
#include "tests/support/wait.hpp"

namespace stem::cli_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kSecret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
constexpr const char* kPublic = "wRfHwRnSKMj5vPSA1hwa1XJ9X+mtsE8TL9q/xXB8eYo=";

Outcome start(std::vector<std::string> flags, const RunOptions& options = {}) {
  flags.insert(flags.begin(), {"gateway", "start", "--redis", "unix:///nowhere"});
  const Outcome outcome = run_stem(flags, options);
  EXPECT_THAT(outcome.out + outcome.err, Not(HasSubstr(kSecret)));
  return outcome;
}

TEST(GatewaySigning, AFileThatOthersMayReadIsRefused) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("keys", std::string("k1:") + kSecret + "\n");
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  const Outcome outcome = start({"--import", "q", "--signing-keys-file", path, "--signing-active-key", "k1"});
  EXPECT_EQ(outcome.exit_code, 70);
  EXPECT_THAT(outcome.err, HasSubstr(path + ": has mode 0644; secrets want 0600"));
}

TEST(GatewaySigning, ASettingsFileWithSecretsIsItsOwnersAlone) {
  const TemporaryDirectory directory;
  const std::string path =
      directory.write("stem.toml", std::string("[signing]\nactive_key = \"k1\"\nkeys = \"k1:") + kSecret + "\"\n");
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  const Outcome outcome = start({"--import", "q"}, {.directory = directory.path()});
  EXPECT_EQ(outcome.exit_code, 70);
  EXPECT_THAT(outcome.err, HasSubstr("has mode 0640; a file with signing.keys wants 0600"));
}

TEST(GatewaySigning, HalfAConfigurationIsNotNone) {
  const Outcome algorithm = start({"--import", "q", "--signing-algorithm", "ed25519"});
  EXPECT_EQ(algorithm.exit_code, 2);
  EXPECT_THAT(algorithm.err, HasSubstr("STEM_SIGNING_PUBLIC_KEYS is wanted"));
  const Outcome no_active =
      start({"--import", "q"}, {.environment = {{"STEM_SIGNING_KEYS", std::string("k1:") + kSecret}}});
  EXPECT_EQ(no_active.exit_code, 2);
  EXPECT_THAT(no_active.err, HasSubstr("STEM_SIGNING_ACTIVE_KEY is wanted"));
  const Outcome damaged =
      start({"--import", "q"},
            {.environment = {{"STEM_SIGNING_KEYS", std::string("k1:x") + kSecret}, {"STEM_SIGNING_ACTIVE_KEY", "k1"}}});
  EXPECT_EQ(damaged.exit_code, 2);
  EXPECT_THAT(damaged.err, HasSubstr("STEM_SIGNING_KEYS: key 'k1' is not base64"));
}

TEST(GatewayHeartbeat, IsWithinWhatOthersCanSee) {
  const Outcome rare = start({"--import", "q", "--heartbeat-interval", "21s"});
  EXPECT_EQ(rare.exit_code, 2);
  EXPECT_THAT(rare.err, HasSubstr("--heartbeat-interval: 1s to 20s"));
  const Outcome often = start({"--import", "q"}, {.environment = {{"STEM_HEARTBEAT_INTERVAL", "10ms"}}});
  EXPECT_EQ(often.exit_code, 2);
  EXPECT_THAT(often.err, HasSubstr("--heartbeat-interval: 1s to 20s"));
}

TEST(GatewaySigning, WhoCannotSignDoesNotExport) {
  const Outcome outcome =
      start({"--export", "q"}, {.environment = {{"STEM_SIGNING_ALGORITHM", "ed25519"},
                                                {"STEM_SIGNING_PUBLIC_KEYS", std::string("e1:") + kPublic}}});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("STEM_SIGNING_PRIVATE_KEYS"));
}

TEST(GatewayFlags, ASpinIsAsLongAsAWorkersMayBe) {
  for (const char* us : {"60000001", "-1", "1ms"}) {
    const Outcome outcome = start({"--import", "mail", "--spin-us", us});
    EXPECT_EQ(outcome.exit_code, 2) << us;
    EXPECT_THAT(outcome.err, HasSubstr("--spin-us")) << us;
  }
}

// As /proc shows it.
int niceness_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string field;
  for (int i = 3; i <= 19; ++i) fields >> field;  // the state is the third
  return std::stoi(field);
}

TEST(GatewayFlags, StandsBackForLocalWorkUnlessItIsToldNotTo) {
  EXPECT_THAT(start({"--import", "mail", "--nice", "20"}).err, HasSubstr("--nice: 0 to 19"));
  const test::RedisServer redis;
  const std::string url = redis.url();
  const int here = ::getpriority(PRIO_PROCESS, 0);
  for (const auto& [wanted, expected] : {std::pair<const char*, int>{nullptr, std::max(here, 15)}, {"0", here}}) {
    Scene scene;
    test::Process gateway([&, wanted = wanted] {
      ::setenv("STEM_SHM_DIRECTORY", scene.directory().c_str(), 1);
      ::execl(stem_path().c_str(), "stem", "gateway", "start", "--redis", url.c_str(), "--import", "mail",
              wanted == nullptr ? nullptr : "--nice", wanted, nullptr);
      return 127;
    });
    const auto segment = scene.segment();
    const auto is_there = [&] {
      for (std::uint32_t row = 0; row < segment->rows_used(); ++row)
        if (segment->row(row).pid == static_cast<std::uint32_t>(gateway.pid())) return true;
      return false;
    };
    ASSERT_TRUE(test::wait_until(is_there, test::kLong));
    EXPECT_EQ(niceness_of(gateway.pid()), expected);
    gateway.signal(SIGTERM);
    EXPECT_EQ(gateway.wait(), 0);
  }
}

TEST(GatewayFlags, ASpinKeepsItAwakeAfterATask) {
  Scene scene;
  const auto segment = scene.segment();
  const test::RedisServer redis;
  const std::string url = redis.url();
  test::Process gateway([&] {
    ::setenv("STEM_SHM_DIRECTORY", scene.directory().c_str(), 1);
    ::execl(stem_path().c_str(), "stem", "gateway", "start", "--redis", url.c_str(), "--export", "mail", "--spin-us",
            "60000000", nullptr);
    return 127;
  });
  // Nothing else sleeps for work here.
  const auto sleeps = [&] {
    for (const auto& word : segment->header().sleepers)
      if (word.load() != 0) return true;
    return false;
  };
  ASSERT_TRUE(test::wait_until(sleeps, test::kLong)) << "it spins before the first task";
  (void)scene.enqueue({"send", "-q", "mail"});
  // One that does not spin sleeps for 50 ms at a time.
  const auto stays_awake = [&] {
    for (int look = 0; look < 200; ++look, std::this_thread::sleep_for(std::chrono::milliseconds(1)))
      if (sleeps()) return false;
    return true;
  };
  EXPECT_TRUE(test::wait_until(stays_awake, test::kLong));
  gateway.signal(SIGTERM);
  EXPECT_EQ(gateway.wait(), 0);
}

}  // namespace
}  // namespace stem::cli_test
