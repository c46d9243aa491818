#include "engine/unique.hpp"

#include "base/random.hpp"
#include "engine/extension.hpp"
#include "shm/death.hpp"
#include "shm/prefetch.hpp"

namespace stem::engine {
namespace {

constexpr std::uint64_t kGenerationMask22 = (1u << 22) - 1;

struct Turn {
  std::uint64_t bits;
  std::uint64_t count() const { return bits >> 49; }
  std::uint32_t open_entry() const { return static_cast<std::uint32_t>(bits >> 46) & 7; }  // + 1; 0 = none
  std::uint64_t generation22() const { return bits >> 24 & kGenerationMask22; }
  std::uint32_t slot() const { return static_cast<std::uint32_t>(bits) & (shm::kMaxSlots - 1); }
  Turn propose(std::uint32_t entry, std::uint32_t slot, std::uint64_t generation) const {
    return {((count() + 1) & 0x7fff) << 49 | std::uint64_t{entry + 1} << 46 | (generation & kGenerationMask22) << 24 |
            slot};
  }
  Turn closed() const { return {count() << 49}; }
};

constexpr std::uint64_t entry_word(std::uint32_t slot, std::uint64_t generation) {
  return generation << shm::kSlotBits | slot;
}

}  // namespace

shm::UniqueBucket* Unique::place(std::uint64_t key) const noexcept {
  const std::uint64_t index = base::mix64(key) & (segment_.geometry().unique_buckets - 1);
  return segment_.at<shm::UniqueBucket>(segment_.layout().unique) + index;
}

void Unique::fetch(std::uint64_t key) const noexcept { shm::prefetch_write(place(key)); }

void Unique::fetch_holders(std::uint64_t key) const noexcept {
  const shm::UniqueBucket* b = bucket(key);
  if (b == nullptr) return;
  for (const auto& one : b->entries) {
    const std::uint64_t entry = one.load(std::memory_order_relaxed);
    if (entry == 0) continue;
    const auto slot = static_cast<std::uint32_t>(entry) & (shm::kMaxSlots - 1);
    if (slot < segment_.geometry().slot_count) shm::prefetch_read(&segment_.descriptor(slot));
  }
}

shm::UniqueBucket* Unique::bucket(std::uint64_t key) const noexcept {
  shm::UniqueBucket* const b = place(key);
  return segment_.commit_row(segment_.offset_of(b), sizeof *b) ? b : nullptr;
}

bool Unique::is_gone(std::uint32_t owner) const noexcept {
  if (owner == 0 || owner > segment_.geometry().participant_count) return true;
  shm::RosterRow& row = segment_.row(owner - 1);
  return shm::row_state(row.status.load(std::memory_order_acquire)) != shm::RowState::kLive || shm::signalled_dead(row);
}

// Whether an entry's task is alive and has `key` (or any key at all).
bool Unique::holds(std::uint64_t entry, std::uint64_t key, bool any_key, std::int64_t now_ns) const noexcept {
  if (entry == 0) return false;
  const auto slot = static_cast<std::uint32_t>(entry) & (shm::kMaxSlots - 1);
  if (slot >= segment_.geometry().slot_count) return false;
  const shm::Descriptor& d = segment_.descriptor(slot);
  const shm::ControlWord word = d.control.load();
  if (word.generation() != entry >> shm::kSlotBits) return false;
  switch (word.state()) {
    case shm::State::kFree:
    case shm::State::kDone:
    case shm::State::kRetiring:
    case shm::State::kDead:
    case shm::State::kSettling:
    case shm::State::kQuarantine: return false;
    case shm::State::kAlloc:
      // Not published yet, and never will be when its producer has died in between.
      if (is_gone(word.owner())) return false;
      break;
    default: break;
  }
  const std::uint32_t block = d.block;
  const auto bytes = block == 0
                         ? std::span<std::byte>{}
                         : blocks_.bytes(block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload));
  std::uint32_t offset = 0;
  const auto extras = read_extension(bytes, offset);
  const shm::ControlWord again = d.control.load();
  if (again.generation() != word.generation() || again.state() == shm::State::kFree) return false;
  if (!extras) return false;
  if (extras->unique_for_ns != 0 && extras->unique_for_ns <= now_ns) return false;
  return any_key ? extras->unique_key != 0 : extras->unique_key == key;
}

