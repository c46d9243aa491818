#include "tests/cluster/cluster_test.hpp"

namespace stem::test {

OwnedReply ClusterTest::ask(std::vector<std::string_view> argv) {
  Connected client(Connected::quick(server.url()));
  client->start();
  EXPECT_TRUE(client.wait_ready());
  return client.ask(std::move(argv));
}

cli_test::Outcome ClusterTest::stem_on(Host& host, std::vector<std::string> args) {
  cli_test::RunOptions options;
  options.environment = {{"STEM_SHM_DIRECTORY", host.gateway_options().directory}, {"STEM_NAMESPACE", "test"}};
  return cli_test::run_stem(args, options);
}

nlohmann::json ClusterTest::json_on(Host& host, std::vector<std::string> args, int exit_code) {
  args.emplace_back("--json");
  const cli_test::Outcome outcome = stem_on(host, args);
  EXPECT_EQ(outcome.exit_code, exit_code) << ::testing::PrintToString(args) << outcome.out << outcome.err;
  auto document = nlohmann::json::parse(outcome.out, nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(document.is_discarded()) << ::testing::PrintToString(args) << outcome.out << outcome.err;
  return document;
}

nlohmann::json ClusterTest::beat_of(const std::string& id) {
  const OwnedReply reply = ask({"GET", keys.worker_heartbeat(id)});
  if (reply.kind != federation::Reply::Kind::kString) return nullptr;
  return nlohmann::json::parse(reply.text, nullptr, /*allow_exceptions=*/false);
}

std::uint64_t ClusterTest::ran() const {
  std::uint64_t n = 0;
  for (std::uint64_t i = 0; i < ledger.numbers(); ++i) n += ledger.runs(i) != 0;
  return n;
}

}  // namespace stem::test
