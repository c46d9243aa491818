// Servers that say what no Redis says: the connection ends with the reason's name, its commands end once, and memory
// stays where it was.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "base/clock.hpp"
#include "tests/federation/connected.hpp"
#include "tests/federation/fake_server.hpp"

namespace stem::federation {
namespace {

using test::Connected;
using test::FakeServer;

std::size_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  unsigned long pages = 0;
  unsigned long resident = 0;
  EXPECT_EQ(std::fscanf(file, "%lu %lu", &pages, &resident), 2);
  std::fclose(file);
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

struct Ending {
  RedisError error = RedisError::kNone;
  std::string loss;
};

// What becomes of a command that this server answers so.
Ending ask(const FakeServer& server, std::int64_t progress_timeout_ns = 5'000'000'000) {
  RedisOptions options = Connected::quick(server.url());
  options.progress_timeout_ns = progress_timeout_ns;
  options.max_reply_bytes = 4 << 20;
  Connected client(options);
  client->start();
  Ending ending;
  if (!client.wait_ready()) {
    ending.loss = "never ready: " + client->last_fault();
    return ending;
  }
  int calls = 0;
  EXPECT_EQ(client->command({"GET", "k"},
                            [&](const Reply& reply) {
                              ending.error = reply.error;
                              ++calls;
                            }),
            Queued::kYes);
  EXPECT_TRUE(client.turn_until([&] { return !client.losses.empty(); }));
  EXPECT_EQ(calls, 1);
  if (!client.losses.empty()) ending.loss = client.losses.front();
  client->stop();
  return ending;
}

std::string loss_after(const std::string& said) {
  const FakeServer server([&](int fd) {
    FakeServer::say(fd, said);
    FakeServer::wait_for_the_end(fd);
  });
  const Ending ending = ask(server);
  EXPECT_EQ(ending.error, RedisError::kLost);
  return ending.loss;
}

TEST(HostileServer, Garbage) {
  EXPECT_EQ(loss_after("HTTP/1.1 400 Bad Request\r\n\r\n"),
            "the server does not speak RESP: Protocol error, got \"H\" as reply type byte");
  EXPECT_EQ(loss_after(std::string("\0\0\0\0", 4)),
            "the server does not speak RESP: Protocol error, got \"\\x00\" as reply type byte");
  EXPECT_TRUE(loss_after("$abc\r\n").starts_with("the server does not speak RESP: "));
  EXPECT_TRUE(loss_after("$-2\r\n").starts_with("the server does not speak RESP: "));
  EXPECT_TRUE(loss_after("*-2\r\n").starts_with("the server does not speak RESP: "));
  EXPECT_TRUE(loss_after(":12x\r\n").starts_with("the server does not speak RESP: "));
}

TEST(HostileServer, NestedWithoutEnd) {
  std::string said;
  for (int i = 0; i < 1000; ++i) said += "*1\r\n";
  EXPECT_TRUE(loss_after(said).starts_with("the server does not speak RESP: No support for nested multi bulk"));
}

TEST(HostileServer, HalfAReplyAndThenNothing) {
  const FakeServer server([](int fd) {
    FakeServer::say(fd, "$10\r\nhalf");
    FakeServer::wait_for_the_end(fd);
  });
  const Ending ending = ask(server, 100'000'000);
  EXPECT_EQ(ending.error, RedisError::kLost);
  EXPECT_EQ(ending.loss, "no reply for 100ms while 1 commands were outstanding");
}

TEST(HostileServer, HalfAReplyAndThenTheEnd) {
  const FakeServer server([](int fd) { FakeServer::say(fd, "*3\r\n$1\r\na\r\n$10\r\nhalf"); });
  const Ending ending = ask(server);
  EXPECT_EQ(ending.error, RedisError::kLost);
  EXPECT_EQ(ending.loss, "the peer closed the connection");
}

// A byte now and then is no progress.
TEST(HostileServer, ATrickle) {
  const FakeServer server([](int fd) {
    FakeServer::say(fd, "$1000000\r\n");
    while (FakeServer::say(fd, "x")) ::usleep(5'000);
  });
  const std::int64_t start_ns = base::monotonic_ns();
  EXPECT_EQ(ask(server, 100'000'000).error, RedisError::kLost);
  EXPECT_LT(base::monotonic_ns() - start_ns, 3'000'000'000);
}

TEST(HostileServer, LengthsBeyondTheLimitAreRefusedWhenAnnounced) {
  EXPECT_EQ(loss_after("$1073741824\r\n"), "a reply announces 1073741824 bytes, beyond the limit of 4194304");
  EXPECT_EQ(loss_after("*2\r\n$4000000\r\n" + std::string(4'000'000, 'x') + "\r\n$1000000\r\n"),
            "a reply announces 1000000 bytes, beyond the limit of 4194304");
  for (const char* count : {"100000", "1000000000", "2147483647"}) {
    EXPECT_EQ(loss_after(std::string("*") + count + "\r\n"), "a reply goes beyond the limit of 4194304 bytes");
  }
}

TEST(HostileServer, MemoryStaysBoundedWhateverComes) {
  for (const std::string& endless : {std::string("+"), std::string("$3999999\r\n"), std::string("*50000\r\n")}) {
    const FakeServer server([&](int fd) {
      const std::string filling(1 << 16, 'x');
      FakeServer::say(fd, endless);
      while (FakeServer::say(fd, filling)) {
      }
    });
    const std::size_t before = resident_bytes();
    EXPECT_FALSE(ask(server).loss.empty());
    EXPECT_LT(resident_bytes(), before + (32 << 20)) << endless;
  }
}

TEST(HostileServer, ALineWithoutEnd) {
  EXPECT_EQ(loss_after("-" + std::string(200'000, 'e')), "a line of a reply is longer than 65536 bytes");
}

TEST(HostileServer, RepliesNobodyAskedFor) {
  const FakeServer server([](int fd) {
    FakeServer::say(fd, "$1\r\nv\r\n-ERR and one more\r\n");
    FakeServer::wait_for_the_end(fd);
  });
  const Ending ending = ask(server);
  EXPECT_EQ(ending.error, RedisError::kNone) << "the first reply was in order";
  EXPECT_EQ(ending.loss, "the server sent a reply that nobody asked for: ERR and one more");
}

TEST(HostileServer, ThatHangsUpAfterEachGreetingIsNotCalledWithoutPause) {
  const FakeServer server([](int) {});
  RedisOptions options = Connected::quick(server.url());
  options.backoff_base_ns = options.backoff_max_ns = 100'000'000;
  options.seed = 42;
  Connected client(options);
  client->start();
  const std::int64_t until_ns = base::monotonic_ns() + 1'000'000'000;
  ASSERT_TRUE(client.turn_until([&] {
    if (client->is_ready() && client->commands_in_flight() == 0) {
      EXPECT_EQ(client->command({"PING"}, nullptr), Queued::kYes);
    }
    return base::monotonic_ns() > until_ns;
  }));
  // 50 ms in the mean: about twenty, and never hundreds.
  EXPECT_GE(server.connections(), 5);
  EXPECT_LE(server.connections(), 60);
}

}  // namespace
}  // namespace stem::federation
