// The same by coroutines.
#include <fcntl.h>

#include <algorithm>
#include <vector>

#include "base/clock.hpp"
#include "bench/failure.hpp"
#include "bench/io_loops.hpp"
#include "bench/io_places.hpp"
#include "stem/co.hpp"

namespace stem::bench {
namespace {

std::unique_ptr<io::Loop> uring_loop() {
  auto loop = io::Loop::create(io::Backend::kUring);
  if (!loop.ok()) throw Failure(loop.error().message);
  return *std::move(loop);
}

template <class T>
T must(Result<T> result) {
  if (!result) throw Failure(result.error().message);
  return *std::move(result);
}

double per_second(std::uint64_t done, std::int64_t start_ns) {
  return static_cast<double>(done) * 1e9 / static_cast<double>(base::monotonic_ns() - start_ns);
}

struct Reads {
  const ReadPlan& plan;
  const File& file;
  Places places;
  std::uint64_t asked = 0;
};

Co<void> read_blocks(Reads& reads, std::span<std::byte> into) {
  while (reads.asked < reads.plan.reads) {
    ++reads.asked;
    const std::size_t got = must(co_await reads.file.read(into, reads.places.next()));
    if (got != into.size()) throw Failure("a short read");
  }
}

Co<void> read_all(const ReadPlan& plan) {
  const File file = must(co_await File::open(plan.path, O_RDONLY | (plan.direct ? O_DIRECT : 0)));
  const AlignedBytes buffers(std::size_t{plan.depth} * plan.block_bytes);
  Reads reads{plan, file, Places(plan.file_bytes, plan.block_bytes)};
  std::vector<Co<void>> readers;
  for (std::uint32_t i = 0; i < plan.depth; ++i)
    readers.push_back(read_blocks(reads, {buffers.data() + std::size_t{i} * plan.block_bytes, plan.block_bytes}));
  (void)co_await when_all(std::move(readers));
}

struct Echo {
  const EchoPlan& plan;
  std::uint64_t done = 0;
};

Co<void> answer(const Echo& echo, Socket socket) {
  std::vector<char> bytes(echo.plan.message_bytes);
  for (;;) {
    auto read = co_await socket.read(bytes);
    if (!read && echo.done < echo.plan.requests) throw Failure(read.error().message);
    const std::size_t got = read ? *read : 0;
    if (got == 0) co_return;
    auto wrote = co_await socket.write({bytes.data(), got});
    if (!wrote && echo.done < echo.plan.requests) throw Failure(wrote.error().message);
    if (!wrote) co_return;
  }
}

Co<void> ask(Echo& echo, Socket socket) {
  std::vector<char> bytes(echo.plan.message_bytes, 'x');
  while (echo.done < echo.plan.requests) {
    auto wrote = co_await socket.write({bytes.data(), bytes.size()});
    auto got = co_await socket.read(bytes);
    if (echo.done >= echo.plan.requests) co_return;  // the pairs may be shut down already
    (void)must(std::move(wrote));
    if (must(std::move(got)) != bytes.size()) throw Failure("a short answer");
    ++echo.done;
  }
}

Co<void> echo_all(Echo& echo) {
  const SocketPairs pairs(echo.plan.connections);
  std::vector<Co<void>> ends;
  for (std::uint32_t i = 0; i < echo.plan.connections; ++i) {
    ends.push_back(answer(echo, Socket(::dup(pairs.fd(2 * i + 1)))));
    ends.push_back(ask(echo, Socket(::dup(pairs.fd(2 * i)))));
  }
  // A client that is done leaves its server waiting: the first end to go takes the others with it.
  co_await with_nursery([&](Nursery& nursery) -> Co<void> {
    for (std::size_t i = 0; i < ends.size(); ++i) nursery.start(std::move(ends[i]));
    while (echo.done < echo.plan.requests) (void)co_await sleep(std::chrono::milliseconds(1));
    for (std::uint32_t i = 0; i < echo.plan.connections; ++i) ::shutdown(pairs.fd(2 * i), SHUT_RDWR);
  });
}

Co<void> wait_again(int eventfd, const std::function<bool()>& woken) {
  for (bool more = true; more;) {
    (void)must(co_await readable(eventfd));
    drain(eventfd);  // before whoever rings is told: the next ring must not be drained with it
    more = woken();
  }
}

Co<void> sleep_again(std::int64_t sleep_ns, std::span<std::uint64_t> late_ns) {
  for (std::uint64_t& late : late_ns) {
    const std::int64_t due = base::monotonic_ns() + sleep_ns;
    (void)co_await sleep(std::chrono::nanoseconds(sleep_ns));
    late = static_cast<std::uint64_t>(std::max<std::int64_t>(base::monotonic_ns() - due, 0));
  }
}

[[gnu::noinline]] Co<std::uint64_t> plus_one(std::uint64_t n) { co_return n + 1; }

Co<std::uint64_t> call_again(std::uint64_t rounds) {
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < rounds; ++i) sum = co_await plus_one(sum);
  co_return sum;
}

Co<void> yield_again(std::uint64_t rounds) {
  for (std::uint64_t i = 0; i < rounds; ++i) (void)co_await yield();
}

}  // namespace

double coroutine_reads(const ReadPlan& plan) {
  const auto loop = uring_loop();
  const std::int64_t start = base::monotonic_ns();
  run_on(*loop, read_all(plan));
  return per_second(plan.reads, start);
}

double coroutine_echo(const EchoPlan& plan) {
  const auto loop = uring_loop();
  Echo echo{plan};
  const std::int64_t start = base::monotonic_ns();
  run_on(*loop, echo_all(echo));
  return per_second(echo.done, start);
}

void coroutine_waits(int eventfd, const std::function<bool()>& woken) {
  run_on(*uring_loop(), wait_again(eventfd, woken));
}

void coroutine_sleeps(std::int64_t sleep_ns, std::span<std::uint64_t> late_ns) {
  run_on(*uring_loop(), sleep_again(sleep_ns, late_ns));
}

double coroutine_call_ns(std::uint64_t rounds) {
  const auto loop = uring_loop();
  const std::int64_t start = base::monotonic_ns();
  if (run_on(*loop, call_again(rounds)) != rounds) throw Failure("calls were lost");
  return static_cast<double>(base::monotonic_ns() - start) / static_cast<double>(rounds);
}

double yield_ns(std::uint64_t rounds) {
  const auto loop = uring_loop();
  const std::int64_t start = base::monotonic_ns();
  std::vector<Co<void>> two;
  two.push_back(yield_again(rounds / 2));
  two.push_back(yield_again(rounds / 2));
  (void)run_on(*loop, when_all(std::move(two)));
  return static_cast<double>(base::monotonic_ns() - start) / static_cast<double>(rounds);
}

}  // namespace stem::bench
