// Coroutines without a worker: values, exceptions, order, cancellation, and that no frame is left behind.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "stem/co.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;

// On both back ends; afterwards every frame is gone.
class Coroutines : public testing::TestWithParam<io::Backend> {
 protected:
  void SetUp() override {
    auto made = io::Loop::create(GetParam());
    ASSERT_TRUE(made.ok()) << made.error().message;
    loop_ = *std::move(made);
    frames_before_ = co::frame_use().frames;
  }
  void TearDown() override {
    EXPECT_EQ(co::frame_use().frames, frames_before_);
    if (loop_ != nullptr) {
      EXPECT_EQ(loop_->operations_under_way(), 0u);
    }
  }
  template <class T>
  T run(Co<T> main) {
    return run_on(*loop_, std::move(main));
  }

 private:
  std::unique_ptr<io::Loop> loop_;
  std::uint64_t frames_before_ = 0;
};
INSTANTIATE_TEST_SUITE_P(BackEnds, Coroutines, testing::Values(io::Backend::kUring, io::Backend::kEpoll),
                         [](const auto& one) { return one.param == io::Backend::kUring ? "uring" : "epoll"; });

Co<int> number(int n) { co_return n; }
Co<int> sum_to(int n) {
  int sum = 0;
  for (int i = 1; i <= n; ++i) sum += co_await number(i);
  co_return sum;
}
Co<int> deep(int depth) {
  if (depth == 0) co_return 0;
  co_return 1 + co_await deep(depth - 1);
}
Co<int> after(milliseconds time, int value) {
  if (auto slept = co_await sleep(time); !slept) throw std::runtime_error(slept.error().message);
  co_return value;
}
Co<void> thrower(milliseconds time) {
  (void)co_await sleep(time);
  throw std::invalid_argument("no such image");
}
Co<Errc> code_of_sleep(std::chrono::nanoseconds time) {
  auto slept = co_await sleep(time);
  co_return slept.ok() ? Errc::kFull : slept.error().code;
}

TEST_P(Coroutines, GiveTheirValues) { EXPECT_EQ(run(sum_to(100)), 5050); }

TEST_P(Coroutines, CallEachOtherDeeplyWithoutTheStack) {
#ifdef __SANITIZE_ADDRESS__  // with which the compiler makes no tail calls
  constexpr int kDepth = 500;
#else
  constexpr int kDepth = 200'000;
#endif
  EXPECT_EQ(run(deep(kDepth)), kDepth);
}

TEST_P(Coroutines, PassExceptionsOn) { EXPECT_THROW(run(thrower(milliseconds(0))), std::invalid_argument); }

TEST_P(Coroutines, ThatNobodyAwaitsDoNotBegin) {
  bool begun = false;
  const auto body = [&]() -> Co<void> {
    begun = true;
    co_return;
  };
  { const Co<void> dropped = body(); }
  EXPECT_FALSE(begun);
}

TEST_P(Coroutines, SleepNoShorterThanAsked) {
  const auto body = []() -> Co<std::int64_t> {
    const std::int64_t from = base::monotonic_ns();
    (void)co_await sleep(milliseconds(5));
    co_return base::monotonic_ns() - from;
  };
  EXPECT_GE(run(body()), 5'000'000);
}

TEST_P(Coroutines, YieldLetsOthersRun) {
  std::string said;
  const auto body = [&]() -> Co<void> {
    const auto one = [&](char name) -> Co<void> {
      for (int i = 0; i < 3; ++i) {
        said += name;
        (void)co_await yield();
      }
    };
    co_await when_all(one('a'), one('b'));
  };
  run(body());
  EXPECT_EQ(said, "ababab");
}

TEST_P(Coroutines, WhenAllGivesEachValueInItsPlace) {
  const auto body = []() -> Co<std::string> {
    auto [a, b, c] = co_await when_all(after(milliseconds(4), 1), after(milliseconds(2), 2), number(3));
    co_return std::to_string(a) + std::to_string(b) + std::to_string(c);
  };
  EXPECT_EQ(run(body()), "123");
}

TEST_P(Coroutines, WhenAllCancelsTheOthersWhenOneThrows) {
  Errc other = Errc::kFull;
  const auto body = [&]() -> Co<void> {
    const auto sleeper = [&]() -> Co<void> { other = co_await code_of_sleep(std::chrono::hours(1)); };
    co_await when_all(thrower(milliseconds(1)), sleeper());
  };
  EXPECT_THROW(run(body()), std::invalid_argument);
  EXPECT_EQ(other, Errc::kCancelled);
}

