// The loop's contract, the same for both back ends.
#include "io/loop.hpp"

#include <gtest/gtest.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "base/clock.hpp"
#include "tests/io/peer.hpp"
#include "tests/io/turning.hpp"
#include "tests/support/scratch.hpp"

namespace stem::io {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;

// Two ends of a connection, as the loop wants its own.
struct Pair {
  explicit Pair(Backend backend) {
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (backend == Backend::kEpoll ? SOCK_NONBLOCK : 0), 0,
                           ends.data()),
              0);
  }
  ~Pair() {
    for (const int fd : ends) {
      if (fd >= 0) ::close(fd);
    }
  }
  void close_theirs() {
    ::close(ends[1]);
    ends[1] = -1;
  }
  int ours() const { return ends[0]; }
  int theirs() const { return ends[1]; }
  std::array<int, 2> ends{-1, -1};
};

class LoopTest : public test::OnBothBackends {};
INSTANTIATE_TEST_SUITE_P(Backends, LoopTest, testing::Values(Backend::kUring, Backend::kEpoll), test::backend_name);

TEST_P(LoopTest, IsWhatWasAskedFor) { EXPECT_EQ(loop().backend(), GetParam()); }

TEST_P(LoopTest, WhatIsDoneBeforeTheWaitDoesNotEndIt) {
  int done = 0;
  bool due = false;
  loop().before_wait([&] { ++done; });
  loop().call_at(base::monotonic_ns() + kMillisecond, [&] { due = true; });
  EXPECT_EQ(done, 0) << "a callback came from inside the call";
  ASSERT_TRUE(loop().run_once(kForever).ok());
  EXPECT_EQ(done, 1);
  EXPECT_TRUE(due) << "it did not wait";
  ASSERT_TRUE(loop().run_once(0).ok());
  EXPECT_EQ(done, 1);
}

TEST_P(LoopTest, ReceivesWhatComesLaterAndWhatIsThere) {
  const Pair pair(GetParam());
  std::array<char, 16> buffer{};
  std::optional<int> got;
  loop().receive(pair.ours(), buffer, [&](std::int32_t n) { got = n; });
  EXPECT_FALSE(got) << "a callback came from inside the call";
  ASSERT_TRUE(loop().run_once(0).ok());
  EXPECT_FALSE(got);
  test::write_all(pair.theirs(), "hello");
  ASSERT_TRUE(turn_until([&] { return got.has_value(); }));
  EXPECT_EQ(*got, 5);
  EXPECT_EQ(std::string_view(buffer.data(), 5), "hello");

  test::write_all(pair.theirs(), "again");
  got.reset();
  loop().receive(pair.ours(), buffer, [&](std::int32_t n) { got = n; });
  EXPECT_FALSE(got) << "a callback came from inside the call";
  ASSERT_TRUE(turn_until([&] { return got.has_value(); }));
  EXPECT_EQ(*got, 5);
  EXPECT_EQ(loop().operations_under_way(), 0u);
}

TEST_P(LoopTest, TellsThatThePeerClosed) {
  Pair pair(GetParam());
  std::array<char, 16> buffer{};
  std::optional<int> got;
  loop().receive(pair.ours(), buffer, [&](std::int32_t n) { got = n; });
  ASSERT_TRUE(loop().run_once(0).ok());
  pair.close_theirs();
  ASSERT_TRUE(turn_until([&] { return got.has_value(); }));
  EXPECT_EQ(*got, 0);

  got.reset();
  loop().send(pair.ours(), "nobody listens", [&](std::int32_t n) { got = n; });
  ASSERT_TRUE(turn_until([&] { return got.has_value(); }));
  EXPECT_EQ(*got, -EPIPE);
}

