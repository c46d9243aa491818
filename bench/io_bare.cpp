// The bare loops: what a person would write with liburing for this one purpose.
#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coroutine>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "base/clock.hpp"
#include "bench/failure.hpp"
#include "bench/io_loops.hpp"
#include "bench/io_places.hpp"

namespace stem::bench {
namespace {

class Ring {
 public:
  Ring() {
    const int rc = -io_uring_queue_init(
        256, &ring_, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
    if (rc != 0) throw Failure(fmt::format("io_uring_setup: {}", std::strerror(rc)));
  }
  ~Ring() { io_uring_queue_exit(&ring_); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  io_uring_sqe* entry(std::uint64_t data) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) throw Failure("the submission queue is full");
    io_uring_sqe_set_data64(sqe, data);
    return sqe;
  }
  // Submits, waits for one at least, and calls `done` for each.
  template <class Done>
  void turn(Done done) {
    const int rc = io_uring_submit_and_wait(&ring_, 1);
    if (rc < 0 && rc != -EINTR) throw Failure(fmt::format("io_uring_enter: {}", std::strerror(-rc)));
    io_uring_cqe* cqe = nullptr;
    unsigned head = 0, count = 0;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      ++count;
      done(cqe->user_data, cqe->res);
    }
    io_uring_cq_advance(&ring_, count);
  }
  io_uring* get() { return &ring_; }

 private:
  io_uring ring_{};
};

void must_be(std::int64_t got, std::int64_t wanted, const char* what) {
  if (got != wanted) throw Failure(fmt::format("{}: {} instead of {}", what, got, wanted));
}

}  // namespace

double bare_reads(const ReadPlan& plan) {
  Ring ring;
  const OpenFd file(::open(plan.path.c_str(), O_RDONLY | O_CLOEXEC | (plan.direct ? O_DIRECT : 0)));
  const AlignedBytes buffers(std::size_t{plan.depth} * plan.block_bytes);
  Places places(plan.file_bytes, plan.block_bytes);
  std::uint64_t asked = 0, done = 0;
  const auto ask = [&](std::uint64_t which) {
    io_uring_sqe* sqe = ring.entry(which);
    io_uring_prep_read(sqe, file.get(), buffers.data() + which * plan.block_bytes, plan.block_bytes, places.next());
    io_uring_sqe_set_data64(sqe, which);
    ++asked;
  };
  const std::int64_t start = base::monotonic_ns();
  while (asked < plan.depth && asked < plan.reads) ask(asked);
  while (done < plan.reads) {
    ring.turn([&](std::uint64_t which, int result) {
      must_be(result, plan.block_bytes, "read");
      ++done;
      if (asked < plan.reads) ask(which);
    });
  }
  return static_cast<double>(done) * 1e9 / static_cast<double>(base::monotonic_ns() - start);
}

double bare_echo(const EchoPlan& plan) {
  Ring ring;
  const SocketPairs pairs(plan.connections);
  struct End {
    int fd = -1;
    std::vector<char> bytes;
  };
  // Data of an entry: 2 * end | 1 when it is a send. Ends: 2 * pair is the client, the next one its server.
  std::vector<End> ends(std::size_t{2} * plan.connections);
  for (std::size_t i = 0; i < ends.size(); ++i) ends[i] = {pairs.fd(i), std::vector<char>(plan.message_bytes, 'x')};
  const auto send = [&](std::uint64_t end) {
    io_uring_sqe* sqe = ring.entry(0);
    io_uring_prep_send(sqe, ends[end].fd, ends[end].bytes.data(), plan.message_bytes, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, 2 * end + 1);
  };
  const auto receive = [&](std::uint64_t end) {
    io_uring_sqe* sqe = ring.entry(0);
    io_uring_prep_recv(sqe, ends[end].fd, ends[end].bytes.data(), plan.message_bytes, 0);
    io_uring_sqe_set_data64(sqe, 2 * end);
  };
  std::uint64_t done = 0;
  const std::int64_t start = base::monotonic_ns();
  for (std::uint64_t pair = 0; pair < plan.connections; ++pair) {
    receive(2 * pair + 1);
    send(2 * pair);
  }
  while (done < plan.requests) {
    ring.turn([&](std::uint64_t data, int result) {
      must_be(result, plan.message_bytes, "echo");
      const std::uint64_t end = data / 2;
      const bool sent = data % 2 == 1, client = end % 2 == 0;
      if (sent) return receive(end);
      if (client) ++done;
      send(end);
    });
  }
  return static_cast<double>(done) * 1e9 / static_cast<double>(base::monotonic_ns() - start);
}

void bare_waits(int eventfd, const std::function<bool()>& woken) {
  Ring ring;
  for (bool more = true; more;) {
    io_uring_prep_poll_add(ring.entry(0), eventfd, POLLIN);
    ring.turn([&](std::uint64_t, int) {
      drain(eventfd);  // before whoever rings is told: the next ring must not be drained with it
      more = woken();
    });
  }
}

void bare_sleeps(std::int64_t sleep_ns, std::span<std::uint64_t> late_ns) {
  Ring ring;
  for (std::uint64_t& late : late_ns) {
    const std::int64_t due = base::monotonic_ns() + sleep_ns;
    __kernel_timespec time{.tv_sec = 0, .tv_nsec = sleep_ns};
    io_uring_cqe* cqe = nullptr;
    (void)io_uring_submit_and_wait_timeout(ring.get(), &cqe, 1, &time, nullptr);
    late = static_cast<std::uint64_t>(std::max<std::int64_t>(base::monotonic_ns() - due, 0));
  }
}

namespace {

[[gnu::noinline]] std::uint64_t add_one(std::uint64_t n) { return n + 1; }

struct Bare {
  struct promise_type {
    Bare get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

Bare suspend_for_ever(std::uint64_t& count) {
  for (;;) {
    ++count;
    co_await std::suspend_always{};
  }
}

}  // namespace

double plain_call_ns(std::uint64_t rounds) {
  constexpr std::size_t kFrameBytes = 128;
  std::uint64_t (*volatile call)(std::uint64_t) = add_one;
  std::uint64_t sum = 0;
  const std::int64_t start = base::monotonic_ns();
  for (std::uint64_t i = 0; i < rounds; ++i) {
    void* const frame = ::operator new(kFrameBytes);
    asm volatile("" : : "r"(frame) : "memory");  // or the pair would be left out
    sum = call(sum);
    ::operator delete(frame, kFrameBytes);
  }
  must_be(static_cast<std::int64_t>(sum), static_cast<std::int64_t>(rounds), "calls");
  return static_cast<double>(base::monotonic_ns() - start) / static_cast<double>(rounds);
}

double bare_switch_ns(std::uint64_t rounds) {
  std::uint64_t count = 0;
  const Bare bare = suspend_for_ever(count);
  const std::int64_t start = base::monotonic_ns();
  for (std::uint64_t i = 0; i < rounds; ++i) bare.handle.resume();
  const std::int64_t end = base::monotonic_ns();
  bare.handle.destroy();
  must_be(static_cast<std::int64_t>(count), static_cast<std::int64_t>(rounds), "switches");
  return static_cast<double>(end - start) / static_cast<double>(rounds);
}

}  // namespace stem::bench