TEST_P(Coroutines, WhenAnyGivesTheFirstAndCancelsTheRest) {
  const std::int64_t from = base::monotonic_ns();
  const auto body = []() -> Co<std::pair<std::size_t, int>> {
    co_return co_await when_any(after(std::chrono::hours(1), 1), after(milliseconds(1), 2),
                                after(std::chrono::hours(2), 3));
  };
  const auto [index, value] = run(body());
  EXPECT_EQ(index, 1u);
  EXPECT_EQ(value, 2);
  EXPECT_LT(base::monotonic_ns() - from, 60'000'000'000);
}

TEST_P(Coroutines, WithinEndsWhatIsNotOverInTime) {
  EXPECT_EQ(run(within(milliseconds(2), code_of_sleep(std::chrono::hours(1)))), Errc::kTimeout);
  EXPECT_EQ(run(within(std::chrono::hours(1), code_of_sleep(milliseconds(1)))), Errc::kFull) << "not over";
}

// The longest time there is, and what comes after it is long ago.
TEST_P(Coroutines, ForEverIsNotOverAtOnce) {
  constexpr auto kForEver = std::chrono::nanoseconds::max();
  EXPECT_EQ(run(within(milliseconds(2), code_of_sleep(kForEver))), Errc::kTimeout);
  EXPECT_EQ(run(within(kForEver, code_of_sleep(milliseconds(2)))), Errc::kFull) << "not over";
}

TEST_P(Coroutines, WhatIsCancelledByAnExceptionDoesNotHideItWithAValue) {
  const auto throws = []() -> Co<Errc> {
    (void)co_await sleep(milliseconds(1));
    throw std::runtime_error("no such host");
  };
  const auto body = [&]() -> Co<std::pair<std::size_t, Errc>> {
    co_return co_await when_any(code_of_sleep(std::chrono::hours(1)), throws());
  };
  EXPECT_THROW(run(body()), std::runtime_error);
}

TEST_P(Coroutines, NothingBeginsInACancelledScopeExceptShielded) {
  std::vector<Errc> seen;
  const auto inner = [&]() -> Co<void> {
    seen.push_back(co_await code_of_sleep(std::chrono::hours(1)));
    seen.push_back(co_await code_of_sleep(milliseconds(1)));
    seen.push_back(co_await shielded(code_of_sleep(milliseconds(1))));
  };
  run(within(milliseconds(1), inner()));
  EXPECT_EQ(seen, (std::vector<Errc>{Errc::kTimeout, Errc::kTimeout, Errc::kFull}));
}

TEST_P(Coroutines, ANurseryWaitsForItsChildren) {
  int ended = 0;
  const auto body = [&]() -> Co<void> {
    const auto child = [&](int ms) -> Co<void> {
      (void)co_await sleep(milliseconds(ms));
      ++ended;
    };
    co_await with_nursery([&](Nursery& nursery) -> Co<void> {
      for (int i = 0; i < 5; ++i) nursery.start(child(i));
      EXPECT_EQ(nursery.running(), 5u);
      co_return;
    });
  };
  run(body());
  EXPECT_EQ(ended, 5);
}

TEST_P(Coroutines, ANurserysBodyThatThrowsTakesItsChildrenAlong) {
  Errc child_saw = Errc::kFull;
  const auto body = [&]() -> Co<void> {
    const auto child = [&]() -> Co<void> { child_saw = co_await code_of_sleep(std::chrono::hours(1)); };
    co_await with_nursery([&](Nursery& nursery) -> Co<void> {
      nursery.start(child());
      throw std::runtime_error("body");
      co_return;
    });
  };
  EXPECT_THROW(run(body()), std::runtime_error);
  EXPECT_EQ(child_saw, Errc::kCancelled);
}

TEST_P(Coroutines, WaitForDescriptorsOfTheirUsers) {
  const int fd = ::eventfd(0, EFD_CLOEXEC);
  const auto ring = [&]() -> Co<void> {
    (void)co_await sleep(milliseconds(1));
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(fd, &one, sizeof one), 8);
  };
  const auto wait = [&]() -> Co<bool> { co_return (co_await readable(fd)).ok(); };
  const auto body = [&]() -> Co<bool> {
    auto [ready, rung] = co_await when_all(wait(), ring());
    co_return ready;
  };
  EXPECT_TRUE(run(body()));
  EXPECT_EQ(run(within(milliseconds(1),
                       [](int never) -> Co<Errc> {
                         (void)co_await sleep(milliseconds(0));
                         std::uint64_t drained = 0;
                         EXPECT_EQ(::read(never, &drained, sizeof drained), 8);
                         auto ready = co_await readable(never);
                         co_return ready.ok() ? Errc::kFull : ready.error().code;
                       }(fd))),
            Errc::kTimeout);
  ::close(fd);
}

}  // namespace
}  // namespace stem
