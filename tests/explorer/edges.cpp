#include "edges.hpp"

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace explorer {

// The machine knows neither loads that return what is stored later nor two orders of one location's stores; and it sees
// no plain fields. What needs those has no scene here, and docs/memory-ordering.md says why.
const std::vector<Edge>& edges() {
  static const std::vector<Edge> all = {
      {"control.read", "ControlLook", {{"shm/transitions.hpp", "ControlWord(bits_.load("}}},
      {"control.change", "ControlClaim", {{"shm/transitions.hpp", "bits_.compare_exchange_strong("}}},
      {"control.recheck", "LateLook", {{"shm/transitions.hpp", "std::atomic_thread_fence("}}},
      {"control.recheck", "LateLook", {{"shm/participant.cpp", "std::atomic_thread_fence("}}},
      {"ring.publish", "RingPushPushPop", {{"shm/ring.hpp", "cell.compare_exchange_strong(was"}}},
      {"ring.publish", "SleepOverInbox", {{"shm/ring.hpp", "const HintCell cell(header_->cells[position"}}},
      {"ring.head", "SleepOverFullRing", {{"shm/ring.hpp", "header_->head.compare_exchange_strong(from"}}},
      // Either of the two carries what the other does.
      {"ring.head",
       "RingTailMoved",
       {{"shm/ring.hpp", "header_->head.compare_exchange_strong(from"},
        {"shm/ring.hpp", "header_->tail.compare_exchange_strong(from"}}},
      {"ring.tail", "", {}},
      {"returns.tail", "ReturnedSlots", {{"shm/participant.hpp", "returns_->tail.store("}}},
      {"lane.mark",
       "LaneMark",
       {{"src/engine/lanes.cpp", "if ((lanes.load("}, {"src/engine/lanes.cpp", "lanes.fetch_and(~bit"}}},
      {"lane.ring",
       "LaneFirstRing",
       {{"src/engine/lanes.cpp", "return segment_.queue(id).rings[priority].load("},
        {"src/engine/lanes.cpp", "where.compare_exchange_strong(expected"}}},
      {"lane.ring",
       "LaneGrows",
       {{"src/engine/lanes.cpp", "return segment_.queue(id).rings[priority].load("},
        {"src/engine/lanes.cpp", "where.compare_exchange_strong(expected"}}},
      {"sleep.announce",
       "SleepOverTask",
       {{"shm/doorbell.cpp", "sleepers[self.index() / 64].fetch_or("},
        {"shm/doorbell.hpp", "h.sleepers[w].load("},
        {"shm/doorbell.cpp", "h.sleepers[w].load("}}},
      {"segment.ready", "", {}},
      {"roster.live",
       "RosterJoin",
       {{"shm/participant.cpp", "row.status.store(row_status(incarnation, RowState::kLive)"}}},
      {"op.record",
       "ProducerDies",
       {{"shm/participant.hpp", "row_->op.store(op.bits()"},
        {"shm/participant.hpp", "row_->op_counter.store("},
        {"shm/participant.hpp", "row_->op_count.store("}}},
      {"tagged.write", "", {}},
      {"block.take",
       "LateLookInBlock",
       {{"shm/blocks.hpp", "h->tag.compare_exchange_strong(from"}, {"shm/blocks.hpp", "std::atomic_thread_fence("}}},
      {"block.give", "BlockLives", {{"shm/blocks.cpp", "if (!h->tag.compare_exchange_strong(tag, 0"}}},
      {"keeper.due", "KeeperDue", {{"src/engine/keeper.cpp", "segment_.header().keeper_due_ns.store("}}},
      {"limiter.place",
       "LimitLowered",
       {{"src/engine/limiter.cpp", "r.holders[i].compare_exchange_strong(holder, mine"}}},
      {"limiter.permits",
       "PermitLowered",
       {{"src/engine/limiter.cpp", "r->permits.load(std::memory_order_seq_cst);"},
        {"src/engine/limiter.cpp", "if (r->permits.load("},
        {"src/engine/shared_limits.cpp", "at(row).permits.store(permits, std::memory_order_seq_cst)", 0},
        {"src/engine/shared_limits.cpp", "at(row).permits.store(permits, std::memory_order_seq_cst)", 1}}},
      {"limiter.batch", "", {}},
      {"limiter.call",
       "CallDropped",
       {{"src/engine/limiter.cpp", "r.wanted.fetch_add("},
        {"src/engine/limiter.cpp", "(calls.load("},
        {"src/engine/shared_limits.cpp", "call_word(row).fetch_and("},
        {"src/engine/shared_limits.cpp", "at(row).wanted.load(std::memory_order_seq_cst)"}}},
      {"unique.turn", "UniqueTwice", {{"src/engine/unique.cpp", "b->turn.compare_exchange_strong(expected, proposal"}}},
      {"run.acked",
       "RunRecorded",
       {{"src/engine/engine.hpp", "self_.row().acked.store("}, {"src/engine/recovery.cpp", "row.acked.load("}}},
      {"run.mask",
       "RunCommitted",
       {{"src/engine/run.cpp", "d.due.compare_exchange_strong(bits, lifted.bits()"},
        {"src/engine/run.cpp", "if (!d.due.compare_exchange_strong(bits, bits | bit"},
        {"src/engine/run.cpp", "!d.due.compare_exchange_strong(bits, bits | acked"}}},
      {"crash.record", "", {}},
      {"tick.turn",
       "TickTwice",
       {{"src/engine/tick.cpp", "schedule.turn.compare_exchange_strong(expected, mine.bits()"}}},
      {"journal.mark",
       "JournalMarked",
       {{"shm/journal_line.hpp", "marks_[slot / 64].fetch_or("},
        {"shm/journal_line.hpp", "if ((above.load("},
        {"shm/journal_line.cpp", "summary_[line / 64].fetch_and("},
        {"shm/journal_line.cpp", "marks[word] = from.load("}}},
      {"journal.rest",
       "JournalRests",
       {{"shm/journal_line.cpp", "if (h.journal_rest.load("},
        {"shm/journal_line.cpp", "h.journal_rest.store(static_cast<std::uint32_t>(rest)"}}},
      {"journal.durable",
       "JournalCommits",
       {{"shm/journal_line.cpp", "h.journal_durable.load("}, {"shm/journal_line.cpp", "h.journal_durable.store("}}},
      {"journal.awaited",
       "JournalAwaited",
       {{"shm/journal_line.cpp", "!awaited.compare_exchange_weak(latest, position"},
        {"shm/journal_line.cpp", "std::uint64_t awaited = h.journal_awaited.load("},
        {"shm/journal_line.cpp", "bool awaited = h.journal_awaited.load("}}},
      {"event.cell",
       "EventCellTurned",
       {{"shm/event_log.cpp", "std::atomic_thread_fence(std::memory_order_release)"},
        {"shm/event_log.cpp", "std::atomic_thread_fence(std::memory_order_acquire)"}}},
      // Of floors that are not compiled here.
      {"schedule.definition", "", {}},
      {"journal.looks", "", {}},
      {"remote.request", "", {}},
      {"remote.reply", "", {}},
  };
  return all;
}

std::vector<Weakened> lines_of(const std::vector<Place>& places) {
  std::vector<Weakened> found;
  for (const Place& place : places) {
    std::ifstream file(std::string(STEM_SOURCE_DIR) + "/" + std::string(place.file));
    std::string line;
    int nth = 0;
    std::size_t before = found.size();
    for (std::uint32_t number = 1; std::getline(file, line); ++number) {
      if (line.find(place.text) == std::string::npos) continue;
      if (nth++ != place.nth) continue;
      // A call that goes on for some lines has its place in any of them.
      std::uint32_t last = number;
      while (line.find(';') == std::string::npos && line.find('{') == std::string::npos && std::getline(file, line))
        ++last;
      found.push_back({place.file, number > 1 ? number - 1 : 1, last});
      number = last;
    }
    if (found.size() != before + 1)
      throw std::runtime_error(std::string(place.file) + " has no place (or several) with: " + std::string(place.text));
  }
  return found;
}

}  // namespace explorer
