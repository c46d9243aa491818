#include "journal/schedules.hpp"

#include <algorithm>

#include "journal/image.hpp"

namespace stem::journal {

using shm::DefinitionWord;

void Schedules::look_at(Batch& batch, std::uint32_t row) {
  if (row >= said_.size()) said_.resize(row + 1);
  Said& said = said_[row];
  const DefinitionWord word = store_.word_of(row);
  if (word.bits() == said.word) return;
  const auto definition = store_.definition(row, word);
  if (!definition && word.has_entry()) {  // it is being changed: the next look; or makes no sense
    one_was_changing_ |= store_.word_of(row).bits() != word.bits();
    return;
  }
  const auto id = definition ? beat::ScheduleStore::id_of(*definition) : std::nullopt;
  if (!said.id.empty() && id != said.id) remove(batch, said.id, row);
  if (!id || id->empty()) {
    said = {};
    return;
  }
  if (said.id != *id) said = {};
  said.id = *id;
  say(batch, row, word, *definition);
}

// Says the mark that stood there at the last look; what has come since waits for the next.
void Schedules::mark(Batch& batch, std::uint32_t row) {
  Said& said = said_[row];
  if (said.id.empty()) return;
  if (said.seen_ns > said.fired_ns) {
    said.fired_ns = said.seen_ns;
    append_tick(batch, said.id, said.fired_ns);
  }
  // Decision list: of an entry that has taken the row meanwhile it is none of ours; while its turn is open, its task may
  // still wait where a look at the slots passes over it.
  const shm::ScheduleRow& cells = store_.engine().segment().schedule(row);
  const std::int64_t seen_ns = cells.fired_ns.load(std::memory_order_acquire);
  if (store_.word_of(row).bits() != said.word) return;
  if (shm::TurnWord(cells.turn.load(std::memory_order_acquire)).open()) return;
  said.seen_ns = seen_ns;
}

void Schedules::say_one_kept(Batch& batch, const std::string& id, Kept& kept) {
  append_schedule(batch, id, kept.definition);
  if (kept.fired_ns != 0) append_tick(batch, id, kept.fired_ns);
  kept.sequence = kOnItsWay;
}

void Schedules::say(Batch& batch, std::uint32_t row, DefinitionWord word, const std::string& definition) {
  Said& said = said_[row];
  append_schedule(batch, said.id, definition);
  if (said.fired_ns != 0) append_tick(batch, said.id, said.fired_ns);  // said before: a file stands by itself
  said.word = word.bits();
  said.sequence = kOnItsWay;
  row_of_[said.id] = row;
  expected_.erase(said.id);
  removed_.erase(said.id);
  kept_.erase(said.id);
  on_their_way_.push_back(row);
}

void Schedules::remove(Batch& batch, const std::string& id, std::uint32_t row) {
  const auto owner = row_of_.find(id);
  if (owner != row_of_.end() && owner->second != row) return;  // it lives on in another row
  if (owner != row_of_.end()) row_of_.erase(owner);
  append_schedule(batch, id, {});
  removed_.insert(id);
}

void Schedules::tick(Batch& batch, std::uint32_t row, std::int64_t planned_ns) {
  if (row >= store_.row_total()) return;
  if (row >= said_.size() || said_[row].word == 0 || said_[row].word != store_.word_of(row).bits()) look_at(batch, row);
  if (row >= said_.size() || said_[row].id.empty() || planned_ns <= said_[row].fired_ns) return;
  // Of an entry that had the row before: the one that has it now was not fired as late as that, if ever.
  if (planned_ns > store_.engine().segment().schedule(row).fired_ns.load(std::memory_order_acquire)) return;
  said_[row].fired_ns = planned_ns;
  append_tick(batch, said_[row].id, planned_ns);
}

void Schedules::doubt() {
  // A mark that stands in an older file only repeats itself; one that was on its way waits until its task has been said.
  for (Said& said : said_) {
    said.word = said.sequence = 0;
    said.fired_ns = said.seen_ns = 0;
  }
  for (auto& [id, kept] : kept_) kept.sequence = 0;
  on_their_way_.clear();
  for (const std::string& id : removed_) expected_.insert(id);
  cursor_ = 0;
  one_was_changing_ = false;
  rounds_ = 0;
}

void Schedules::written(std::uint64_t sequence) {
  for (const std::uint32_t row : on_their_way_)
    if (said_[row].sequence == kOnItsWay) said_[row].sequence = sequence;
  on_their_way_.clear();
  for (auto& [id, kept] : kept_)
    if (kept.sequence == kOnItsWay) kept.sequence = sequence;
}

}  // namespace stem::journal