TEST_P(LoopTest, SendWaitsForRoom) {
  const Pair pair(GetParam());
  const std::string filling(64 * 1024, 'x');
  while (::send(pair.ours(), filling.data(), filling.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
  }
  std::optional<int> sent;
  loop().send(pair.ours(), filling, [&](std::int32_t n) { sent = n; });
  ASSERT_TRUE(loop().run_once(kMillisecond).ok());
  EXPECT_FALSE(sent);
  std::array<char, 64 * 1024> sink;
  ASSERT_TRUE(turn_until([&] {
    while (::recv(pair.theirs(), sink.data(), sink.size(), MSG_DONTWAIT) > 0) {
    }
    return sent.has_value();
  }));
  EXPECT_GT(*sent, 0);
}

TEST_P(LoopTest, ConnectIsRefused) {
  Address nobody;
  {
    const test::Listener gone;
    nobody = gone.address();
  }
  const auto fd = loop().open_socket(AF_INET);
  ASSERT_TRUE(fd.ok());
  std::optional<int> result;
  loop().connect(*fd, nobody.storage, nobody.bytes, [&](std::int32_t rc) { result = rc; });
  ASSERT_TRUE(turn_until([&] { return result.has_value(); }));
  EXPECT_EQ(*result, -ECONNREFUSED);
  ::close(*fd);
}

TEST_P(LoopTest, ReadinessOfAnyDescriptor) {
  const int event = ::eventfd(0, EFD_CLOEXEC);
  std::optional<int> mask;
  loop().wait_readable(event, [&](std::int32_t result) { mask = result; });
  ASSERT_TRUE(loop().run_once(0).ok());
  EXPECT_FALSE(mask);
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(event, &one, sizeof(one)), 8);
  ASSERT_TRUE(turn_until([&] { return mask.has_value(); }));
  EXPECT_TRUE(*mask & POLLIN);
  ::close(event);
}

bool kernel_is_at_least(int major, int minor) {
  utsname name{};
  int running_major = 0, running_minor = 0;
  return ::uname(&name) == 0 && std::sscanf(name.release, "%d.%d", &running_major, &running_minor) == 2 &&
         std::pair(running_major, running_minor) >= std::pair(major, minor);
}

// As a producer in another process rings: the word changes, then FUTEX_WAKE.
TEST_P(LoopTest, AFutexWhereTheKernelCan) {
  if (GetParam() == Backend::kEpoll) {
    EXPECT_FALSE(loop().can_wait_futex());
    return;
  }
  if (!loop().can_wait_futex()) {
    EXPECT_FALSE(kernel_is_at_least(6, 7)) << "io_uring knows futexes since then";
    return;
  }
  void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto& word = *static_cast<std::atomic<std::uint32_t>*>(memory);
  std::optional<int> woken, late;
  loop().wait_futex(word, 0, [&](std::int32_t result) { woken = result; });
  ASSERT_TRUE(loop().run_once(0).ok());
  EXPECT_FALSE(woken);
  word.store(1);
  ::syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  ASSERT_TRUE(turn_until([&] { return woken.has_value(); }));
  EXPECT_EQ(*woken, 0);
  loop().wait_futex(word, 0, [&](std::int32_t result) { late = result; });
  ASSERT_TRUE(turn_until([&] { return late.has_value(); }));
  EXPECT_EQ(*late, -EAGAIN);
  std::optional<int> cancelled;
  const OperationId id = loop().wait_futex(word, 1, [&](std::int32_t result) { cancelled = result; });
  loop().cancel(id);
  ASSERT_TRUE(turn_until([&] { return cancelled.has_value(); }));
  EXPECT_EQ(*cancelled, -ECANCELED);
  ::munmap(memory, 4096);
}

TEST_P(LoopTest, CancelEndsAnOperationOnce) {
  const Pair pair(GetParam());
  std::array<char, 16> buffer{};
  int calls = 0;
  int result = 0;
  const auto id = loop().receive(pair.ours(), buffer, [&](std::int32_t n) {
    ++calls;
    result = n;
  });
  ASSERT_TRUE(loop().run_once(0).ok());
  loop().cancel(id);
  loop().cancel(id);
  EXPECT_EQ(calls, 0) << "a callback came from inside cancel";
  ASSERT_TRUE(turn_until([&] { return calls > 0; }));
  EXPECT_EQ(result, -ECANCELED);
  loop().cancel(id);  // of a slot that is free, or by now another's
  std::optional<int> got;
  loop().receive(pair.ours(), buffer, [&](std::int32_t n) { got = n; });
  loop().cancel(id);
  test::write_all(pair.theirs(), "x");
  ASSERT_TRUE(turn_until([&] { return got.has_value(); }));
  EXPECT_EQ(*got, 1) << "an old id called off another's operation";
  EXPECT_EQ(calls, 1);
}

