// The dashboard's eye on the segment: waits for it, attaches, looks again and again, and notices when it is gone or
// another. What it maps it maps read-only but for its own row in the roster: whatever is wrong here, no task is touched.
//
// One thread opens, ticks and closes; any thread reads.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "tools/stem/attachment.hpp"
#include "tools/stem/context.hpp"
#include "tools/stem/dashboard/history.hpp"
#include "tools/stem/observe/look.hpp"

namespace stem::cli {

// What a reader sees while it reads.
struct Sight {
  const Attachment& attachment;
  const Look& before;
  const Look& now;
  const Heartbeats& heartbeats;
};

class Observer {
 public:
  explicit Observer(const Context& context) : context_(context) {}
  ~Observer();
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  // One look; returns how long to wait for the next. Looking takes a tenth of a core at most, however large the
  // segment is.
  std::int64_t tick();

  // Reads what the last look saw. The reason when there is nothing to be seen; `read` is not called then.
  std::optional<std::string> with(const std::function<void(const Sight&)>& read) const;

  // What was seen of late, newest last; stays when the segment goes.
  void with_history(const std::function<void(const History&)>& read) const;

 private:
  bool open();
  void close();

  const Context context_;
  mutable std::mutex mutex_;
  std::optional<Attachment> attachment_;
  Look before_, now_;
  Heartbeats heartbeats_;
  History history_;
  std::string reason_ = "not looked yet";
};

}  // namespace stem::cli
