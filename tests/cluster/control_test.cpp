// `stem worker ... --all-hosts`: every worker of every host, and who did not answer.
#include <map>

#include "federation/host_control.hpp"
#include "tests/cluster/cluster_test.hpp"

namespace stem::test {
namespace {

using nlohmann::json;

// Hosts with the real program's workers, which answer control requests.
class ControlTest : public ClusterTest {
 protected:
  ControlTest() : a(server.url(), ledger), b(server.url(), ledger) {
    a.gateway_options().node = "alpha";
    b.gateway_options().node = "beta";
  }
  // `stem worker start` on a host, ready when both its processes answer there.
  Process start_workers(Host& host, const std::string& node) {
    const std::string directory = host.gateway_options().directory;
    Process workers([directory, node] {
      ::setenv("STEM_SHM_DIRECTORY", directory.c_str(), 1);
      ::setenv("STEM_NAMESPACE", "test", 1);
      ::setenv("STEM_LOG", "error", 1);
      const std::string stem = cli_test::stem_path();
      ::execl(stem.c_str(), "stem", "worker", "start", "--exec", "count=true", "-q", "q", "-c", "2", "--pin", "none",
              "--node", node.c_str(), nullptr);
      return 127;
    });
    EXPECT_TRUE(wait_until(
        [&] {
          const auto outcome = stem_on(host, {"worker", "status", "--json"});
          const json seen = json::parse(outcome.out, nullptr, false);
          return outcome.exit_code == 0 && seen["workers"].size() == 3;
        },
        kLong));
    return workers;
  }
  void start_gateways() {
    a.start_gateway();
    b.start_gateway();
    EXPECT_TRUE(
        wait_until([&] { return !beat_of("gateway:alpha").is_null() && !beat_of("gateway:beta").is_null(); }, kLong));
  }
  std::vector<std::string> worker(std::vector<std::string> args) const {
    args.insert(args.begin(), "worker");
    args.insert(args.end(), {"--redis", server.url(), "--redis-namespace", "stem"});
    return args;
  }
  // Workers that answered, as HOST/NAME, with their state.
  std::map<std::string, std::string> answers(const json& document) {
    std::map<std::string, std::string> found;
    for (const json& one : document["workers"])
      if (one["answered"] == true)
        found[one["host"].get<std::string>() + "/" + one["worker"].get<std::string>()] = one["state"];
    return found;
  }

