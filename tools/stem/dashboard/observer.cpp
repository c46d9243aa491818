#include "tools/stem/dashboard/observer.hpp"

#include <algorithm>
#include <utility>

#include "base/clock.hpp"

namespace stem::cli {
namespace {

constexpr std::int64_t kIntervalNs = 1'000'000'000;
constexpr std::int64_t kFirstGapNs = 250'000'000;
constexpr std::int64_t kLongestIntervalNs = 30'000'000'000;
constexpr unsigned kAllParts = kQueuePart | kWorkerPart | kTaskPart;

}  // namespace

void Observer::say(std::optional<std::string> reason) {
  const std::lock_guard lock(reason_mutex_);
  reason_ = std::move(reason);
}

std::optional<std::string> Observer::blind() const {
  const std::lock_guard lock(reason_mutex_);
  return reason_;
}

bool Observer::open() {
  auto eye = Attachment::watch(context_);
  auto shown = Attachment::watch(context_);
  if (!eye.ok() || !shown.ok()) {
    say(eye.ok() ? shown.error().message : eye.error().message);
    return false;
  }
  // Made anew between the two: the next tick finds them alike.
  if (eye->segment().epoch() != shown->segment().epoch()) {
    say("the segment is being made anew");
    return false;
  }
  eye_.emplace(*std::move(eye));
  Look now = take_look(*eye_, kAllParts);
  {
    const std::lock_guard lock(mutex_);
    attachment_.emplace(*std::move(shown));
    heartbeats_ = Heartbeats();
    now_ = std::move(now);
    before_ = now_;
    heartbeats_.see(now_);
  }
  say(std::nullopt);
  return true;
}

std::int64_t Observer::tick() {
  if (eye_ && !is_named(eye_->segment())) {
    eye_.reset();
    const std::lock_guard lock(mutex_);
    attachment_.reset();
  }
  // Rates are of two looks that lie apart.
  if (!eye_) return open() ? kFirstGapNs : kIntervalNs;
  const std::int64_t begun_ns = base::monotonic_ns();
  Look now = take_look(*eye_, kAllParts);
  const std::int64_t took_ns = base::monotonic_ns() - begun_ns;
  const std::lock_guard lock(mutex_);
  before_ = std::exchange(now_, std::move(now));
  heartbeats_.see(now_);
  history_.note(before_, now_);
  return std::clamp(took_ns * 9, kIntervalNs, kLongestIntervalNs);
}

std::optional<std::string> Observer::with(const std::function<void(const Sight&)>& read) const {
  const std::lock_guard lock(mutex_);
  if (!attachment_) return blind().value_or("the segment is gone");
  read({*attachment_, before_, now_, heartbeats_});
  return std::nullopt;
}

void Observer::with_history(const std::function<void(const History&)>& read) const {
  const std::lock_guard lock(mutex_);
  read(history_);
}

}  // namespace stem::cli
