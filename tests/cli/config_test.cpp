// Flag beats environment beats file beats default, and `config show` says which it was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "run_stem.hpp"

namespace stem::cli_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

nlohmann::json show(const std::vector<std::string>& args, const RunOptions& options = {}) {
  std::vector<std::string> words{"config", "show", "--json"};
  words.insert(words.end(), args.begin(), args.end());
  const Outcome outcome = run_stem(words, options);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return nlohmann::json::parse(outcome.out);
}

nlohmann::json row(const nlohmann::json& document, const std::string& key) {
  for (const auto& setting : document["settings"]) {
    if (setting["key"] == key) return setting;
  }
  ADD_FAILURE() << "no setting " << key;
  return {};
}

TEST(Config, DefaultsAreThoseOfTheReference) {
  const auto document = show({});
  EXPECT_TRUE(document["file"].is_null());
  EXPECT_EQ(row(document, "namespace")["value"], "stem");
  EXPECT_EQ(row(document, "namespace")["origin"], "default");
  EXPECT_EQ(row(document, "broker_url")["value"], "shm://stem");
  EXPECT_EQ(row(document, "default_queue")["value"], "default");
  EXPECT_EQ(row(document, "default_max_retries")["value"], "3");
  EXPECT_EQ(row(document, "worker.prefetch_multiplier")["value"], "2");
  EXPECT_EQ(row(document, "worker.heartbeat_interval")["value"], "10s");
  EXPECT_TRUE(row(document, "signing.keys")["value"].is_null());
}

TEST(Config, EachLayerBeatsTheOneBelow) {
  const TemporaryDirectory directory;
  directory.write("stem.toml", "# ours\nnamespace = \"from-file\"\ndefault_queue = \"file-q\"\n");
  RunOptions options{.environment = {}, .directory = directory.path()};
  auto document = show({}, options);
  EXPECT_EQ(document["file"], "stem.toml");
  EXPECT_EQ(row(document, "namespace")["value"], "from-file");
  EXPECT_EQ(row(document, "namespace")["where"], "stem.toml:2");
  EXPECT_EQ(row(document, "broker_url")["value"], "shm://from-file");

  options.environment["STEM_NAMESPACE"] = "from-env";
  document = show({}, options);
  EXPECT_EQ(row(document, "namespace")["value"], "from-env");
  EXPECT_EQ(row(document, "namespace")["origin"], "environment");
  EXPECT_EQ(row(document, "namespace")["where"], "STEM_NAMESPACE");

  document = show({"--namespace", "from-flag"}, options);
  EXPECT_EQ(row(document, "namespace")["value"], "from-flag");
  EXPECT_EQ(row(document, "namespace")["origin"], "flag");
  EXPECT_EQ(row(document, "default_queue")["origin"], "file");

  options.environment["STEM_NAMESPACE"] = "";
  EXPECT_EQ(row(show({}, options), "namespace")["origin"], "file") << "empty counts as not set";
}

TEST(Config, EveryVariableOfTheReferenceIsRead) {
  const std::map<std::string, std::string> variables{{"STEM_NAMESPACE", "n"},
                                                     {"STEM_BROKER_URL", "redis://a"},
                                                     {"STEM_RESULT_BACKEND_URL", "redis://b"},
                                                     {"STEM_SCHEDULE_STORE_URL", "file:/c"},
                                                     {"STEM_DEFAULT_QUEUE", "q"},
                                                     {"STEM_PREFETCH_MULTIPLIER", "7"},
                                                     {"STEM_DEFAULT_MAX_RETRIES", "8"},
                                                     {"STEM_ROUTING_CONFIG", "/r"},
                                                     {"STEM_WORKER_QUEUES", "a,b"},
                                                     {"STEM_HEARTBEAT_INTERVAL", "3s"},
                                                     {"STEM_SIGNING_ALGORITHM", "ed25519"},
                                                     {"STEM_SIGNING_KEYS", "k:QQ=="},
                                                     {"STEM_SIGNING_ACTIVE_KEY", "k"},
                                                     {"STEM_SIGNING_PUBLIC_KEYS", "k:Qg=="},
                                                     {"STEM_SIGNING_PRIVATE_KEYS", "k:Qw=="},
                                                     {"STEM_TLS_CA_CERT", "/ca"},
                                                     {"STEM_TLS_CLIENT_CERT", "/cert"},
                                                     {"STEM_TLS_CLIENT_KEY", "/key"},
                                                     {"STEM_LOG", "warn"},
                                                     {"STEM_LOG_FORMAT", "json"}};
  const auto document = show({}, {.environment = variables});
  std::size_t from_environment = 0;
  for (const auto& setting : document["settings"]) {
    if (setting["origin"] == "environment") ++from_environment;
  }
  EXPECT_EQ(from_environment, variables.size());
  EXPECT_TRUE(document["unreadVariables"].empty());
}