  Host a, b;
};

TEST_F(ControlTest, ReachesEveryWorkerOfEveryHost) {
  const Process one = start_workers(a, "north"), two = start_workers(b, "south");
  start_gateways();
  const json all = json_on(a, worker({"ping", "--timeout", "30s"}));
  EXPECT_EQ(answers(all).size(), 6u) << all;
  for (const std::string name : {"alpha/north", "alpha/north-1", "alpha/north-2", "beta/south", "beta/south-1"})
    EXPECT_TRUE(answers(all).contains(name)) << name;
  EXPECT_EQ(answers(json_on(a, worker({"ping", "--timeout", "30s", "-w", "beta"}))).size(), 3u) << "a host";
  EXPECT_EQ(answers(json_on(a, worker({"ping", "--timeout", "30s", "-w", "north-1"}))).size(), 1u);
  EXPECT_EQ(answers(json_on(a, worker({"ping", "--timeout", "30s", "-w", "beta:south-2"}))).size(), 1u);
  EXPECT_EQ(json_on(a, worker({"ping", "--timeout", "30s", "-w", "nobody"}), 1)["unknown"][0], "nobody");
  (void)json_on(b, worker({"pause", "--timeout", "30s"}));
  for (const auto& [name, state] : answers(json_on(a, worker({"status", "--timeout", "30s"}))))
    EXPECT_TRUE(state == "paused" || state == "watching") << name << " is " << state;
  (void)json_on(b, worker({"resume", "--timeout", "30s"}));
  for (const auto& [name, state] : answers(json_on(a, worker({"stats", "--timeout", "30s"}))))
    EXPECT_NE(state, "paused") << name;
  EXPECT_NE(stem_on(a, worker({"inspect", "--timeout", "30s"})).out.find("north-1"), std::string::npos);
  EXPECT_EQ(answers(json_on(a, worker({"resize", "1", "-w", "alpha", "--timeout", "30s"}))).size(), 1u);
  EXPECT_TRUE(wait_until(
      [&] {
        return answers(json_on(a, worker({"status", "-w", "alpha", "--timeout", "30s"}))).size() == 2;
      },
      kLong));
  (void)stem_on(a, worker({"shutdown", "--timeout", "30s"}));
  EXPECT_TRUE(wait_until(
      [&] {
        const json here = json::parse(stem_on(b, {"worker", "status", "--json"}).out, nullptr, false);
        return here["workers"].empty();
      },
      kLong));
}

TEST_F(ControlTest, AHostThatDoesNotAnswerIsNamed) {
  const Process one = start_workers(a, "north"), two = start_workers(b, "south");
  start_gateways();
  (void)ask({"SET", keys.worker_heartbeat("dart-7"), R"({"version":"1","workerId":"dart-7"})", "PX", "60000"});
  (void)ask({"SADD", keys.worker_heartbeats(), "dart-7"});
  b.gateway().stop();
  const json seen = json_on(a, worker({"ping", "--timeout", "3s"}), 3);
  std::map<std::string, bool> hosts, reachable;
  for (const json& host : seen["hosts"]) {
    hosts[host["host"]] = host["answered"];
    reachable[host["host"]] = host["reachable"];
  }
  EXPECT_EQ(hosts, (std::map<std::string, bool>{{"alpha", true}, {"beta", false}, {"dart-7", false}}));
  EXPECT_FALSE(reachable["dart-7"]) << "another program's worker";
  b.gateway().resume();
  const cli_test::Outcome page = stem_on(a, worker({"ping", "--timeout", "3s"}));
  EXPECT_EQ(page.exit_code, 3);
  EXPECT_NE(page.out.find("dart-7  "), std::string::npos) << page.out;
}

// A gateway that was killed with a request in hand: the next one carries it out while somebody waits for it, and not
// when nobody does any more.
TEST_F(ControlTest, AGatewayThatBeginsAnewAnswersWhatIsStillWaitedFor) {
  const Process one = start_workers(a, "north");
  start_gateways();
  a.kill_gateway();
  const auto send = [&](const std::string& id, const std::string& command, int timeout_ms) {
    const std::string request = R"({"requestId":")" + id + R"(","command":")" + command + R"(","timeoutMs":)" +
                                std::to_string(timeout_ms) + "}";
    (void)ask({"XADD", keys.control_requests(), "*", "request", request});
  };
  const auto lapses = [&](int ms) {
    const auto until = base::monotonic_ns() + std::int64_t{ms} * 1'000'000;
    (void)wait_until([&] { return base::monotonic_ns() >= until; });
  };
  send("late", "pause", 1);
  for (const char* text : {"nonsense", "{}", R"({"requestId":"x","command":"format-disk"})",
                           R"({"requestId":"x","command":"ping","workers":7})"})
    (void)ask({"XADD", keys.control_requests(), "*", "request", text});
  send("waited", "ping", 60'000);
  lapses(5);
  a.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ask({"LLEN", keys.control_replies("waited")}).integer >= 1; }, kLong));
  EXPECT_GT(ask({"PTTL", keys.control_replies("waited")}).integer, 0) << "an answer that nobody fetches goes";
  EXPECT_EQ(ask({"EXISTS", keys.control_replies("late")}).integer, 0);
  for (const auto& [name, state] : answers(json_on(a, worker({"status", "-w", "alpha", "--timeout", "30s"}))))
    EXPECT_NE(state, "paused") << name;
}

TEST(HostRequest, IsReadBackAndRefusedWithAReason) {
  federation::HostRequest request;
  request.id = "r";
  request.command = worker::Command::kResize;
  request.argument = 3;
  request.selection = {{"a", "b"}, {"q"}};
  request.supervisors_only = true;
  request.timeout_ms = 5;
  const auto read = federation::host_request_of_json(to_json(request));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->command, worker::Command::kResize);
  EXPECT_EQ(read->argument, 3u);
  EXPECT_EQ(read->selection.names, request.selection.names);
  EXPECT_EQ(read->selection.queues, request.selection.queues);
  EXPECT_TRUE(read->supervisors_only);
  EXPECT_EQ(read->timeout_ms, 5);
  for (const char* text :
       {"", "[]", "{}", R"({"requestId":7})", R"({"requestId":"","command":"ping"})", R"({"requestId":"x"})",
        R"({"requestId":"x","command":"none"})", R"({"requestId":"x","command":"ping","argument":-1})",
        R"({"requestId":"x","command":"ping","timeoutMs":0})", R"({"requestId":"x","command":"ping","timeoutMs":1e9})",
        R"({"requestId":"x","command":"ping","queues":[1]})"})
    EXPECT_FALSE(federation::host_request_of_json(text).ok()) << text;
}

}  // namespace
}  // namespace stem::test
