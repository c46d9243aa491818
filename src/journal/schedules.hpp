// What the journal last said of the schedules: the writer's memory of them, as the shadow is of the slots.
//
// Not thread-safe.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "beat/store.hpp"
#include "journal/batch.hpp"

namespace stem::journal {

class Schedules {
 public:
  explicit Schedules(engine::Engine& engine) : store_(engine) {}

  // The journal has entries of these ids: those that are gone meanwhile are said to be removed.
  void expect(std::set<std::string> ids) { expected_ = std::move(ids); }
  // It has one that this program cannot read (of a newer one, or of a zone that is not installed here): it stays in the
  // journal as it is, until one of this id is put anew.
  void keep(const std::string& id, std::string_view definition, std::int64_t fired_ns) {
    kept_[id] = {std::string(definition), fired_ns, 0};
  }
  // Appends what differs, as long as `room()`; false when there was no room for all of it: to be called again. The mark
  // of a tick is said once its call has been answered with true twice, with a look at every slot in between: by then
  // the tick's task has been said, or is over.
  template <class Room>
  bool look(Batch& batch, const Room& room) {
    for (; cursor_ < store_.row_total(); ++cursor_) {
      if (!room()) return false;
      look_at(batch, cursor_);
      mark(batch, cursor_);
    }
    if (!say_kept(batch, 0, room)) return false;
    cursor_ = 0;
    if (std::exchange(one_was_changing_, false)) return true;  // what was not read is not gone
    for (const std::string& id : expected_) remove(batch, id, kNobody);
    expected_.clear();
    rounds_ = std::min(rounds_ + 1, kWholeRounds);
    return true;
  }
  // Of a tick whose task is being said: in the same batch, so that both survive or neither.
  void tick(Batch& batch, std::uint32_t row, std::int64_t planned_ns);
  // A write failed: everything is said again; a mark not before its tick's task.
  void doubt();

  // ---- files
  // What was appended since the last call lies in this file.
  void written(std::uint64_t sequence);
  // Says again what lies in this file or an older one, as long as `room()`; true when nothing does any more.
  template <class Room>
  bool again(Batch& batch, std::uint64_t sequence, const Room& room) {
    if (rounds_ < kWholeRounds) return false;
    for (std::uint32_t row = 0; row < said_.size(); ++row) {
      if (!said_[row].lies_in(sequence)) continue;
      if (!room()) return false;
      said_[row].word = 0;
      look_at(batch, row);
    }
    if (!say_kept(batch, sequence, room)) return false;
    return std::none_of(said_.begin(), said_.end(), [sequence](const Said& s) { return s.lies_in(sequence); });
  }

 private:
  static constexpr std::uint32_t kNobody = ~0u;
  static constexpr int kWholeRounds = 2;
  static constexpr std::uint64_t kOnItsWay = ~std::uint64_t{0};
  struct Said {
    std::uint64_t word = 0;  // DefinitionWord; 0 = nothing was said
    std::string id;
    std::int64_t fired_ns = 0;  // the mark that was said
    std::int64_t seen_ns = 0;   // the mark at the last look
    std::uint64_t sequence = 0;

    bool lies_in(std::uint64_t file) const { return !id.empty() && sequence <= file; }
  };

  struct Kept {
    std::string definition;
    std::int64_t fired_ns = 0;
    std::uint64_t sequence = 0;
  };

  // Says those again that lie in this file or an older one; false when there was no room for all.
  template <class Room>
  bool say_kept(Batch& batch, std::uint64_t sequence, const Room& room) {
    for (auto& [id, kept] : kept_) {
      if (kept.sequence > sequence) continue;
      if (!room()) return false;
      say_one_kept(batch, id, kept);
    }
    return true;
  }
  void say_one_kept(Batch& batch, const std::string& id, Kept& kept);
  void look_at(Batch& batch, std::uint32_t row);
  void mark(Batch& batch, std::uint32_t row);
  void say(Batch& batch, std::uint32_t row, shm::DefinitionWord word, const std::string& definition);
  void remove(Batch& batch, const std::string& id, std::uint32_t row);

  beat::ScheduleStore store_;
  std::vector<Said> said_;                       // by row
  std::map<std::string, std::uint32_t> row_of_;  // who said an id last: an entry may move to another row
  std::set<std::string> expected_, removed_;
  std::map<std::string, Kept> kept_;
  std::vector<std::uint32_t> on_their_way_;
  std::uint32_t cursor_ = 0;
  bool one_was_changing_ = false;  // and could not be read in this round
  int rounds_ = 0;                 // since a doubt: of the first on each has been said, of the second its mark
};

}  // namespace stem::journal
