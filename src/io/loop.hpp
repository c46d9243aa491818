// The kernel, for one thread: sockets, files, readiness and timers, on io_uring; where the kernel refuses that
// (containers, old kernels), on epoll with a few threads for the files, which the first such loop of a process logs
// once.
//
//   loop.receive(fd, buffer, [&](std::int32_t bytes) { ... });
//   while (working) loop.run_once(kForever);
//
// The contract, the same on both:
// * A loop belongs to the thread that made it. It is not inherited over fork.
// * An operation's callback is called once, from run_once, never from inside the call that started it. What it
//   gets is a count or 0, or minus an errno. Callbacks may start and cancel anything; they may not destroy the loop.
// * Buffer and descriptor must stay as they are until then: let the callback own them (see stream.hpp).
// * cancel() makes the callback come soon, with -ECANCELED unless the operation was quicker.
// * When the loop is destroyed, what is still under way is called off and its callback destroyed uncalled, after the
//   kernel has let go of the buffer.
// * For one descriptor at most one of {receive, wait_readable, accept} and one of {connect, send} at a time; on epoll
//   the second gets -EBUSY.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "io/driver.hpp"

namespace stem::io {

inline constexpr std::int64_t kForever = -1;

enum class Backend : std::uint8_t { kUring, kEpoll };

using Completion = std::function<void(std::int32_t result)>;

struct OperationId {
  std::uint32_t slot = 0;
  std::uint32_t life = 0;  // 0 = none
  explicit operator bool() const { return life != 0; }
};

struct TimerId {
  std::int64_t due_ns = 0;
  std::uint64_t number = 0;  // 0 = none
  explicit operator bool() const { return number != 0; }
  friend auto operator<=>(const TimerId&, const TimerId&) = default;
};

class Loop {
 public:
  // Without `backend`: io_uring where it is allowed.
  static Result<std::unique_ptr<Loop>> create(std::optional<Backend> backend = std::nullopt);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  Backend backend() const { return backend_; }

  // A stream socket as this loop's back end wants it; the caller closes it.
  Result<int> open_socket(int domain) const;

  OperationId connect(int fd, const sockaddr_storage& address, socklen_t address_bytes, Completion done);
  // May send less than asked.
  OperationId send(int fd, std::string_view bytes, Completion done);
  // 0 = the peer closed.
  OperationId receive(int fd, std::span<char> buffer, Completion done);
  // The result is a mask as of poll(2).
  OperationId wait_readable(int fd, Completion done);
  // Whether this loop can wait for a futex: io_uring on Linux 6.7 or later.
  bool can_wait_futex() const { return driver_->knows_futexes(); }
  // For a word that other processes change, and then FUTEX_WAKE without FUTEX_PRIVATE_FLAG. 0 when it was woken,
  // -EAGAIN when the word is not `seen` any more. Only where can_wait_futex().
  OperationId wait_futex(std::atomic<std::uint32_t>& word, std::uint32_t seen, Completion done);
  // Anything that driver.hpp knows; what the request points to stays as it is until `done`.
  OperationId start(const Request& request, Completion done);
  void cancel(OperationId operation);

  // By CLOCK_MONOTONIC; timers of one moment fire in the order they were set. A cancelled one is not called.
  TimerId call_at(std::int64_t due_ns, std::function<void()> callback);
  void cancel(TimerId timer);
  // Called in the next run_once, before it waits.
  void defer(std::function<void()> callback);
  // As that, after what was deferred, and no reason not to wait: for sending what was gathered, so that one call of the
  // kernel sends it and waits for the answer.
  void before_wait(std::function<void()> callback);

  // Deferred calls, those before the wait, completions (waits for them up to `timeout_ns`, or the next timer), then due
  // timers. Returns how many callbacks ran, without those before the wait; none when a signal ended it. An error only
  // when the kernel refuses to wait at all.
  Result<std::uint32_t> run_once(std::int64_t timeout_ns);

  // As its destructor: everything is called off and no callback is called any more. For an owner of buffers that must
  // outlive the kernel's use of them and not the loop's.
  void abandon();
  std::uint32_t operations_under_way() const { return under_way_; }

 private:
  struct Operation {
    Request request;
    Completion done;
    std::uint32_t life = 1;
    bool under_way = false;
  };

  Loop(std::unique_ptr<Driver> driver, Backend backend) : driver_(std::move(driver)), backend_(backend) {}
  Completion finish(std::uint32_t slot);
  std::uint32_t run_deferred();
  std::uint32_t fire_timers();
  std::int64_t wait_ns(std::int64_t timeout_ns) const;

  std::unique_ptr<Driver> driver_;
  Backend backend_;
  std::deque<Operation> operations_;  // addresses stay
  std::vector<std::uint32_t> free_;
  std::uint32_t under_way_ = 0;
  std::map<TimerId, std::function<void()>> timers_;
  std::uint64_t timer_number_ = 0;
  std::vector<std::function<void()>> deferred_;
  std::vector<std::function<void()>> before_wait_;
  std::vector<Done> done_;
};

}  // namespace stem::io
