// What a journal says is alive, gathered record by record. A slot's generations only go up, so the newest that began and
// the newest that ended decide; of one generation the last record does. (Its queue may have had no journal for a while;
// and so the file with an end may go, whatever the younger ones say of that life.)
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/queue_settings.hpp"
#include "journal/reader.hpp"
#include "journal/records.hpp"

namespace stem::journal {

struct Life {
  std::uint64_t began = 0;                  // generation of the newest image; 0 = none
  std::uint64_t ended = 0;                  // the newest generation that is over
  std::uint64_t sequence = 0;               // file of the image
  std::uint32_t slot = 0;                   // whose lives these are
  bool over = false;                        // what is alive is its result
  bool run = false;                         // it is a run, of which `items_over` are over
  std::uint16_t items_over = 0;             // bits
  std::span<const std::byte> image, state;  // bodies; they live as long as the contents that were read
  bool alive() const { return began > ended; }
  // That generation is said to be there: behind its end, too.
  void live_again(std::uint64_t generation) {
    if (ended == generation) --ended;
  }
  // Tasks, or a result.
  std::uint32_t count() const;
};

// What the journal says of slots: of those that it speaks of, in the order in which it first does. Takes memory for
// these alone, so a slot number that somebody made up costs no more than another.
class Lives {
 public:
  // That of a slot, which is made when it is not there; until the next call.
  Life& of(std::uint32_t slot);
  // nullptr: the journal does not speak of it.
  Life* find(std::uint32_t slot);
  std::size_t size() const { return lives_.size(); }
  auto begin() { return lives_.begin(); }
  auto end() { return lives_.end(); }
  auto begin() const { return lives_.begin(); }
  auto end() const { return lives_.end(); }

 private:
  std::uint32_t& place_of(std::uint32_t slot);
  void grow();

  std::vector<Life> lives_;
  std::vector<std::uint32_t> places_;  // open addressing by slot: index in lives_, + 1; 0 = free
};

// Tasks of one segment.
struct Epoch {
  Lives lives;
  std::unordered_map<std::uint32_t, std::string> queues, tasks;
};

// An entry of the schedules; one without a definition is none (it was removed, or only its tick is known).
struct Schedule {
  std::string_view definition;  // lives as long as the contents that were read
  std::int64_t fired_ns = 0;    // planned time of its last tick; 0 = none
};

class LiveSet {
 public:
  // False when the record makes no sense.
  bool apply(const Record& record);
  // Once all has been read: items of runs that are tasks of their own, or were, in whatever segment, are over. (Power
  // went before the run's record said so.)
  void fold_moved_items();

  const std::map<std::uint32_t, Epoch>& epochs() const { return epochs_; }
  const std::map<std::string, engine::QueueSettings>& queues() const { return queues_; }
  const std::map<std::string, Schedule>& schedules() const { return schedules_; }
  // Tasks; and results of those that are over.
  std::uint64_t alive() const { return count(/*over=*/false); }
  std::uint64_t results() const { return count(/*over=*/true); }

 private:
  bool apply_names(std::span<const std::byte> body);
  bool apply_queue(std::span<const std::byte> body);
  bool apply_settings(std::span<const std::byte> body);
  bool apply_schedule(std::span<const std::byte> body);
  bool apply_tick(std::span<const std::byte> body);
  std::uint64_t count(bool over) const;
  Life* life_of(std::span<const std::byte> body, TaskKey& key);

  std::map<std::uint32_t, Epoch> epochs_;
  std::map<std::string, engine::QueueSettings> queues_;
  std::map<std::string, Schedule> schedules_;
};

}  // namespace stem::journal