bool Unique::unpublished(std::uint64_t entry) const noexcept {
  const shm::ControlWord word =
      segment_.descriptor(static_cast<std::uint32_t>(entry) & (shm::kMaxSlots - 1)).control.load();
  return word.generation() == entry >> shm::kSlotBits && word.state() == shm::State::kAlloc;
}

// Carries an open proposal into its entry and closes the turn. Any number of participants may do it.
void Unique::complete(shm::UniqueBucket& b, std::uint64_t turn_bits) noexcept {
  const Turn turn{turn_bits};
  const std::uint32_t open = turn.open_entry();
  if (open == 0) return;
  if (turn.slot() >= segment_.geometry().slot_count) {  // nonsense in the segment must not hold the bucket up
    b.turn.compare_exchange_strong(turn_bits, turn.closed().bits, std::memory_order_acq_rel);
    return;
  }
  auto& entry = b.entries[open - 1];
  std::uint64_t old = entry.load(std::memory_order_acquire);
  if (b.turn.load(std::memory_order_acquire) != turn_bits) return;  // done by somebody else
  // The full generation is the slot's: the proposal has its lower bits. A slot that has moved on has given
  // the key up already, and its entry would be stale at once.
  const shm::ControlWord word = segment_.descriptor(turn.slot()).control.load();
  if ((word.generation() & kGenerationMask22) == turn.generation22())
    entry.compare_exchange_strong(old, entry_word(turn.slot(), word.generation()), std::memory_order_acq_rel);
  std::uint64_t expected = turn_bits;
  b.turn.compare_exchange_strong(expected, turn.closed().bits, std::memory_order_acq_rel);
}

UniqueAnswer Unique::acquire(std::uint64_t key, std::uint32_t slot, shm::ControlWord word,
                             std::int64_t now_ns) noexcept {
  shm::UniqueBucket* b = bucket(key);
  if (b == nullptr) return {UniqueStatus::kTableFull, 0};
  const std::uint64_t mine = entry_word(slot, word.generation());
  int patience = 4096;
  for (;;) {  // each failed round is another insert's progress
    const std::uint64_t turn = b->turn.load(std::memory_order_acquire);
    if (Turn{turn}.open_entry() != 0) {
      complete(*b, turn);
      continue;
    }
    std::uint32_t room = 7;
    bool changed = false;
    for (std::uint32_t i = 0; i < 7 && !changed; ++i) {
      const std::uint64_t entry = b->entries[i].load(std::memory_order_acquire);
      if (entry == mine) {  // a dead letter's, which is replayed: its own place will do
        room = i;
        continue;
      }
      if (holds(entry, key, false, now_ns)) {
        // A holder that is not published yet most likely will be within some instructions; if it is killed
        // before, its key is free and ours to take. A stopped one is believed.
        if (unpublished(entry) && patience-- > 0) {
          changed = true;
          continue;
        }
        // Believed only if no insert has happened since the turn was read.
        if (b->turn.load(std::memory_order_acquire) == turn) return {UniqueStatus::kHeld, entry};
        changed = true;
      } else if (room == 7 && !holds(entry, key, true, now_ns)) {
        room = i;
      }
    }
    if (changed) continue;
    if (room == 7) return {UniqueStatus::kTableFull, 0};
    std::uint64_t expected = turn;
    const std::uint64_t proposal = Turn{turn}.propose(room, slot, word.generation()).bits;
    // order(unique.turn): acq_rel; linearization of the insert: nothing was inserted since `turn` was read.
    if (!b->turn.compare_exchange_strong(expected, proposal, std::memory_order_acq_rel)) continue;
    complete(*b, proposal);
    return {UniqueStatus::kAcquired, mine};
  }
}

std::uint64_t Unique::holder(std::uint64_t key, std::int64_t now_ns) const noexcept {
  const shm::UniqueBucket* b = bucket(key);
  if (b == nullptr) return 0;
  for (const auto& e : b->entries) {
    const std::uint64_t entry = e.load(std::memory_order_acquire);
    if (holds(entry, key, false, now_ns)) return entry;
  }
  return 0;
}

}  // namespace stem::engine
