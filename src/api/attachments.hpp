// One thread's attachments to segments: each a participant, an engine and a producer. Made on first use,
// destroyed at the thread's end, on that thread, as a participant must be.
#pragma once

#include <cstdint>
#include <memory>

#include "api/producer.hpp"
#include "shm/participant.hpp"

namespace stem::api {

class Attachment {
 public:
  explicit Attachment(std::unique_ptr<shm::Participant> participant)
      : participant_(std::move(participant)), engine_(*participant_), producer_(engine_) {}
  Producer& producer() noexcept { return producer_; }
  engine::Engine& engine() noexcept { return engine_; }

 private:
  std::unique_ptr<shm::Participant> participant_;
  engine::Engine engine_;
  Producer producer_;
};

// Grows by one in every forked child: what was attached before the fork is the parent's.
std::uint64_t fork_generation() noexcept;

// The calling thread's. `serial` names a client of this process.
Attachment* find_attachment(std::uint64_t serial) noexcept;
Attachment* keep_attachment(std::uint64_t serial, std::weak_ptr<void> client, std::unique_ptr<Attachment> made);
void drop_attachment(std::uint64_t serial) noexcept;

}  // namespace stem::api
