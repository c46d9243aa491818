// A small segment with participants and their engines, for scenes. The segment is made once; each execution writes into
// it through the machine, which undoes that; engines are made anew for each.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "exchange.hpp"
#include "machine.hpp"
#include "shm/participant.hpp"

namespace explorer {

inline constexpr std::int64_t kNow = 1'000'000'000'000;  // of scenes; their segment was made a second before

class World : public Play {
 public:
  explicit World(int participants, std::uint32_t slots = 64);
  ~World() override;

  void begin() override;   // to be called first by who overrides it
  void forget() override;  // ... last
  int actors() const override { return static_cast<int>(participants_.size()); }
  // A participant's process is killed: its thread's robust mutex is marked, its byte lock can be had.
  void died(int actor) override;

 protected:
  stem::shm::Segment& segment() { return *segment_; }
  stem::shm::Participant& self(int i) { return *participants_[static_cast<std::size_t>(i)]; }
  stem::engine::Engine& engine(int i) { return *engines_[static_cast<std::size_t>(i)]; }
  stem::shm::Descriptor& descriptor(std::uint32_t slot) { return segment_->descriptor(slot); }

  stem::engine::EnqueueResult enqueue(int i, const std::uint64_t& payload, std::int64_t due_ns = 0,
                                      const stem::engine::TaskExtras* extras = nullptr);
  // A lease of the next task; slot ~0 when there is none.
  stem::engine::Lease claim(int i);
  // What is left of the reserve and of the slab, so that the next slot is one that somebody gives back.
  void take_all_slots(int i);
  std::uint64_t counted(stem::shm::Counter counter);
  static std::uint64_t word_of(std::span<const std::byte> payload);

 private:
  std::shared_ptr<stem::shm::Segment> segment_;
  std::vector<std::unique_ptr<stem::shm::Participant>> participants_;
  std::vector<std::vector<std::byte>> as_joined_;
  std::vector<stem::engine::Engine*> engines_;
  std::vector<std::unique_ptr<std::byte[]>> rooms_;
  std::vector<std::uint32_t*> killed_;
};

}  // namespace explorer
