#include "tools/stem/segment/usage.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "shm/death.hpp"
#include "shm/names.hpp"

namespace stem::cli {
namespace {

using shm::Offset;
using shm::State;

// What the kernel calls data in [begin, end) of the file. Memory that is reserved and was not yet written
// is a hole to it.
std::uint64_t written_bytes(int descriptor, Offset begin, Offset end) {
  std::uint64_t bytes = 0;
  auto at = static_cast<off_t>(begin);
  const auto last = static_cast<off_t>(end);
  while (at < last) {
    const off_t data = ::lseek(descriptor, at, SEEK_DATA);
    if (data < 0 || data >= last) break;
    const off_t hole = std::min(::lseek(descriptor, data, SEEK_HOLE), last);
    if (hole <= data) break;
    bytes += static_cast<std::uint64_t>(hole - data);
    at = hole;
  }
  return bytes;
}

struct Counted {
  std::string_view holds;
  std::uint64_t used = 0;
  std::uint64_t room = 0;
};

struct Section {
  std::string_view name;
  Offset offset;
  Counted counted = {};
};

// Participants that have noted an event.
std::uint64_t event_rings(const shm::Segment& segment) {
  std::uint64_t rings = 0;
  for (std::uint32_t i = 0; i < segment.rows_used(); ++i)
    rings += segment.row(i).events_next.load(std::memory_order_acquire) != 0;
  return rings;
}

std::vector<Section> sections_of(const shm::Segment& segment) {
  const shm::Layout& l = segment.layout();
  const shm::Geometry& g = segment.geometry();
  const shm::Header& h = segment.header();
  const auto now = [](const auto& word) { return std::uint64_t{word.load(std::memory_order_acquire)}; };
  std::vector<Section> sections{
      {"header", 0},
      {"queue keys", l.queue_keys},
      {"queues", l.queues, {"queues", shm::queue_total(segment), g.queue_count}},
      {"task keys", l.task_keys},
      {"task names", l.tasks, {"names", shm::task_total(segment), g.task_count}},
      {"roster",
       l.roster,
       {"rows", std::min<std::uint64_t>(now(h.roster_used), g.participant_count), g.participant_count}},
      {"subscriptions", l.subscriptions},
      {"counters", l.counters},
      {"wait histograms", l.wait_histograms},
      {"task histograms", l.task_histograms},
      {"unique keys", l.unique, {"", 0, 0}},
      {"limiters", l.limiters},
      {"limiter calls", l.limiter_calls},
      {"superblocks", l.superblock_rows},
      {"block hints", l.block_rings},
      {"return rings", l.returns},
      {"inboxes", l.inboxes},
      {"free ring", l.free_ring},
      {"delayed hints", l.delayed},
      {"slab", l.slab, {"slots", std::min<std::uint64_t>(now(h.slab_used), g.slot_count), g.slot_count}},
      {"ready rings", l.rings, {"bytes", now(h.ring_used_bytes), g.ring_bytes}},
      {"payload blocks",
       l.blocks,
       {"superblocks", std::min<std::uint64_t>(now(h.superblocks_used), l.superblock_count), l.superblock_count}},
      {"schedules", l.schedules, {"rows", segment.schedule_total(), shm::kScheduleRows}},
      {"journal marks", l.journal},
      {"former ids", l.former},
      {"events", l.events, {"rings", event_rings(segment), g.participant_count}},
      {"gateway figures", l.gateway},
  };
  std::stable_sort(sections.begin(), sections.end(),
                   [](const Section& a, const Section& b) { return a.offset < b.offset; });
  return sections;
}

}  // namespace

std::vector<SectionUse> section_use(const shm::Segment& segment) {
  const std::vector<Section> sections = sections_of(segment);
  std::vector<SectionUse> uses;
  for (std::size_t i = 0; i < sections.size(); ++i) {
    const Section& section = sections[i];
    const Offset end = i + 1 < sections.size() ? sections[i + 1].offset : segment.layout().total_bytes;
    uses.push_back({.name = section.name,
                    .holds = section.counted.holds,
                    .used = section.counted.used,
                    .room = section.counted.room,
                    .written_bytes = written_bytes(segment.fd(), section.offset, end),
                    .size_bytes = end - section.offset});
  }
  return uses;
}

std::uint64_t SlotCounts::tasks() const {
  std::uint64_t all = unknown;
  for (const std::uint64_t count : by_state) all += count;
  return all - of(State::kFree) - of(State::kAlloc);
}

std::uint64_t SlotCounts::unfinished() const {
  return of(State::kReady) + of(State::kDelayed) + of(State::kWaiting) + of(State::kLeased) + of(State::kOutbox);
}

SlotCounts count_slots(const shm::Segment& segment) {
  SlotCounts counts;
  const auto used = segment.slots_used();
  for (std::uint32_t slot = 0; slot < used; ++slot) {
    const shm::ControlWord word = segment.descriptor(slot).control.load();
    if (word.legal_state()) {
      ++counts.by_state[static_cast<int>(word.state())];
    } else {
      ++counts.unknown;
    }
  }
  counts.by_state[static_cast<int>(State::kFree)] += segment.geometry().slot_count - used;
  return counts;
}

std::vector<Attached> attached_to(const shm::Segment& segment, std::uint32_t without) {
  std::vector<Attached> all;
  const std::uint64_t keeper = segment.header().keeper.load(std::memory_order_acquire);
  const std::uint32_t rows = segment.rows_used();
  for (std::uint32_t i = 0; i < rows; ++i) {
    shm::RosterRow& row = segment.row(i);
    const std::uint64_t status = row.status.load(std::memory_order_acquire);
    const shm::RowState state = shm::row_state(status);
    if (i == without || state == shm::RowState::kFree) continue;
    Attached one;
    one.participant = i;
    one.name.assign(row.name, ::strnlen(row.name, sizeof row.name));
    one.role = static_cast<shm::Role>(row.role.load(std::memory_order_relaxed));
    one.pid = row.pid;
    one.alive = state != shm::RowState::kDead && !shm::signalled_dead(row);
    one.keeper = keeper == (shm::row_incarnation(status) << shm::kOwnerBits | (i + 1));
    all.push_back(std::move(one));
  }
  return all;
}

std::string_view to_string(shm::Role role) {
  switch (role) {
    case shm::Role::kNone: return "none";
    case shm::Role::kClient: return "client";
    case shm::Role::kWorker: return "worker";
    case shm::Role::kSupervisor: return "supervisor";
    case shm::Role::kTool: return "tool";
    case shm::Role::kGateway: return "gateway";
    case shm::Role::kBeat: return "beat";
  }
  return "unknown";
}

}  // namespace stem::cli
