// Fires the schedules that hosts share: a tick's task goes straight into its queue's stream, in the same step in which
// the entry's last fired time moves. So there is no moment at which one is done and the other is not, whoever is killed
// or stopped, and of two who fire the same tick one is refused. In a Redis Cluster, where the two lie on different
// nodes, the tick is written down in that step, and whoever looks next takes it to its stream if the first did not.
#pragma once

#include <memory>
#include <unordered_map>

#include "beat/board.hpp"
#include "federation/shared_schedules.hpp"
#include "federation/signing.hpp"
#include "federation/transcript.hpp"

namespace stem::federation {

// The id of a tick's task: the same for everybody who would fire it.
std::string tick_id(std::string_view schedule, std::int64_t planned_ns);

class SharedBoard final : public beat::Board {
 public:
  struct Options {
    std::int64_t look_ns = 1'000'000'000;  // how often to look for changed entries
    std::string host;                      // for the history
    std::shared_ptr<const Signer> signer;  // nullptr: tasks are not signed
  };

  // The segment lends its names to the maker; no task gets a slot there.
  SharedBoard(SharedSchedules& schedules, shm::Segment& segment, beat::TickMaker& maker, Options options)
      : schedules_(schedules), segment_(segment), transcript_(segment), maker_(maker), options_(std::move(options)) {}

  std::uint32_t row_total() override;
  std::uint64_t stamp_of(std::uint32_t row) override { return rows_[row].version; }
  std::optional<beat::StoredEntry> read(std::uint32_t row, std::uint64_t stamp) override;
  std::int64_t fired_ns(const beat::StoredEntry& stored) override { return rows_[stored.row].fired_ns; }
  beat::FireResult fire(const beat::StoredEntry& stored, const beat::Tick& tick, const beat::Now& now) override;
  void note(const beat::StoredEntry& stored, const beat::FireResult& result, std::int64_t drift_ns,
            const beat::Now& now) override;
  void note_skipped(const beat::StoredEntry& stored, std::uint64_t count) override;
  // The next look asks Redis: somebody else has fired meanwhile.
  void forget() { looked_ns_ = 0; }

 private:
  struct Row : SharedSchedules::Row {
    std::uint64_t unreadable = 0;  // this version makes no sense
    bool waits = false;            // a tick of it that its queue does not take; said already
  };

  void look();
  Result<std::string> ask_to_fire(const beat::StoredEntry& stored, const beat::Tick& tick, const beat::Now& now,
                                  const Envelope& envelope);
  Result<void> write(const engine::TaskSpec& spec, const beat::Tick& tick, const beat::Now& now, Envelope& into) const;
  void count(const beat::StoredEntry& stored, std::string_view what, std::uint64_t by);

  SharedSchedules& schedules_;
  shm::Segment& segment_;
  Transcript transcript_;
  beat::TickMaker& maker_;
  Options options_;
  std::vector<Row> rows_;
  std::unordered_map<std::string, std::uint32_t> row_of_;
  std::int64_t looked_ns_ = 0;
};

}  // namespace stem::federation
