#include "io/stream.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <optional>
#include <string>

#include "tests/io/peer.hpp"
#include "tests/io/turning.hpp"
#include "tests/support/scratch.hpp"

namespace stem::io {
namespace {

class StreamTest : public test::OnBothBackends {
 protected:
  // What a stream tells, written down.
  struct Told {
    bool connected = false;
    std::string received;
    std::optional<std::string> closed;
  };
  std::unique_ptr<Stream> open(Told& told) {
    return std::make_unique<Stream>(
        loop(), StreamHandlers{.connected = [&told] { told.connected = true; },
                               .received = [&told](std::string_view bytes) { told.received += bytes; },
                               .closed =
                                   [&told](const std::string& reason) {
                                     EXPECT_FALSE(told.closed) << "told twice";
                                     told.closed = reason;
                                   }});
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, StreamTest, testing::Values(Backend::kUring, Backend::kEpoll), test::backend_name);

std::string numbered(std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += std::to_string(text.size()) + ' ';
  return text;
}

TEST_P(StreamTest, EchoOverUnixAndTcp) {
  const test::ScratchDirectory directory;
  for (const std::string& path : {directory.file("echo"), std::string()}) {
    const test::EchoServer server(path);
    Told told;
    auto stream = open(told);
    stream->connect(server.address());
    const std::string sent = numbered(3 << 20);  // far more than any socket buffer: partial sends both ways
    stream->output() += sent;
    stream->flush();
    EXPECT_EQ(stream->unsent_bytes(), sent.size());
    ASSERT_TRUE(turn_until([&] { return told.received.size() >= sent.size(); }));
    EXPECT_TRUE(told.received == sent);
    EXPECT_EQ(stream->unsent_bytes(), 0u);
    stream->output() += "more";
    stream->flush();
    EXPECT_EQ(stream->unsent_bytes(), 0u) << "there is room: it goes at once";
    ASSERT_TRUE(turn_until([&] { return told.received.size() >= sent.size() + 4; }));
    EXPECT_TRUE(told.received.ends_with("more"));
    stream.reset();  // the server's thread ends: it sees the end of the connection without another turn of the loop
    EXPECT_FALSE(told.closed);
  }
}

TEST_P(StreamTest, TellsOnceThatThePeerClosed) {
  const test::Listener listener;
  Told told;
  const auto stream = open(told);
  stream->connect(listener.address());
  ASSERT_TRUE(turn_until([&] { return told.connected; }));
  const int peer = listener.accept();
  test::write_all(peer, "bye");
  ::close(peer);
  ASSERT_TRUE(turn_until([&] { return told.closed.has_value(); }));
  EXPECT_EQ(told.received, "bye");
  EXPECT_EQ(*told.closed, "the peer closed the connection");
  stream->output() += "too late";
  stream->flush();
  ASSERT_TRUE(loop().run_once(0).ok());
  EXPECT_EQ(loop().operations_under_way(), 0u);
}

TEST_P(StreamTest, TellsWhyItCannotConnect) {
  const test::ScratchDirectory directory;
  Told told;
  const auto stream = open(told);
  stream->connect(*unix_address(directory.file("nobody")));
  ASSERT_TRUE(turn_until([&] { return told.closed.has_value(); }));
  EXPECT_EQ(*told.closed, "connect to unix:" + directory.file("nobody") + ": No such file or directory");
  EXPECT_FALSE(told.connected);
}

// A peer that says why and hangs up at once: the words arrive although what we send cannot be delivered any more.
TEST_P(StreamTest, LastWordsAreHeardAlsoWhenSendingFailed) {
  const test::Listener listener;
  for (int round = 0; round < 50; ++round) {
    Told told;
    const auto stream = open(told);
    stream->connect(listener.address());
    ASSERT_TRUE(turn_until([&] { return told.connected; }));
    const int peer = listener.accept();
    stream->output() += "not read";
    stream->flush();
    ASSERT_TRUE(loop().run_once(0).ok());
    test::write_all(peer, "last words");
    ::close(peer);  // with something unread: the kernel sends a reset
    stream->output().append(8 << 20, 'x');
    stream->flush();
    ASSERT_TRUE(turn_until([&] { return told.closed.has_value(); }));
    EXPECT_EQ(told.received, "last words") << *told.closed;
  }
}

TEST_P(StreamTest, MayBeDestroyedByItsOwnHandlers) {
  const test::Listener listener;
  std::unique_ptr<Stream> stream;
  bool connected = false;
  bool received = false;
  stream = std::make_unique<Stream>(loop(), StreamHandlers{.connected = [&] { connected = true; },
                                                           .received =
                                                               [&](std::string_view bytes) {
                                                                 received = true;
                                                                 stream.reset();
                                                                 EXPECT_EQ(bytes, "x");  // still there
                                                               },
                                                           .closed = [&](const std::string&) { FAIL(); }});
  stream->connect(listener.address());
  stream->output().assign(16 << 20, 'y');  // a send that nobody takes is under way as well
  ASSERT_TRUE(turn_until([&] { return connected; }));
  const int peer = listener.accept();
  test::write_all(peer, "x");
  ASSERT_TRUE(turn_until([&] { return received; }));
  ASSERT_TRUE(turn_until([&] { return loop().operations_under_way() == 0; }));
  ::close(peer);
}

TEST_P(StreamTest, MayBeDestroyedInTheMiddleAndTheLoopAfterIt) {
  const test::Listener listener;
  Told told;
  auto stream = open(told);
  stream->connect(listener.address());
  stream->output().assign(16 << 20, 'y');
  ASSERT_TRUE(turn_until([&] { return told.connected; }));
  const int peer = listener.accept();
  ASSERT_TRUE(loop().run_once(0).ok());
  EXPECT_EQ(loop().operations_under_way(), 2u);
  stream.reset();
  end_loop();
  EXPECT_FALSE(told.closed);
  ::close(peer);
}

class AddressTest : public test::OnBothBackends {};
INSTANTIATE_TEST_SUITE_P(Backends, AddressTest, testing::Values(Backend::kUring, Backend::kEpoll), test::backend_name);

TEST_P(AddressTest, NumbersAndNames) {
  std::optional<Result<std::vector<Address>>> found;
  const auto look_up = [&](const std::string& host) -> Result<std::vector<Address>> {
    found.reset();
    resolve(loop(), host, 6379, [&](Result<std::vector<Address>> answer) { found = std::move(answer); });
    EXPECT_FALSE(found);
    EXPECT_TRUE(turn_until([&] { return found.has_value(); }));
    return *found;
  };
  const auto four = look_up("127.0.0.1");
  ASSERT_TRUE(four.ok()) << four.error().message;
  EXPECT_EQ(four->front().text, "127.0.0.1:6379");
  EXPECT_EQ(four->front().domain(), AF_INET);
  const auto six = look_up("::1");
  ASSERT_TRUE(six.ok()) << six.error().message;
  EXPECT_EQ(six->front().text, "[::1]:6379");
  const auto local = look_up("localhost");  // /etc/hosts, by the thread
  ASSERT_TRUE(local.ok()) << local.error().message;
  const auto nobody = look_up("no-such-host.invalid");
  ASSERT_FALSE(nobody.ok());
  EXPECT_TRUE(nobody.error().message.starts_with("look up no-such-host.invalid:6379: ")) << nobody.error().message;
}

TEST_P(AddressTest, TheLoopMayEndBeforeTheAnswer) {
  resolve(loop(), "no-such-host.invalid", 1, [](const Result<std::vector<Address>>&) { FAIL(); });
  end_loop();
}

TEST(UnixAddressTest, RefusesWhatTheKernelWould) {
  EXPECT_TRUE(unix_address(std::string(107, 'x')).ok());
  for (const std::string& path : {std::string(), std::string(108, 'x'), std::string("a\0b", 3)}) {
    EXPECT_EQ(unix_address(path).error().code, Errc::kInvalidArgument) << path.size();
  }
}

}  // namespace
}  // namespace stem::io
