// rediss:// against a real redis-server with certificates of the test's own.
#include "federation/tls.hpp"

#include <gtest/gtest.h>

#include <string>

#include "tests/federation/certificates.hpp"
#include "tests/federation/connected.hpp"
#include "tests/support/redis_server.hpp"

namespace stem::federation {
namespace {

using test::Connected;
using test::RedisServer;

class Tls : public testing::Test {
 protected:
  static RedisServer::Options serving(const test::CertificateFiles& files, const std::string& ca_file,
                                      std::uint16_t port, bool clients_too = false) {
    return {.tcp = false,
            .arguments = {"--tls-port", std::to_string(port), "--tls-cert-file", files.certificate, "--tls-key-file",
                          files.key, "--tls-ca-cert-file", ca_file, "--tls-auth-clients", clients_too ? "yes" : "no"}};
  }

  // "ready", or why not.
  static std::string outcome(std::uint16_t port, const TlsOptions& tls, const std::string& host = "127.0.0.1") {
    RedisOptions options = Connected::quick("rediss://" + host + ":" + std::to_string(port));
    options.tls = tls;
    Connected client(options);
    client->start();
    EXPECT_TRUE(client.turn_until([&] { return client->is_ready() || !client->last_fault().empty(); }));
    if (!client->is_ready()) return client->last_fault();
    EXPECT_EQ(client.ask({"PING"}).text, "PONG");
    return "ready";
  }

  test::ScratchDirectory directory_;
  test::Authority authority_{directory_.path(), "authority"};
  test::Authority stranger_{directory_.path(), "stranger"};
  std::uint16_t port_ = test::free_port();
};

TEST_F(Tls, ServesManyCommandsOfAllSizes) {
  const RedisServer server(
      serving(authority_.issue("server", "IP:127.0.0.1,DNS:localhost"), authority_.ca_file(), port_));
  RedisOptions options = Connected::quick("rediss://localhost:" + std::to_string(port_));
  options.tls.ca_file = authority_.ca_file();
  Connected client(options);
  client->start();
  ASSERT_TRUE(client.wait_ready()) << client->last_fault();
  int answered = 0;
  for (int i = 0; i < 300; ++i) {
    const std::string value(static_cast<std::size_t>(i) * 211, static_cast<char>('a' + i % 26));
    ASSERT_EQ(client->command({"SET", "k" + std::to_string(i), value},
                              [&](const Reply& reply) { answered += reply.is_ok(); }),
              Queued::kYes);
    if (i % 50 == 49) {
      ASSERT_TRUE(client.turn_until([&] { return answered == i + 1; }));
    }
  }
  EXPECT_EQ(client.ask({"GET", "k299"}).text, std::string(299 * 211, static_cast<char>('a' + 299 % 26)));
  EXPECT_EQ(client.ask({"DBSIZE"}).integer, 300);
}

TEST_F(Tls, ChecksWhoSignedAndForWhom) {
  const RedisServer server(serving(authority_.issue("server", "DNS:redis.test"), authority_.ca_file(), port_));
  const TlsOptions right{.ca_file = authority_.ca_file(), .server_name = "redis.test"};
  EXPECT_EQ(outcome(port_, right), "ready");
  EXPECT_EQ(outcome(port_, {.ca_file = authority_.ca_file()}), "TLS: certificate verify failed: IP address mismatch");
  EXPECT_EQ(outcome(port_, {.ca_file = authority_.ca_file(), .server_name = "other.test"}),
            "TLS: certificate verify failed: hostname mismatch");
  EXPECT_EQ(outcome(port_, {.ca_file = authority_.ca_file()}, "localhost"),
            "TLS: certificate verify failed: hostname mismatch");
  EXPECT_EQ(outcome(port_, {.ca_file = stranger_.ca_file(), .server_name = "redis.test"}),
            "TLS: certificate verify failed: self-signed certificate in certificate chain");
  EXPECT_EQ(outcome(port_, {.check_certificate = false}), "ready");
}

TEST_F(Tls, ChecksTheDate) {
  const RedisServer server(serving(authority_.issue("old", "IP:127.0.0.1", -1), authority_.ca_file(), port_));
  EXPECT_EQ(outcome(port_, {.ca_file = authority_.ca_file()}),
            "TLS: certificate verify failed: certificate has expired");
}

TEST_F(Tls, ShowsItsOwnCertificate) {
  const RedisServer server(serving(authority_.issue("server", "IP:127.0.0.1"), authority_.ca_file(), port_, true));
  const auto ours = authority_.issue("client", "DNS:client.test");
  const auto theirs = stranger_.issue("intruder", "DNS:client.test");
  const std::string ca = authority_.ca_file();
  EXPECT_EQ(outcome(port_, {.ca_file = ca, .certificate_file = ours.certificate, .key_file = ours.key}), "ready");
  EXPECT_TRUE(outcome(port_, {.ca_file = ca}).starts_with("TLS: ")) << outcome(port_, {.ca_file = ca});
  EXPECT_TRUE(outcome(port_, {.ca_file = ca, .certificate_file = theirs.certificate, .key_file = theirs.key})
                  .starts_with("TLS: "));
}

TEST_F(Tls, SaysWhichFileCannotBeUsed) {
  const auto ours = authority_.issue("client", "DNS:client.test");
  const auto other = authority_.issue("other", "DNS:client.test");
  const auto why = [](const TlsOptions& options) {
    const auto made = TlsSession::create(options, "redis.test");
    return made.ok() ? "made" : made.error().message;
  };
  EXPECT_TRUE(why({.ca_file = "/nowhere/ca.pem"}).starts_with("TLS: CA file /nowhere/ca.pem cannot be used: "));
  EXPECT_TRUE(
      why({.certificate_file = "/nowhere/c.pem"}).starts_with("TLS: certificate /nowhere/c.pem cannot be used: "));
  EXPECT_EQ(why({.certificate_file = ours.certificate, .key_file = other.key}),
            "TLS: key " + other.key + " cannot be used: key values mismatch");
  EXPECT_EQ(why({.certificate_file = ours.certificate, .key_file = ours.key}), "made");
}

TEST_F(Tls, APlainServerIsNoTlsServer) {
  RedisServer server({.tcp = true, .arguments = {}});
  RedisOptions options = Connected::quick("rediss://127.0.0.1:" + std::to_string(server.port()));
  options.greeting_timeout_ns = 100'000'000;  // it waits for the end of a line that never comes
  Connected client(options);
  client->start();
  ASSERT_TRUE(client.turn_until([&] { return !client->last_fault().empty(); }));
  EXPECT_TRUE(client->last_fault().ends_with("was not ready within 100ms (still shaking hands for TLS)"))
      << client->last_fault();
}

// The other way round: a TLS server takes our words for a broken handshake and hangs up.
TEST_F(Tls, ATlsServerIsNoPlainServer) {
  const RedisServer server(serving(authority_.issue("server", "IP:127.0.0.1"), authority_.ca_file(), port_));
  Connected client(Connected::quick("redis://127.0.0.1:" + std::to_string(port_)));
  client->start();
  ASSERT_TRUE(client.turn_until([&] { return !client->last_fault().empty(); }));
  EXPECT_FALSE(client->is_ready());
}

}  // namespace
}  // namespace stem::federation
