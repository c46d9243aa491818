// The connection against a real redis-server, on both back ends of the loop where that matters.
#include "federation/redis_connection.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "tests/federation/connected.hpp"
#include "tests/support/redis_server.hpp"

namespace stem::federation {
namespace {

using test::Connected;
using test::OwnedReply;
using test::RedisServer;

constexpr std::int64_t kMillisecond = 1'000'000;

class OnBackends : public testing::TestWithParam<io::Backend> {};
INSTANTIATE_TEST_SUITE_P(Backends, OnBackends, testing::Values(io::Backend::kUring, io::Backend::kEpoll),
                         [](const auto& one) { return one.param == io::Backend::kUring ? "uring" : "epoll"; });

TEST_P(OnBackends, AHundredThousandPipelinedCommandsComeBackInOrder) {
  RedisServer server({.tcp = true, .arguments = {}});
  for (const std::string& url : {server.url(), server.tcp_url()}) {
    Connected client(Connected::quick(url), GetParam());
    client->start();
    ASSERT_TRUE(client.wait_ready()) << client->last_fault();
    constexpr int kCommands = 100'000;
    int sent = 0;
    int answered = 0;
    std::vector<std::string> ids;
    while (sent < kCommands) {
      const std::string id = std::to_string(sent + 1) + "-1";
      const auto queued = client->command({"XADD", "s", id, "id", id, "name", "n"}, [&](const Reply& reply) {
        ASSERT_TRUE(reply.is_text()) << reply.text;
        ++answered;
        ASSERT_EQ(reply.text, std::to_string(answered) + "-1");
      });
      if (queued == Queued::kYes) {
        ++sent;
      } else {
        ASSERT_EQ(queued, Queued::kNoRoom);
        ASSERT_TRUE(client.turn_until([&] { return client->has_room(); }));
      }
    }
    ASSERT_TRUE(client.turn_until([&] { return answered == kCommands; }));
    EXPECT_EQ(client.ask({"XLEN", "s"}).integer, kCommands);
    EXPECT_EQ(client->bytes_in_flight(), 0u);
    EXPECT_EQ(client.ask({"DEL", "s"}).integer, 1);
  }
}

// SIGKILL in the middle: each command ends once; those with a reply are there, and nothing is there that was neither
// acknowledged nor left open.
TEST_P(OnBackends, AKilledServerEndsEveryCommandOnceAndThenWeAreBack) {
  RedisServer server({.tcp = false, .arguments = {"--appendonly", "yes", "--appendfsync", "always"}});
  Connected client(Connected::quick(server.url()), GetParam());
  client->start();
  ASSERT_TRUE(client.wait_ready());
  constexpr int kCommands = 20'000;
  std::vector<int> ended(kCommands, 0);
  std::vector<RedisError> how(kCommands, RedisError::kNone);
  int count = 0;
  for (int i = 0; i < kCommands; ++i) {
    const std::string id = std::to_string(i + 1) + "-1";
    const auto queued = client->command({"XADD", "s", id, "n", id}, [&, i](const Reply& reply) {
      ++ended[static_cast<std::size_t>(i)];
      how[static_cast<std::size_t>(i)] = reply.error;
      ++count;
      if (count == 500) server.kill();
    });
    ASSERT_EQ(queued, Queued::kYes);
  }
  ASSERT_TRUE(client.turn_until([&] { return count == kCommands; }));
  EXPECT_EQ(client->commands_in_flight(), 0u);
  EXPECT_EQ(client.losses.size(), 1u);
  EXPECT_TRUE(std::all_of(ended.begin(), ended.end(), [](int times) { return times == 1; }));
  // First the answered, then the lost, then those that never left.
  EXPECT_TRUE(std::is_sorted(how.begin(), how.end(), [](RedisError a, RedisError b) {
    const auto rank = [](RedisError e) { return e == RedisError::kNone ? 0 : e == RedisError::kLost ? 1 : 2; };
    return rank(a) < rank(b);
  }));
  EXPECT_NE(how.back(), RedisError::kNone);
  EXPECT_EQ(client->command({"PING"}, nullptr), Queued::kNotReady);

  server.restart();
  ASSERT_TRUE(client.wait_ready()) << client->last_fault();
  ASSERT_EQ(client.sessions.size(), 2u);
  EXPECT_NE(client.sessions[0].identity.run_id, client.sessions[1].identity.run_id);
  const OwnedReply there = client.ask({"XRANGE", "s", "-", "+"});
  ASSERT_EQ(there.kind, Reply::Kind::kArray) << there.text;
  const auto answered = static_cast<std::size_t>(std::count(how.begin(), how.end(), RedisError::kNone));
  const auto not_sent = static_cast<std::size_t>(std::count(how.begin(), how.end(), RedisError::kNotSent));
  EXPECT_GE(there.elements.size(), answered);
  EXPECT_LE(there.elements.size(), kCommands - not_sent);
}

TEST_P(OnBackends, AStoppedServerIsTakenForDead) {
  RedisServer server;
  RedisOptions options = Connected::quick(server.url());
  options.progress_timeout_ns = 150 * kMillisecond;
  options.greeting_timeout_ns = 150 * kMillisecond;
  Connected client(options, GetParam());
  client->start();
  ASSERT_TRUE(client.wait_ready());
  const SessionIdentity before = client->session().identity;
  server.stop();
  const std::int64_t asked_ns = base::monotonic_ns();
  RedisError error = RedisError::kNone;
  ASSERT_EQ(client->command({"INCR", "n"}, [&](const Reply& reply) { error = reply.error; }), Queued::kYes);
  ASSERT_TRUE(client.turn_until([&] { return error != RedisError::kNone; }));
  EXPECT_EQ(error, RedisError::kLost);
  EXPECT_GE(base::monotonic_ns() - asked_ns, 150 * kMillisecond);
  ASSERT_EQ(client.losses.size(), 1u);
  EXPECT_EQ(client.losses[0], "no reply for 150ms while 1 commands were outstanding");
  // The kernel still takes connections for it; nobody greets back.
  ASSERT_TRUE(
      client.turn_until([&] { return client->last_fault().ends_with("was not ready within 150ms (still greeting)"); }));
  server.resume();
  ASSERT_TRUE(client.wait_ready()) << client->last_fault();
  // The old connection was fenced before we were told that we are ready.
  EXPECT_EQ(client->session().identity.run_id, before.run_id);
  const OwnedReply clients = client.ask({"CLIENT", "LIST", "ID", std::to_string(before.client_id)});
  EXPECT_EQ(clients.text, "");
}

// What an old connection still has in its socket when the new one is ready is never carried out.
TEST(RedisConnection, FencesWhatThePredecessorLeftInItsSocket) {
  RedisServer server;
  Connected old_gateway(Connected::quick(server.url()));
  old_gateway->start();
  ASSERT_TRUE(old_gateway.wait_ready());
  RedisOptions options = Connected::quick(server.url());
  options.predecessor = old_gateway->session().identity;
  Connected successor(options);
  successor->start();
  ASSERT_TRUE(successor.wait_ready());
  bool carried_out = false;
  ASSERT_EQ(old_gateway->command({"SET", "zombie", "1"}, [&](const Reply& reply) { carried_out = !reply.is_error(); }),
            Queued::kYes);
  ASSERT_TRUE(old_gateway.turn_until([&] { return !old_gateway.losses.empty(); }));
  EXPECT_FALSE(carried_out);
  EXPECT_EQ(successor.ask({"EXISTS", "zombie"}).integer, 0);
}

TEST(RedisConnection, ANumberOfAnotherLifeOfTheServerIsNotKilled) {
  RedisServer server;
  Connected bystander(Connected::quick(server.url()));
  bystander->start();
  ASSERT_TRUE(bystander.wait_ready());
  RedisOptions options = Connected::quick(server.url());
  options.predecessor =
      SessionIdentity{"0123456789012345678901234567890123456789", bystander->session().identity.client_id};
  Connected client(options);
  client->start();
  ASSERT_TRUE(client.wait_ready());
  EXPECT_EQ(bystander.ask({"PING"}).text, "PONG");
  EXPECT_TRUE(bystander.losses.empty());
}

TEST(RedisConnection, SaysWhoItIsAndUsesItsDatabase) {
  RedisServer server;
  RedisOptions options = Connected::quick(server.url() + "?db=3");
  options.client_name = "stem-gateway:a";
  Connected client(options);
  client->start();
  ASSERT_TRUE(client.wait_ready());
  EXPECT_EQ(client.ask({"CLIENT", "GETNAME"}).text, "stem-gateway:a");
  const std::string info = client.ask({"CLIENT", "INFO"}).text;
  EXPECT_NE(info.find(" db=3 "), std::string::npos) << info;
  EXPECT_NE(info.find("id=" + std::to_string(client->session().identity.client_id) + " "), std::string::npos);
  EXPECT_EQ(client->session().identity.run_id.size(), 40u);
  EXPECT_FALSE(client->session().version.empty());
  EXPECT_EQ(client->session().number, 1u);
}

TEST(RedisConnection, Passwords) {
  RedisServer server(
      {.tcp = false,
       .arguments = {"--requirepass", "op:en@sesame", "--user", "gate", "on", ">s3cret", "~*", "&*", "+@all"}});
  const std::string path = server.socket();
  const auto fault_of = [](const std::string& url) {
    Connected client(Connected::quick(url));
    client->start();
    EXPECT_TRUE(client.turn_until([&] { return client->is_ready() || !client->last_fault().empty(); }));
    return client->is_ready() ? "ready" : client->last_fault();
  };
  EXPECT_EQ(fault_of("unix://:op%3aen%40sesame@" + path), "ready");
  EXPECT_EQ(fault_of("unix://gate:s3cret@" + path), "ready");
  EXPECT_EQ(fault_of("unix://gate:wrong@" + path),
            "AUTH: WRONGPASS invalid username-password pair or user is disabled.");
  EXPECT_EQ(fault_of("unix://:wrong@" + path), "AUTH: WRONGPASS invalid username-password pair or user is disabled.");
  EXPECT_TRUE(fault_of("unix://" + path).starts_with("CLIENT SETNAME: NOAUTH "));
}

TEST(RedisConnection, IsReadyOnceThePasswordIsRight) {
  RedisServer server({.tcp = false, .arguments = {"--requirepass", "old"}});
  Connected client(Connected::quick("unix://:new@" + server.socket()));
  client->start();
  ASSERT_TRUE(client.turn_until([&] { return !client->last_fault().empty(); }));
  Connected administrator(Connected::quick("unix://:old@" + server.socket()));
  administrator->start();
  ASSERT_TRUE(administrator.wait_ready());
  EXPECT_EQ(administrator.ask({"CONFIG", "SET", "requirepass", "new"}).text, "OK");
  EXPECT_TRUE(client.wait_ready());
  EXPECT_EQ(client->last_fault(), "");
}

TEST(RedisConnection, AUserWhoMayLittleStillGetsIn) {
  RedisServer server(
      {.tcp = false, .arguments = {"--user", "small", "on", ">pw", "~*", "&*", "-@all", "+xadd", "+ping"}});
  Connected client(Connected::quick("unix://small:pw@" + server.socket()));
  client->start();
  ASSERT_TRUE(client.wait_ready()) << client->last_fault();
  EXPECT_EQ(client->session().identity.client_id, 0);
  EXPECT_EQ(client.ask({"XADD", "s", "1-1", "a", "b"}).text, "1-1");
  EXPECT_EQ(client.ask({"XLEN", "s"}).error, RedisError::kNoPerm);
}

TEST(RedisConnection, ErrorsOfTheServerAreClassified) {
  RedisServer server({.tcp = false, .arguments = {"--maxmemory", "1", "--maxmemory-policy", "noeviction"}});
  Connected client(Connected::quick(server.url()));
  client->start();
  ASSERT_TRUE(client.wait_ready());
  EXPECT_EQ(client.ask({"XADD", "s", "*", "a", "b"}).error, RedisError::kOutOfMemory);
  EXPECT_EQ(client.ask({"CONFIG", "SET", "maxmemory", "0"}).text, "OK");
  EXPECT_EQ(client.ask({"XADD", "s", "5-1", "a", "b"}).text, "5-1");
  EXPECT_EQ(client.ask({"XADD", "s", "5-1", "a", "b"}).error, RedisError::kOther);
  EXPECT_EQ(client.ask({"XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"}).error, RedisError::kNoGroup);
  EXPECT_EQ(client.ask({"XGROUP", "CREATE", "s", "g", "0"}).text, "OK");
  EXPECT_EQ(client.ask({"XGROUP", "CREATE", "s", "g", "0"}).error, RedisError::kBusyGroup);
  EXPECT_EQ(client.ask({"EVALSHA", "0123456789012345678901234567890123456789", "0"}).error, RedisError::kNoScript);
  EXPECT_EQ(client.ask({"GET", "s"}).error, RedisError::kWrongType);
  EXPECT_EQ(client.ask({"REPLICAOF", "127.0.0.1", "1"}).text, "OK");
  EXPECT_EQ(client.ask({"SET", "a", "b"}).error, RedisError::kReadOnly);
  EXPECT_TRUE(client.losses.empty()) << "an error reply is no reason to leave";
}

TEST(RedisConnection, BackPressureHoldsAndTellsWhenThereIsRoom) {
  RedisServer server;
  RedisOptions options = Connected::quick(server.url());
  options.max_in_flight_bytes = 100'000;
  Connected client(options);
  client->start();
  ASSERT_TRUE(client.wait_ready());
  server.stop();
  const std::string value(1000, 'v');
  int queued = 0;
  int answered = 0;
  while (client->command({"SET", "k", value}, [&](const Reply&) { ++answered; }) == Queued::kYes) ++queued;
  EXPECT_GE(client->bytes_in_flight(), 100'000u);
  EXPECT_LE(client->bytes_in_flight(), 102'000u);
  EXPECT_EQ(client->command({"PING"}, nullptr), Queued::kNoRoom);
  server.resume();
  ASSERT_TRUE(client.turn_until([&] { return client.rooms > 0; }));
  ASSERT_TRUE(client.turn_until([&] { return answered == queued; }));
  EXPECT_EQ(client.rooms, 1);
  EXPECT_EQ(client->bytes_in_flight(), 0u);
}

TEST(RedisConnection, ABlockingReadIsNotTakenForDeadWithinItsTime) {
  RedisServer server;
  RedisOptions options = Connected::quick(server.url());
  options.progress_timeout_ns = 500 * kMillisecond;
  Connected client(options);
  client->start();
  ASSERT_TRUE(client.wait_ready());
  bool ended = false;
  ASSERT_EQ(client->command(
                {"XREAD", "BLOCK", "1200", "STREAMS", "s", "$"},
                [&](const Reply& reply) {
                  ended = true;
                  EXPECT_TRUE(reply.is_nil());
                },
                1200 * kMillisecond),
            Queued::kYes);
  ASSERT_TRUE(client.turn_until([&] { return ended; }));
  EXPECT_TRUE(client.losses.empty());
  EXPECT_EQ(client.ask({"PING"}).text, "PONG");
}

TEST(RedisConnection, PingsWhenIdleAndNoticesADeadPeer) {
  RedisServer server;
  RedisOptions options = Connected::quick(server.url());
  options.idle_ping_ns = 20 * kMillisecond;
  options.progress_timeout_ns = 100 * kMillisecond;
  Connected client(options);
  client->start();
  ASSERT_TRUE(client.wait_ready());
  EXPECT_EQ(client.ask({"CONFIG", "RESETSTAT"}).text, "OK");
  const std::int64_t until_ns = base::monotonic_ns() + 100 * kMillisecond;
  ASSERT_TRUE(client.turn_until([&] { return base::monotonic_ns() > until_ns; }));
  const std::string stats = client.ask({"INFO", "commandstats"}).text;
  EXPECT_NE(stats.find("cmdstat_ping:calls="), std::string::npos) << stats;
  EXPECT_TRUE(client.losses.empty());
  server.stop();
  ASSERT_TRUE(client.turn_until([&] { return !client.losses.empty(); })) << "nobody asked, so nobody noticed";
  server.resume();
}

TEST(RedisConnection, PublishedMessagesComeBesideReplies) {
  RedisServer server;
  Connected subscriber(Connected::quick(server.url()));
  Connected publisher(Connected::quick(server.url()));
  subscriber->start();
  publisher->start();
  ASSERT_TRUE(subscriber.wait_ready());
  ASSERT_TRUE(publisher.wait_ready());
  EXPECT_EQ(subscriber.ask({"SUBSCRIBE", "news"}).elements.at(0).text, "subscribe");
  EXPECT_EQ(publisher.ask({"PUBLISH", "news", "hello"}).integer, 1);
  ASSERT_TRUE(subscriber.turn_until([&] { return !subscriber.messages.empty(); }));
  EXPECT_EQ(subscriber.messages[0].elements.at(2).text, "hello");
  EXPECT_EQ(subscriber.ask({"PING"}).elements.at(0).text, "pong");
}

TEST(RedisConnection, StopEndsEverythingAndStartBeginsAgain) {
  RedisServer server;
  Connected client(Connected::quick(server.url()));
  client->start();
  ASSERT_TRUE(client.wait_ready());
  std::vector<RedisError> ended;
  const auto note = [&](const Reply& reply) { ended.push_back(reply.error); };
  ASSERT_EQ(client->command({"BLPOP", "nothing", "0"}, note, 60'000 * kMillisecond), Queued::kYes);
  ASSERT_TRUE(client.loop().run_once(0).ok());
  ASSERT_EQ(client->command({"PING"}, note), Queued::kYes);
  client->stop();
  EXPECT_EQ(ended, (std::vector<RedisError>{RedisError::kLost, RedisError::kNotSent}));
  EXPECT_TRUE(client.losses.empty()) << "we knew";
  EXPECT_EQ(client->state(), RedisConnection::State::kStopped);
  client->start();
  ASSERT_TRUE(client.wait_ready());
  EXPECT_EQ(client.ask({"PING"}).text, "PONG");
}

// Handlers do what they like: stop, start, drop, ask again.
TEST(RedisConnection, HandlersMayDoAnything) {
  RedisServer server;
  Connected client(Connected::quick(server.url()));
  client->start();
  ASSERT_TRUE(client.wait_ready());
  int calls = 0;
  RedisError second = RedisError::kNone;
  ASSERT_EQ(client->command({"PING"},
                            [&](const Reply& reply) {
                              ++calls;
                              EXPECT_EQ(reply.text, "PONG");
                              client->drop("the test wants it");
                              EXPECT_EQ(reply.text, "PONG") << "the reply went with the connection";
                              EXPECT_EQ(client->command({"PING"}, nullptr), Queued::kNotReady);
                            }),
            Queued::kYes);
  ASSERT_EQ(client->command({"PING"},
                            [&](const Reply& reply) {
                              ++calls;
                              second = reply.error;
                            }),
            Queued::kYes);
  ASSERT_TRUE(client.turn_until([&] { return calls == 2; }));
  EXPECT_EQ(second, RedisError::kLost);
  EXPECT_EQ(client.losses, std::vector<std::string>{"the test wants it"});
  ASSERT_TRUE(client.wait_ready());
  bool restarted = false;
  ASSERT_EQ(client->command({"PING"},
                            [&](const Reply&) {
                              client->stop();
                              client->start();
                              restarted = true;
                            }),
            Queued::kYes);
  ASSERT_TRUE(client.turn_until([&] { return restarted && client->is_ready(); }));
  EXPECT_EQ(client.ask({"PING"}).text, "PONG");
}

TEST(RedisConnection, DestructionDropsHandlersUncalled) {
  RedisServer server;
  Connected client(Connected::quick(server.url()));
  client->start();
  ASSERT_TRUE(client.wait_ready());
  ASSERT_EQ(client->command(
                {"BLPOP", "nothing", "0"}, [](const Reply&) { FAIL(); }, 60'000 * kMillisecond),
            Queued::kYes);
  ASSERT_TRUE(client.loop().run_once(0).ok());
  ASSERT_EQ(client->command({"PING"}, [](const Reply&) { FAIL(); }), Queued::kYes);
  client.forget();
  for (int turn = 0; turn < 10; ++turn) ASSERT_TRUE(client.loop().run_once(kMillisecond).ok());
  EXPECT_EQ(client.loop().operations_under_way(), 0u);
}

TEST(RedisConnection, WaitsUntilTheServerHasReadItsData) {
  RedisServer server({.tcp = false, .arguments = {"--enable-debug-command", "yes"}});
  Connected writer(Connected::quick(server.url()));
  writer->start();
  ASSERT_TRUE(writer.wait_ready());
  EXPECT_EQ(writer.ask({"DEBUG", "POPULATE", "20000", "k", "64"}).text, "OK");
  EXPECT_EQ(writer.ask({"CONFIG", "SET", "key-load-delay", "50"}).text, "OK");
  EXPECT_EQ(writer.ask({"CONFIG", "SET", "loading-process-events-interval-bytes", "1024"}).text, "OK");
  ASSERT_EQ(writer->command({"DEBUG", "RELOAD"}, nullptr, 60'000 * kMillisecond), Queued::kYes);
  ASSERT_TRUE(writer.loop().run_once(0).ok());
  Connected client(Connected::quick(server.url()));
  client->start();
  ASSERT_TRUE(client.turn_until([&] { return client->last_fault().find("PING: LOADING") == 0; }));
  ASSERT_TRUE(client.wait_ready());
  EXPECT_EQ(client.ask({"DBSIZE"}).integer, 20'000);
}

}  // namespace
}  // namespace stem::federation
