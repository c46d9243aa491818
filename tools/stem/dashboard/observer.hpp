// The dashboard's eye on the segment: waits for it, attaches, looks again and again, and notices when it is gone or
// another. It takes no row in the roster and maps read-only: whatever is wrong here, no task is touched, and nobody waits
// for it.
//
// One thread ticks; any thread reads.
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
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  // One look; returns how long to wait for the next. Looking takes a tenth of a core at most, however large the
  // segment is.
  std::int64_t tick();

  // The reason why there is nothing to be seen, if so. Waits for no look and no reader.
  std::optional<std::string> blind() const;

  // Reads what the last look saw. The reason when there is nothing to be seen; `read` is not called then.
  std::optional<std::string> with(const std::function<void(const Sight&)>& read) const;

  // What was seen of late, newest last; stays when the segment goes.
  void with_history(const std::function<void(const History&)>& read) const;

 private:
  bool open();
  void say(std::optional<std::string> reason);

  const Context context_;
  // The ticking thread's own: looking takes long in a large segment, and holds up no reader.
  std::optional<Attachment> eye_;

  mutable std::mutex mutex_;  // guards what readers see
  std::optional<Attachment> attachment_;
  Look before_, now_;
  Heartbeats heartbeats_;
  History history_;

  mutable std::mutex reason_mutex_;
  std::optional<std::string> reason_ = "not looked yet";
};

}  // namespace stem::cli
