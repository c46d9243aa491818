#include "tools/stem/dashboard/observer.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.hpp"

namespace stem::cli {
namespace {

constexpr std::int64_t kIntervalNs = 1'000'000'000;
constexpr std::int64_t kFirstGapNs = 250'000'000;
constexpr std::int64_t kLongestIntervalNs = 30'000'000'000;
constexpr unsigned kAllParts = kQueuePart | kWorkerPart | kTaskPart;

// The whole mapping, but the pages with our row: its heartbeat is ours to write, and the kernel's mark at our death.
// Where the kernel does not let us, the mapping stays as everybody has it.
void allow_writing(const Attachment& attachment, bool allowed) {
  const shm::Segment& segment = attachment.segment();
  const auto protect = [&segment](std::uint64_t first, std::uint64_t last, int rights) {
    return ::mprotect(segment.base() + first, last - first, rights) == 0;
  };
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t all = segment.layout().total_bytes;
  const std::uint64_t row = segment.offset_of(&segment.row(attachment.participant()));
  const std::uint64_t first = row / page * page;
  const std::uint64_t last = (row + sizeof(shm::RosterRow) + page - 1) / page * page;
  if (!allowed && protect(0, first, PROT_READ) && protect(last, all, PROT_READ)) return;
  (void)protect(0, all, PROT_READ | PROT_WRITE);
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
  before_ = now_;
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
  // Rates are of two looks that lie apart.
  if (!attachment_) return open() ? kFirstGapNs : kIntervalNs;
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
