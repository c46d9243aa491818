// The ready rings of all queues, as one participant sees them: views made on first use, replaced when a
// ring has grown. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "shm/participant.hpp"
#include "shm/ring.hpp"

namespace stem::engine {

class Lanes {
 public:
  explicit Lanes(shm::Segment& segment);

  // Pushes a hint and marks the lane as worth looking at. A hint that finds no room even after growing
  // is dropped: the patrol will find the task.
  void push(std::uint32_t queue, std::uint32_t priority, std::uint64_t generation, std::uint32_t slot) noexcept;
  // Same for several tasks of one lane.
  void push_many(std::uint32_t queue, std::uint32_t priority, const shm::HintCell* hints, std::uint32_t count) noexcept;

  // The ring to claim from: the oldest of the lane that still has hints. Null when the lane has no ring.
  shm::Ring* oldest(std::uint32_t queue, std::uint32_t priority) noexcept;
  // Called when `oldest` had nothing: clears the lane's mark, looks once more, and says whether it was so.
  bool mark_empty(std::uint32_t queue, std::uint32_t priority) noexcept;

  // True when a marked lane of the queue has a hint at its head. For who spins: a few loads of lines that stay
  // in his cache until somebody pushes.
  bool has_hint(std::uint32_t queue) noexcept;
  // Asks for the lines of a task that is about to be claimed.
  void fetch(std::uint32_t slot) const noexcept;
  // Clears the marks of all empty lanes; for who is about to sleep and then goes by the marks.
  void clear_marks(std::uint32_t queue) noexcept;

  std::uint64_t queued(std::uint32_t queue) noexcept;  // hints in all lanes: an estimate

 private:
  struct Lane {
    std::uint64_t ref = 0;  // RingRef bits the view was made from
    shm::Ring ring;
    std::uint32_t empty_looks = 0;
  };
  static constexpr std::uint32_t kEmptyLooks = 256;
  struct Queue {
    std::array<Lane, shm::kPriorities> lanes;
    shm::Ring previous;  // scratch view for the ring that `oldest` drains first
  };

  Queue& queue(std::uint32_t id) {
    if (id != last_id_ || last_ == nullptr) [[unlikely]]
      select(id);
    return *last_;
  }
  void select(std::uint32_t id);
  std::uint64_t ring_ref(std::uint32_t id, std::uint32_t priority) const noexcept;
  shm::Ring& current(Queue& queue, std::uint32_t id, std::uint32_t priority) noexcept;
  // A larger ring in place of `full` (0 = the first). False when there is no room.
  bool grow(std::uint32_t id, std::uint32_t priority, std::uint64_t full) noexcept;
  bool view(std::uint64_t ref, shm::Ring& ring) const noexcept;
  void mark(std::uint32_t id, std::uint32_t priority) noexcept;
  bool clear(std::uint32_t id, std::uint32_t priority) noexcept;

  shm::Segment& segment_;
  std::vector<std::unique_ptr<Queue>> queues_;
  std::uint32_t last_id_ = ~0u;
  Queue* last_ = nullptr;
  std::uint64_t hinted_ = 0;  // the hint that has_hint() saw last
  // A ring region that lost the race to be published, kept for the next growth.
  shm::RingRef spare_;
};

}  // namespace stem::engine