TEST_P(LoopTest, TimersFireInOrderAndNotBefore) {
  const std::int64_t start_ns = base::monotonic_ns();
  std::string order;
  const auto at = [&](std::int64_t ms, char name) {
    return loop().call_at(start_ns + ms * kMillisecond, [&, ms, name] {
      order += name;
      const std::int64_t fired_ns = base::monotonic_ns();
      EXPECT_GE(fired_ns, start_ns + ms * kMillisecond) << name;
    });
  };
  at(9, 'e');
  at(3, 'b');
  const auto never = at(4, 'x');
  at(3, 'c');  // the same moment: in the order they were set
  at(1, 'a');
  at(5, 'd');
  loop().cancel(never);
  loop().cancel(never);
  ASSERT_TRUE(turn_until([&] { return order.size() == 5; }));
  EXPECT_EQ(order, "abcde");
}

TEST_P(LoopTest, ATimerMaySetAndCancelTimers) {
  const std::int64_t now_ns = base::monotonic_ns();
  int again = 0;
  bool wrong = false;
  TimerId victim;
  std::function<void()> repeat = [&] {
    loop().cancel(victim);
    if (++again < 3) loop().call_at(now_ns, repeat);  // due at once, but only in the next turn
  };
  loop().call_at(now_ns, repeat);
  victim = loop().call_at(now_ns, [&] { wrong = true; });
  ASSERT_TRUE(loop().run_once(0).ok());
  EXPECT_EQ(again, 1);
  ASSERT_TRUE(turn_until([&] { return again == 3; }));
  EXPECT_FALSE(wrong);
}

TEST_P(LoopTest, ACompletionThatIsThereComesBeforeATimerThatIsDue) {
  const Pair pair(GetParam());
  std::array<char, 16> buffer{};
  std::string order;
  loop().receive(pair.ours(), buffer, [&](std::int32_t) { order += 'r'; });
  ASSERT_TRUE(loop().run_once(0).ok());
  test::write_all(pair.theirs(), "x");
  loop().call_at(base::monotonic_ns() - kMillisecond, [&] { order += 't'; });
  ASSERT_TRUE(turn_until([&] { return order.size() == 2; }));
  EXPECT_EQ(order, "rt");
}

TEST_P(LoopTest, DeferredCallsComeInTheNextTurn) {
  int calls = 0;
  std::function<void()> forever = [&] {
    ++calls;
    loop().defer(forever);
  };
  loop().defer(forever);
  ASSERT_TRUE(loop().run_once(kForever).ok());
  EXPECT_EQ(calls, 1);
  ASSERT_TRUE(loop().run_once(kForever).ok());
  EXPECT_EQ(calls, 2);
}

// A wait may end early (the kernel interrupts it when a loop before this one is torn down), but it is a wait.
TEST_P(LoopTest, AnIdleLoopSleeps) {
  const std::int64_t end_ns = base::monotonic_ns() + 60 * kMillisecond;
  int turns = 0;
  for (; base::monotonic_ns() < end_ns; ++turns) ASSERT_TRUE(loop().run_once(3 * kMillisecond).ok());
  EXPECT_LE(turns, 25);
}

TEST_P(LoopTest, MoreOperationsThanTheQueueHolds) {
  constexpr int kPairs = 400;  // beyond the submission queue's 256
  std::vector<std::unique_ptr<Pair>> pairs;
  std::vector<std::array<char, 4>> buffers(kPairs);
  int got = 0;
  for (int i = 0; i < kPairs; ++i) {
    pairs.push_back(std::make_unique<Pair>(GetParam()));
    loop().receive(pairs.back()->ours(), buffers[static_cast<std::size_t>(i)], [&](std::int32_t n) { got += n; });
  }
  for (const auto& pair : pairs) test::write_all(pair->theirs(), "abc");
  ASSERT_TRUE(turn_until([&] { return got == 3 * kPairs; }));
}

// A buffer that tells when it goes, owned by its operation's callback.
TEST_P(LoopTest, DestructionWithOperationsUnderWay) {
  const Pair pair(GetParam());
  auto buffer = std::make_shared<std::array<char, 16>>();
  const std::weak_ptr<std::array<char, 16>> watched = buffer;
  bool called = false;
  loop().receive(pair.ours(), *buffer, [&called, buffer](std::int32_t) { called = true; });
  loop().defer([&called, buffer] { called = true; });
  loop().call_at(base::monotonic_ns() + 3'600'000 * kMillisecond, [&called, buffer] { called = true; });
  buffer.reset();
  EXPECT_FALSE(watched.expired());
  end_loop();
  EXPECT_TRUE(watched.expired());
  EXPECT_FALSE(called);
  test::write_all(pair.theirs(), "late");  // nobody may write it into memory that is another's now
}

}  // namespace
}  // namespace stem::io
