// What a journal says is alive, gathered record by record. The order of records does not matter for what is over: a
// slot's generations only go up, so the newest that began and the newest that ended decide.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "journal/reader.hpp"
#include "journal/records.hpp"

namespace stem::journal {

struct Life {
  std::uint64_t began = 0;                  // generation of the newest image; 0 = none
  std::uint64_t ended = 0;                  // the newest generation that is over
  std::uint64_t sequence = 0;               // file of the image
  std::span<const std::byte> image, state;  // bodies; they live as long as the contents that were read
  bool alive() const { return began > ended; }
};

// Tasks of one segment.
struct Epoch {
  std::vector<Life> slots;
  std::unordered_map<std::uint32_t, std::string> queues, tasks;
};

class LiveSet {
 public:
  // False when the record makes no sense.
  bool apply(const Record& record);

  const std::map<std::uint32_t, Epoch>& epochs() const { return epochs_; }
  // Settings of queues by name: shm::Durability.
  const std::map<std::string, std::uint32_t>& queues() const { return queues_; }
  std::uint64_t alive() const;

 private:
  bool apply_names(std::span<const std::byte> body);
  bool apply_queue(std::span<const std::byte> body);
  Life* life_of(std::span<const std::byte> body, TaskKey& key);

  std::map<std::uint32_t, Epoch> epochs_;
  std::map<std::string, std::uint32_t> queues_;
};

}  // namespace stem::journal
