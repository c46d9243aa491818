// What the loop asks of a back end. Internal to src/io.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.hpp"

namespace stem::io {

struct Request {
  enum class Kind : std::uint8_t {
    kConnect,   // to `data`, an address of `bytes`
    kSend,      // `bytes` from `data`
    kReceive,   // into `data`
    kReadable,  // gives a mask as of poll(2)
    kWritable,  // the same
    kAccept,    // gives the new descriptor
    kFutex,     // `data` is the word, `bytes` the value seen
    // Of files; the kernel cannot say that one is ready, so without io_uring a thread does them.
    kOpen,   // `path`, `flags` and `mode` as of open(2); gives the descriptor
    kRead,   // at `offset`
    kWrite,  // at `offset`
    kStat,   // `path`, or of `fd` when that is empty; `data` is a struct statx
    kSync,   // fdatasync(2)
    kClose,
  };
  Kind kind = Kind::kReadable;
  int fd = -1;
  void* data = nullptr;
  std::uint32_t bytes = 0;
  std::uint32_t flags = 0;
  std::uint32_t mode = 0;
  const char* path = nullptr;
  std::uint64_t offset = 0;

  bool of_a_file() const { return kind >= Kind::kOpen; }
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
