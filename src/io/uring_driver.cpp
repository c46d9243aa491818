// io_uring: one submission queue entry an operation, sent to the kernel by the wait that follows.
#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/check.hpp"
#include "io/driver.hpp"

namespace stem::io {
namespace {

constexpr unsigned kEntries = 256;
constexpr std::uint8_t kFutexWait = 51;                   // IORING_OP_FUTEX_WAIT, Linux 6.7
constexpr int kFutexOfProcesses = 2;                      // FUTEX2_SIZE_U32, not FUTEX2_PRIVATE
constexpr std::uint64_t kAnyWake = ~std::uint32_t{0};     // FUTEX_BITSET_MATCH_ANY
constexpr std::uint64_t kCancelMark = ~std::uint64_t{0};  // user data of cancellations, which nobody waits for

Error refused(std::string_view what, int error) {
  return {Errc::kRefused, fmt::format("{}: {}", what, std::strerror(error))};
}

class UringDriver final : public Driver {
 public:
  UringDriver() = default;
  ~UringDriver() override {
    if (open_) io_uring_queue_exit(&uring_);
  }

  Result<void> open() {
    // One thread, and completions only when it asks for them, which a flag says: cheapest, where the kernel knows it
    // (6.1). Elsewhere the kernel interrupts us to post them.
    constexpr std::array<unsigned, 2> kFlags{
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0};
    int error = 0;
    for (const unsigned flags : kFlags) {
      error = -io_uring_queue_init(kEntries, &uring_, flags);
      if (error != EINVAL) break;
    }
    if (error != 0) return refused("io_uring_setup", error);
    open_ = true;
    constexpr unsigned kWanted = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;  // 5.11
    if ((uring_.features & kWanted) != kWanted) return Error{Errc::kRefused, "this kernel's io_uring is too old"};
    io_uring_ring_dontfork(&uring_);
    if (io_uring_probe* const probe = io_uring_get_probe_ring(&uring_); probe != nullptr) {
      knows_futexes_ = io_uring_opcode_supported(probe, kFutexWait) != 0;
      io_uring_free_probe(probe);
    }
    return {};
  }

  void start(std::uint32_t slot, const Request& request) override {
    io_uring_sqe* entry = next_entry();
    switch (request.kind) {
      case Request::Kind::kConnect:
        io_uring_prep_connect(entry, request.fd, static_cast<const sockaddr*>(request.data), request.bytes);
        break;
      case Request::Kind::kSend:
        io_uring_prep_send(entry, request.fd, request.data, request.bytes, MSG_NOSIGNAL);
        break;
      case Request::Kind::kReceive: io_uring_prep_recv(entry, request.fd, request.data, request.bytes, 0); break;
      case Request::Kind::kReadable: io_uring_prep_poll_add(entry, request.fd, POLLIN); break;
      case Request::Kind::kWritable: io_uring_prep_poll_add(entry, request.fd, POLLOUT); break;
      case Request::Kind::kFutex:
        io_uring_prep_rw(kFutexWait, entry, kFutexOfProcesses, request.data, 0, request.bytes);
        entry->addr3 = kAnyWake;
        break;
      case Request::Kind::kAccept: io_uring_prep_accept(entry, request.fd, nullptr, nullptr, SOCK_CLOEXEC); break;
      case Request::Kind::kOpen:
        io_uring_prep_openat(entry, AT_FDCWD, request.path, static_cast<int>(request.flags), request.mode);
        break;
      case Request::Kind::kRead:
        io_uring_prep_read(entry, request.fd, request.data, request.bytes, request.offset);
        break;
      case Request::Kind::kWrite:
        io_uring_prep_write(entry, request.fd, request.data, request.bytes, request.offset);
        break;
      case Request::Kind::kStat:
        io_uring_prep_statx(entry, request.path == nullptr ? request.fd : AT_FDCWD,
                            request.path == nullptr ? "" : request.path, request.path == nullptr ? AT_EMPTY_PATH : 0,
                            STATX_BASIC_STATS, static_cast<struct statx*>(request.data));
        break;
      case Request::Kind::kSync: io_uring_prep_fsync(entry, request.fd, IORING_FSYNC_DATASYNC); break;
      case Request::Kind::kClose: io_uring_prep_close(entry, request.fd); break;
    }
    io_uring_sqe_set_data64(entry, slot);
  }

  bool knows_futexes() const override { return knows_futexes_; }

  void cancel(std::uint32_t slot) override {
    io_uring_sqe* entry = next_entry();
    io_uring_prep_cancel64(entry, slot, 0);
    io_uring_sqe_set_data64(entry, kCancelMark);
  }

  Result<void> wait(std::int64_t timeout_ns, std::vector<Done>& done) override {
    if (timeout_ns != 0 || has_business()) {
      if (auto entered = enter(timeout_ns); !entered) return entered;
    }
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* entry = nullptr;
    io_uring_for_each_cqe(&uring_, head, entry) {
      ++count;
      if (entry->user_data != kCancelMark) {
        done.push_back({static_cast<std::uint32_t>(entry->user_data), entry->res});
      }
    }
    io_uring_cq_advance(&uring_, count);
    return {};
  }

 private:
  // Whether the kernel has something to do for us: requests that it has not seen, completions that it has not posted. So
  // a look that finds nothing makes no system call.
  bool has_business() const {
    return io_uring_sq_ready(&uring_) != 0 ||
           (IO_URING_READ_ONCE(*uring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  }

  Result<void> enter(std::int64_t timeout_ns) {
    io_uring_cqe* first = nullptr;
    __kernel_timespec limit{.tv_sec = timeout_ns / 1'000'000'000, .tv_nsec = timeout_ns % 1'000'000'000};
    // A look is no wait: even a timeout of nothing would arm a timer, and end as late as the thread's timer slack.
    const int rc = timeout_ns == 0 ? io_uring_submit_and_get_events(&uring_)
                                   : io_uring_submit_and_wait_timeout(&uring_, &first, 1,
                                                                      timeout_ns < 0 ? nullptr : &limit, nullptr);
    // EBUSY and EAGAIN: completions must be taken before more is accepted, which is what follows.
    const bool harmless = rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN;
    if (!harmless) {
      errno = -rc;
      return system_error("io_uring_enter");
    }
    return {};
  }

  io_uring_sqe* next_entry() {
    io_uring_sqe* entry = io_uring_get_sqe(&uring_);
    if (entry == nullptr) {
      io_uring_submit(&uring_);
      entry = io_uring_get_sqe(&uring_);
    }
    STEM_CHECK(entry != nullptr);  // a submission empties the queue
    return entry;
  }

  io_uring uring_{};
  bool open_ = false;
  bool knows_futexes_ = false;
};

}  // namespace

Result<std::unique_ptr<Driver>> make_uring_driver() {
  auto driver = std::make_unique<UringDriver>();
  if (auto opened = driver->open(); !opened.ok()) return opened.error();
  return std::unique_ptr<Driver>(std::move(driver));
}

}  // namespace stem::io
