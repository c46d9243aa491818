// The numbers that bound a segment, and the asserts that relate them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stem::shm {

inline constexpr std::size_t kCacheLineBytes = 64;  // written down: it is part of the layout
inline constexpr std::size_t kPageBytes = 4096;

inline constexpr int kSlotBits = 24;
inline constexpr int kGenerationBits = 36;
inline constexpr int kGrantBits = 12;
inline constexpr int kOwnerBits = 12;
inline constexpr int kStateBits = 4;
static_assert(kGenerationBits + kGrantBits + kOwnerBits + kStateBits == 64);
static_assert(kGenerationBits + kSlotBits <= 60);

inline constexpr std::uint32_t kMaxSlots = 1u << kSlotBits;
inline constexpr std::uint32_t kMaxParticipants = 1024;
static_assert(kMaxParticipants < (1u << kOwnerBits) - 1);
inline constexpr std::uint32_t kMaxQueues = 1u << 15;
inline constexpr std::uint32_t kMaxTaskNames = 1u << 13;
inline constexpr std::uint32_t kMaxGrant = (1u << kGrantBits) - 1;

inline constexpr std::uint32_t kPriorities = 10;
inline constexpr std::uint32_t kInlineBytes = 64;            // payload that needs no block
inline constexpr std::uint32_t kMaxPayloadBytes = 1u << 20;  // beyond it a clear error
inline constexpr std::uint32_t kNameBytes = 96;              // queue and task names, with the final zero

inline constexpr std::uint32_t kReserveSlots = 64;  // free slots a participant may keep for itself
// The last rows of a roster are for those who clear it of the dead: others, killed by the dozen while nobody keeps, must
// not shut out a supervisor. Half of them are for tools too, which show what is wrong.
inline constexpr std::uint32_t kKeepersRows = 4;
inline constexpr std::uint32_t kHeldSlots = 64;      // leases a participant may hold at once
inline constexpr std::uint32_t kReturnSlots = 4096;  // freed slots a participant offers without a locked instruction

inline constexpr std::uint32_t kFirstRingLog2 = 7;  // a ready ring starts with 128 cells and grows
inline constexpr std::uint32_t kRingGrowthLog2 = 2;

}  // namespace stem::shm
