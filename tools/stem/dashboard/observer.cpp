#include "tools/stem/dashboard/observer.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.hpp"

namespace stem::cli {
namespace {

constexpr std::int64_t kIntervalNs = 1'000'000'000;
constexpr std::int64_t kLongestIntervalNs = 30'000'000'000;
constexpr unsigned kAllParts = kQueuePart | kWorkerPart | kTaskPart;

// The whole mapping, but the pages with our row: its heartbeat is ours to write, and the kernel's mark at our death.
void allow_writing(const Attachment& attachment, bool allowed) {
  const shm::Segment& segment = attachment.segment();
  const int all = allowed ? PROT_READ | PROT_WRITE : PROT_READ;
  if (::mprotect(segment.base(), segment.layout().total_bytes, all) != 0 || allowed) return;
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t row = segment.offset_of(&segment.row(attachment.participant()));
  const std::uint64_t first = row / page * page;
  const std::uint64_t last = (row + sizeof(shm::RosterRow) + page - 1) / page * page;
  (void)::mprotect(segment.base() + first, last - first, PROT_READ | PROT_WRITE);
}

}  // namespace

Observer::~Observer() { close(); }

bool Observer::open() {
  auto opened = Attachment::open(context_);
  if (!opened.ok()) {
    reason_ = opened.error().message;
    return false;
  }
  attachment_.emplace(*std::move(opened));
  allow_writing(*attachment_, false);
  heartbeats_ = Heartbeats();
  now_ = take_look(*attachment_, kAllParts);
  heartbeats_.see(now_);
  return true;
}

void Observer::close() {
  if (!attachment_) return;
  allow_writing(*attachment_, true);  // leaving gives the row back
  attachment_.reset();
}

std::int64_t Observer::tick() {
  const std::lock_guard lock(mutex_);
  if (attachment_ && !is_named(attachment_->segment())) close();
  if (!attachment_ && !open()) return kIntervalNs;
  const std::int64_t begun_ns = base::monotonic_ns();
  before_ = std::move(now_);
  now_ = take_look(*attachment_, kAllParts);
  heartbeats_.see(now_);
  history_.note(before_, now_);
  return std::clamp((base::monotonic_ns() - begun_ns) * 9, kIntervalNs, kLongestIntervalNs);
}

std::optional<std::string> Observer::with(const std::function<void(const Sight&)>& read) const {
  const std::lock_guard lock(mutex_);
  if (!attachment_) return reason_;
  read({*attachment_, before_, now_, heartbeats_});
  return std::nullopt;
}

void Observer::with_history(const std::function<void(const History&)>& read) const {
  const std::lock_guard lock(mutex_);
  read(history_);
}

}  // namespace stem::cli
