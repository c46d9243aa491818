// What the loop asks of a back end. Internal to src/io.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.hpp"

namespace stem::io {

struct Request {
  enum class Kind : std::uint8_t { kConnect, kSend, kReceive, kReadable, kFutex };
  Kind kind = Kind::kReadable;
  int fd = -1;
  void* data = nullptr;     // sent from, or received into; the futex
  std::uint32_t bytes = 0;  // of data; the futex's value
  sockaddr_storage address{};
  socklen_t address_bytes = 0;
};

struct Done {
  std::uint32_t slot = 0;
  std::int32_t result = 0;
};

class Driver {
 public:
  virtual ~Driver() = default;
  // Whether kFutex may be asked for.
  virtual bool knows_futexes() const { return false; }
  // `request` stays at its address until the slot is done.
  virtual void start(std::uint32_t slot, const Request& request) = 0;
  // The slot is done soon; calling it twice does no harm.
  virtual void cancel(std::uint32_t slot) = 0;
  // Appends what is done; waits for the first up to `timeout_ns` (negative: for ever). Signals end the wait.
  virtual Result<void> wait(std::int64_t timeout_ns, std::vector<Done>& done) = 0;
};

// kRefused or kSystem, with the reason, when the kernel does not let us or lacks what we need.
Result<std::unique_ptr<Driver>> make_uring_driver();
Result<std::unique_ptr<Driver>> make_epoll_driver();

}  // namespace stem::io