TEST(Config, SecretsAreNeverShown) {
  const RunOptions options{.environment = {{"STEM_BROKER_URL", "redis://user:hunter2@host:6379/0"},
                                           {"STEM_SIGNING_KEYS", "k1:c2VjcmV0,k2:b3RoZXI="}}};
  for (const auto& args : std::vector<std::vector<std::string>>{{"config", "show"}, {"config", "show", "--json"}}) {
    const Outcome outcome = run_stem(args, options);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("redis://user:***@host:6379/0"));
    EXPECT_THAT(outcome.out, HasSubstr("k1:***,k2:***"));
    EXPECT_THAT(outcome.out, Not(HasSubstr("hunter2")));
    EXPECT_THAT(outcome.out, Not(HasSubstr("c2VjcmV0")));
  }
  // Nor in the refusal of a broken one.
  const Outcome refused = run_stem({"version"}, {.environment = {{"STEM_BROKER_URL", "redis//user:hunter2@host"}}});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, Not(HasSubstr("hunter2")));
}

struct BrokenFile {
  const char* content;
  const char* says;
};

TEST(Config, ABrokenFileIsRefusedWithItsLine) {
  for (const auto& [content, says] : std::vector<BrokenFile>{
           {"\nnamespce = \"x\"\n", "stem.toml:2: unknown key namespce; did you mean namespace?"},
           {"[worker]\nqueue = \"x\"\n", "stem.toml:2: unknown key worker.queue; did you mean worker.queues?"},
           {"[workers]\n", "stem.toml:1: unknown key workers"},
           {"namespace = 5\n", "stem.toml:1: namespace wants a text in quotes"},
           {"namespace = \"\"\n", "stem.toml:1: namespace is empty"},
           {"namespace = \"a b\"\n", "stem.toml:1: namespace: 'a b' is not a name"},
           {"default_max_retries = -1\n", "stem.toml:1: default_max_retries: '-1' is not a whole number"},
           {"[worker]\nqueues = [1]\n", "stem.toml:2: worker.queues holds names"},
           {"[worker]\nheartbeat_interval = 5\n", "stem.toml:2: worker.heartbeat_interval wants a duration"},
           {"[worker]\nheartbeat_interval = \"5\"\n", "'5' has no unit"},
           {"a = \n", "stem.toml:1: "},
           {"namespace = \"x\"\nnamespace = \"y\"\n", "stem.toml:2: "},
           {"\xff\xfe\n", "stem.toml:1: "}}) {
    const TemporaryDirectory directory;
    directory.write("stem.toml", content);
    const Outcome outcome = run_stem({"version"}, {.environment = {}, .directory = directory.path()});
    EXPECT_EQ(outcome.exit_code, 2) << content;
    EXPECT_THAT(outcome.err, HasSubstr(says)) << content;
    EXPECT_EQ(outcome.out, "") << content;
  }
}

TEST(Config, AFileThatWasNamedMustBeReadable) {
  const Outcome missing = run_stem({"version", "--config", "/nowhere/stem.toml"});
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.err, HasSubstr("/nowhere/stem.toml: No such file or directory"));
  const Outcome directory = run_stem({"version", "--config", "/"});
  EXPECT_EQ(directory.exit_code, 2);
  EXPECT_THAT(directory.err, HasSubstr("Is a directory"));
  const TemporaryDirectory own;
  EXPECT_EQ(run_stem({"version", "--config", own.write("empty.toml", "")}).exit_code, 0);
}

TEST(Config, AListMayBeAnArray) {
  const TemporaryDirectory directory;
  directory.write("stem.toml", "[worker]\nqueues = [\"images\", \"mail\"]\nprefetch_multiplier = 4\n");
  const auto document = show({}, {.environment = {}, .directory = directory.path()});
  EXPECT_EQ(row(document, "worker.queues")["value"], "images,mail");
  EXPECT_EQ(row(document, "worker.prefetch_multiplier")["value"], "4");
}

TEST(Config, WrongVariablesAreRefusedByNameAndMisspeltOnesAreNamed) {
  const Outcome wrong = run_stem({"version"}, {.environment = {{"STEM_HEARTBEAT_INTERVAL", "soon"}}});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("STEM_HEARTBEAT_INTERVAL: 'soon' is not a duration"));
  const Outcome misspelt = run_stem({"config", "show"}, {.environment = {{"STEM_NAMESPCE", "x"}}});
  EXPECT_EQ(misspelt.exit_code, 0);
  EXPECT_THAT(misspelt.err, HasSubstr("did you mean STEM_NAMESPACE?"));
}

TEST(Config, ThePeoplesTableIsAligned) {
  const Outcome outcome = run_stem({"config", "show", "--namespace", "shop"});
  EXPECT_THAT(outcome.out, HasSubstr("SETTING "));
  EXPECT_THAT(outcome.out, HasSubstr("flag --namespace"));
  const std::size_t header = outcome.out.find("VALUE");
  const std::size_t line = outcome.out.find("\nnamespace") + 1;
  EXPECT_EQ(outcome.out.substr(line + header, 4), "shop");
}

}  // namespace
}  // namespace stem::cli_test
