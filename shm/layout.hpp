// The segment, as it lies in memory. One header maps the whole file; offsets and indices only, never
// pointers. Change procedure: raise kLayoutVersion when the meaning of a field changes; sizes and offsets
// are folded into the signature by themselves (segment.cpp), so a mismatch is always refused by name.
//
//   header | queue keys | queues | task keys | tasks | roster | subscriptions | counters | wait histograms
//   | task histograms | unique buckets | limiters | free rings | slab | ring arena | block arena | schedules
//   | journal marks | former ids | events | gateway figures
//
// A new segment is sparse: only pages that were used cost memory. A page is committed (fallocate) before
// its first use, so that a full /dev/shm is an error code and never a SIGBUS.
//
// "W:" names who writes a field, "R:" who reads it; "any" = any participant.
#pragma once

#include <pthread.h>

#include <atomic>
#include <bit>
#include <cstdint>

#include "base/histogram.hpp"
#include "shm/control_word.hpp"
#include "shm/field.hpp"
#include "shm/limits.hpp"
#include "shm/schedule_rows.hpp"
#include "shm/transitions.hpp"

namespace stem::shm {

inline constexpr std::uint64_t kMagic = 0x3130474553544d45ull;  // "EMTSEG01"
inline constexpr std::uint32_t kLayoutVersion = 7;

using Offset = std::uint64_t;  // bytes from the start of the segment

// What the creator chose; everything else follows from it.
struct Geometry {
  std::uint32_t slot_count = 0;
  std::uint32_t participant_count = 0;
  std::uint32_t queue_count = 0;
  std::uint32_t task_count = 0;
  std::uint32_t unique_buckets = 0;  // power of two
  std::uint32_t limiter_count = 0;   // power of two
  std::uint64_t ring_bytes = 0;
  std::uint64_t block_bytes = 0;
};
static_assert(sizeof(Geometry) == 40);

struct alignas(kCacheLineBytes) Header {
  // Line 0-1. W: creator, before `ready`. R: any.
  std::uint64_t magic;
  std::uint32_t version;
  std::atomic<std::uint32_t> ready;  // stored last by the creator
  std::uint64_t signature;
  std::uint64_t total_bytes;
  Geometry geometry;
  std::uint32_t epoch;  // random; part of every task id
  std::uint32_t owner_uid;
  std::uint64_t boot_id_hash;
  std::int64_t created_realtime_ns;
  std::int64_t created_monotonic_ns;
  std::uint64_t time_namespace;

  // W: any (CAS). How far each section is in use and committed.
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> slab_used;  // slots ever taken
  std::atomic<std::uint64_t> slab_committed;                      // slots with memory behind them
  std::atomic<std::uint64_t> ring_used_bytes;
  std::atomic<std::uint64_t> superblocks_used;
  std::atomic<std::uint32_t> queues_used;
  std::atomic<std::uint32_t> tasks_used;
  std::atomic<std::uint32_t> roster_used;     // rows ever taken
  std::atomic<std::uint32_t> schedules_used;  // rows ever taken; they and the table before them have memory

  // Keeper role: (incarnation << 12 | participant + 1); 0 = vacant. W: any (CAS).
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> keeper;
  std::atomic<std::int64_t> keeper_due_ns;    // W: keeper: when it wakes next. R: producers of delayed tasks
  std::atomic<std::uint64_t> keeper_passes;   // W: keeper: completed patrol passes
  std::atomic<std::int64_t> events_until_ns;  // until then somebody follows what every task does. W: followers (CAS)
  std::atomic<std::int64_t> steps_until_ns;   // until then somebody follows each step of it, too. W: followers (CAS)

  // One bit per participant that sleeps for work. W: sleeper sets, waker clears.
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> sleepers[kMaxParticipants / 64];
  // One bit per participant that sleeps until a task is settled. Same rules.
  std::atomic<std::uint64_t> result_waiters[kMaxParticipants / 64];

  // See journal_line.hpp and docs/journal.md.
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> journal_writer;  // incarnation << 12 | participant + 1. W: it
  std::atomic<std::int64_t> journal_alive_ns;  // when it last took work; 0 = it takes none. W: the writer
  std::atomic<std::uint64_t> journal_looks;    // how often it has begun to look at all marks. W: the writer
  std::atomic<std::uint64_t> journal_durable;  // what was marked before that look is on disk. W: the writer
  std::atomic<std::uint64_t>
      journal_awaited;  // latest such look that somebody waits for; 0 = none. W: waiters raise it,
                        // the writer clears it
  std::atomic<std::uint32_t> journal_commits;  // goes up with journal_durable; waiters sleep on it. W: the writer
  std::atomic<std::uint32_t> journal_rest;     // JournalRest. W: the writer, who rings it clears
  std::atomic<std::uint32_t> journal_rescan;   // every slot is to be looked at. W: any sets, the writer clears
  std::atomic<std::uint32_t> former_used;      // rows of former ids with memory behind them. W: the writer
  std::atomic<std::uint32_t> journal_met;      // its queues have been given what a journal says of them. W: any sets
};

// ---- slab ------------------------------------------------------------------------------------------

enum DescriptorFlag : std::uint8_t {
  kHasExtension = 1,    // the block starts with a TaskExtension
  kKeepResult = 2,      // the result is kept; settle passes through kDone
  kHasObligations = 4,  // unique key, links: settle passes through kSettling
  kNoRenew = 8,         // the lease ends by the clock even while the worker beats
  kInPlace = 16,        // trivially copyable argument with a layout hash
  kIsRun = 64,          // several small tasks under one control word, see engine/run.hpp
  kHasAffinity = 32,    // its hint goes to one worker's inbox
  kMovedOut = 128,      // was an item of a run; while it waits, the run's mask word says whether it is a task
};

// One task. The first line is all that a claim touches for an inline payload's bookkeeping; the second is
// the payload itself.
struct alignas(2 * kCacheLineBytes) Descriptor {
  ControlCell control;
  std::atomic<std::uint64_t> tally[2];  // TaggedWord(grant, Tally), by grant parity. W: who regrants
  std::atomic<std::uint64_t> due;   // TaggedWord(grant, microseconds since creation); of a run its mask. W: who delays
  Field<std::int64_t> enqueued_ns;  // W: owner in kAlloc, as all plain fields below. R: any
  Field<std::uint16_t> queue;
  Field<std::uint16_t> task;
  Field<std::uint8_t> priority;
  Field<std::uint8_t> flags;  // DescriptorFlag
  Field<std::uint16_t> max_retries;
  Field<std::uint32_t> payload_bytes;
  Field<std::uint32_t> block;          // block id + 1; 0 = the payload is inline
  std::atomic<std::uint64_t> outcome;  // TaggedWord(grant, kind, block id + 1). W: lease holder, settler
  std::byte inline_payload[kInlineBytes];
};
static_assert(sizeof(Descriptor) == 128);
static_assert(offsetof(Descriptor, inline_payload) == 64);

// ---- rings -----------------------------------------------------------------------------------------

// A bounded ring of hints; see ring.hpp.
struct alignas(kCacheLineBytes) RingHeader {
  std::atomic<std::uint64_t> head;                           // W: poppers
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> tail;  // W: pushers
  alignas(kCacheLineBytes) std::uint64_t capacity_log2;      // W: creator
  std::atomic<std::uint64_t> previous;  // the smaller ring this one replaced, while it is not empty
  std::atomic<std::uint64_t> cells[];   // HintCell
};

// Slots freed by one participant, offered to all: one writer, so a push is two plain stores; many readers,
// who claim the slots by their control words and then move the head. Hints, like every ring.
struct alignas(kCacheLineBytes) ReturnRing {
  std::atomic<std::uint64_t> head;                           // W: readers (CAS)
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> tail;  // W: the participant
  alignas(kCacheLineBytes) std::atomic<std::uint32_t> slots[kReturnSlots];
};
static_assert(sizeof(ReturnRing) == 128 + 4 * kReturnSlots);

// Where a ring lies: offset / 64 in the upper bits, log2 of its capacity in the lower six. 0 = none yet.
struct RingRef {
  std::uint64_t bits = 0;
  constexpr RingRef() = default;
  constexpr explicit RingRef(std::uint64_t b) : bits(b) {}
  constexpr RingRef(Offset offset, std::uint32_t log2) : bits(offset / kCacheLineBytes << 6 | log2) {}
  constexpr Offset offset() const { return (bits >> 6) * kCacheLineBytes; }
  constexpr std::uint32_t capacity_log2() const { return bits & 63; }
  constexpr explicit operator bool() const { return bits != 0; }
};

constexpr std::uint64_t ring_bytes(std::uint32_t capacity_log2) {
  return sizeof(RingHeader) + (std::uint64_t{8} << capacity_log2);
}

// ---- names -----------------------------------------------------------------------------------------

enum class Overflow : std::uint32_t { kReject = 0, kBlock = 1, kDropOldest = 2 };
// What a queue's tasks survive (docs/journal.md).
enum class Durability : std::uint32_t { kMemory = 0, kJournal = 1, kSync = 2 };

// QueueRow::keys_shared: unique keys of this queue's tasks hold on all hosts, and are asked for by a gateway.
//   63..24 until when it can ask, in ms of CLOCK_MONOTONIC (40) | 12 after that tasks wait | 11..0 participant + 1; 0 = no
struct KeysShared {
  std::int64_t until_ns = 0;
  bool fail_closed = false;
  std::uint32_t gateway = 0;  // participant + 1; 0 = keys are this host's alone

  constexpr std::uint64_t pack() const {
    return static_cast<std::uint64_t>(until_ns / 1'000'000) << 24 | std::uint64_t{fail_closed} << 12 |
           (gateway & 0xfff);
  }
  static constexpr KeysShared unpack(std::uint64_t bits) {
    return {static_cast<std::int64_t>(bits >> 24) * 1'000'000, (bits >> 12 & 1) != 0,
            static_cast<std::uint32_t>(bits) & 0xfff};
  }
};

struct alignas(kCacheLineBytes) QueueRow {
  std::atomic<std::uint64_t> lanes;               // bit p: the ring of priority p may have hints. W: any
  std::atomic<std::uint64_t> rings[kPriorities];  // RingRef. W: any (CAS)
  // Settings. W: any (`stem queue`), rarely. R: any.
  alignas(kCacheLineBytes) std::atomic<std::uint32_t> paused;
  std::atomic<std::uint32_t> max_length;   // 0 = no limit
  std::atomic<std::uint32_t> overflow;     // Overflow
  std::atomic<std::uint32_t> concurrency;  // 0 = no limit
  std::atomic<std::uint64_t> rate;         // packed Rate; 0 = no limit
  std::atomic<std::uint32_t> lowest_first;
  std::atomic<std::uint32_t> dead_max;          // entries kept; 0 = no limit
  std::atomic<std::int64_t> dead_retention_ns;  // 0 = the default
  std::atomic<std::uint32_t> durability;        // Durability
  std::atomic<std::uint32_t> named;             // the name below is complete
  // Limits of this queue's tasks are kept with other hosts: 0 = no; else until when their keeper is known to be
  // reachable. W: the gateway
  std::atomic<std::int64_t> limits_shared_until_ns;
  std::atomic<std::uint64_t> keys_shared;  // KeysShared. W: the gateway
  alignas(kCacheLineBytes) char name[kNameBytes];
};
static_assert(sizeof(QueueRow) == 320);

struct alignas(kCacheLineBytes) TaskRow {
  std::atomic<std::uint32_t> named;
  char name[kNameBytes];
};
static_assert(sizeof(TaskRow) == 128);

// ---- roster ----------------------------------------------------------------------------------------

enum class RowState : std::uint8_t { kFree = 0, kJoining = 1, kLive = 2, kDead = 3 };
enum class Role : std::uint32_t {
  kNone = 0,
  kClient = 1,
  kWorker = 2,
  kSupervisor = 3,
  kTool = 4,
  kGateway = 5,
  kBeat = 6
};

// RosterRow::status: incarnation << 8 | RowState.
constexpr std::uint64_t row_status(std::uint64_t incarnation, RowState state) {
  return incarnation << 8 | static_cast<std::uint64_t>(state);
}
constexpr std::uint64_t row_incarnation(std::uint64_t status) { return status >> 8; }
constexpr RowState row_state(std::uint64_t status) { return static_cast<RowState>(status & 0xff); }

// What a participant was doing, written before each counted change: recovery tells from it whether the
// change happened and whether it was counted.
enum class OpKind : std::uint8_t {
  kNone = 0,
  kPublish = 1,   // ALLOC of the participant -> anything
  kSettle = 2,    // LEASED of the participant -> FREE or DONE, in one change
  kItem = 3,      // the bits of items of a run
  kTake = 4,      // anything -> SETTLING or RETIRING of the participant, counted before it goes on
  kItemDone = 5,  // kItem, and who took the run from the participant has seen the bits
  kUnreplay = 6,  // LEASED of the participant -> DEAD: a replay that came too late
};

// Names the change, and the grant under which it is made: whoever finds a later one knows that it was not.
//   63..60 kind | 59..36 slot (24) | 35..24 grant, folded (^) with generation 35..24 | 23..0 low bits of the generation
// Of items of a run it has 20 bits of the generation, as the mask word, and the number of the first of them: so no two
// changes of one lease of a run have the same name.
//   63..60 kind | 59..36 slot (24) | 35..32 number (4) | 31..20 grant | 19..0 low bits of the generation
class OpWord {
 public:
  constexpr explicit OpWord(std::uint64_t bits) : bits_(bits) {}
  constexpr OpWord(OpKind kind, std::uint32_t slot, ControlWord word)
      : OpWord(kind, slot, word.generation(), word.grant()) {}
  // `grant`: in the way of every task, where it is known to be the first.
  constexpr OpWord(OpKind kind, std::uint32_t slot, std::uint64_t generation, std::uint32_t grant)
      : bits_(static_cast<std::uint64_t>(kind) << kKindShift | std::uint64_t{slot} << kSlotShift |
              (generation ^ std::uint64_t{grant} << kLifeBits)) {}
  static constexpr OpWord of_items(std::uint32_t slot, ControlWord word, std::uint32_t items) {
    return OpWord(static_cast<std::uint64_t>(OpKind::kItem) << kKindShift | std::uint64_t{slot} << kSlotShift |
                  static_cast<std::uint64_t>((std::countr_zero(items) + 1) & 0xf) << kItemShift |
                  std::uint64_t{word.grant()} << kItemLifeBits | (word.generation() & low(kItemLifeBits)));
  }
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr OpKind kind() const { return static_cast<OpKind>(bits_ >> kKindShift); }
  constexpr std::uint32_t slot() const { return static_cast<std::uint32_t>(bits_ >> kSlotShift) & (kMaxSlots - 1); }
  // Whether it is about the life of its slot that this word is of.
  constexpr bool of_life(ControlWord word) const {
    return ((bits_ ^ word.generation()) & low(is_of_items() ? kItemLifeBits : kLifeBits)) == 0;
  }
  // The grant under which it was made, in the life of this word.
  constexpr std::uint32_t grant(ControlWord word) const {
    const std::uint64_t at = is_of_items() ? bits_ >> kItemLifeBits : (bits_ ^ word.generation()) >> kLifeBits;
    return static_cast<std::uint32_t>(at) & kMaxGrant;
  }
  constexpr bool of_lease(ControlWord word) const { return of_life(word) && grant(word) == word.grant(); }
  // Of kItem: kItemDone.
  constexpr OpWord done() const {
    return OpWord((bits_ & low(kKindShift)) | static_cast<std::uint64_t>(OpKind::kItemDone) << kKindShift);
  }

 private:
  static constexpr int kKindShift = 60, kSlotShift = 36, kLifeBits = 24, kItemShift = 32, kItemLifeBits = 20;
  static constexpr std::uint64_t low(int bits) { return (std::uint64_t{1} << bits) - 1; }
  constexpr bool is_of_items() const { return kind() == OpKind::kItem || kind() == OpKind::kItemDone; }
  std::uint64_t bits_;
};

// What is counted with the change that RosterRow::op names.
//   63..48 items of a run, as bits (16) | 47..32 how many (16) | 31..8 queue (24) | 7..0 Counter
struct OpDetail {
  std::uint32_t items = 0;
  std::uint32_t how_many = 1;
  std::uint32_t queue = 0;
  std::uint32_t counter = 0;

  constexpr std::uint64_t pack() const {
    return std::uint64_t{items & 0xffff} << 48 | std::uint64_t{how_many & 0xffff} << 32 |
           std::uint64_t{queue & 0xffffff} << 8 | (counter & 0xff);
  }
  static constexpr OpDetail unpack(std::uint64_t bits) {
    return {static_cast<std::uint32_t>(bits >> 48), static_cast<std::uint32_t>(bits >> 32) & 0xffff,
            static_cast<std::uint32_t>(bits >> 8) & 0xffffff, static_cast<std::uint32_t>(bits) & 0xff};
  }
};

// RosterRow::acked: 63..40 slot (24) | 39..16 low bits of the generation (24) | 15..0 items, as bits.
constexpr std::uint64_t acked_word(std::uint32_t slot, std::uint64_t generation, std::uint32_t items) {
  return std::uint64_t{slot} << 40 | (generation & 0xffffff) << 16 | (items & 0xffff);
}

inline constexpr std::uint32_t kRevokeWords = 8;

// Why a worker process had to be started again.
enum class RestartCause : std::uint8_t {
  kSignal,          // it was killed, or crashed
  kExit,            // a handler ended the process
  kHardTimeLimit,   // by its supervisor, for a handler that did not end
  kRecycledTasks,   // --max-tasks-per-child
  kRecycledMemory,  // --max-memory-per-child
  kDetached,        // its row was taken from it
  kNoRoom,          // it could not join the segment
};
inline constexpr std::uint32_t kRestartCauses = 8;  // one for later

struct CrashRecord {
  std::atomic<std::uint64_t> task;  // generation << 24 | slot; 0 = none. W: crash handler, last
  std::uint64_t fault_address;
  std::int64_t at_realtime_ns;
  std::int32_t signal;
  std::int32_t code;
};

struct alignas(kCacheLineBytes) RosterRow {
  // Identity. W: the participant while joining; status also the recoverer.
  std::atomic<std::uint64_t> status;
  std::uint32_t pid;
  std::uint32_t tid;
  std::uint64_t start_time;  // field 22 of /proc/PID/stat: a pid alone is not an identity
  std::uint64_t boot_id_hash;
  std::uint64_t pid_namespace;
  std::uint64_t time_namespace;
  std::atomic<std::uint32_t> role;
  std::atomic<std::int32_t> cpu;  // -1 = not pinned

  // Life signs and the record of the moment. W: the participant alone. R: any.
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> heartbeat;
  std::atomic<std::uint64_t> op;          // OpWord. W: also whoever takes a lease from it
  std::atomic<std::uint64_t> op_count;    // the counter the change adds to, as it was before
  std::atomic<std::uint64_t> op_counter;  // see OpDetail
  std::atomic<std::uint64_t> current;     // the task being run: generation << 24 | slot; 0 = none
  std::atomic<std::int64_t> current_since_ns;
  std::atomic<std::uint32_t> inflight;
  std::atomic<std::uint32_t> stop_mode;  // W: `stem worker shutdown`, supervisor; see WorkerControl
  std::atomic<std::uint64_t> acked;      // items of a run that are over, not committed yet: acked_word; 0 = none

  // W: wakers add one, the sleeper reads. R: kernel (futex).
  alignas(kCacheLineBytes) std::atomic<std::uint32_t> doorbell;
  std::atomic<std::uint32_t> serves_all;            // takes tasks of every queue
  std::atomic<std::uint64_t> waiting_for;           // generation << 24 | slot of the awaited task
  std::atomic<std::uint64_t> supervisor;            // incarnation << 12 | roster index + 1 of the parent
  std::atomic<std::uint64_t> control_request;       // W: tools. See worker/control.hpp
  std::atomic<std::uint64_t> control_reply;         // W: the participant
  std::atomic<std::uint64_t> revoke[kRevokeWords];  // W: `task revoke --terminate`: tasks to stop while running
  std::atomic<std::uint64_t> rss_bytes;             // W: the participant, every heartbeat

  // Held for life; the kernel marks it when the thread dies (signal, see death.hpp).
  alignas(kCacheLineBytes) pthread_mutex_t alive;

  alignas(kCacheLineBytes) CrashRecord crash;
  std::atomic<std::uint64_t> events_next;  // of its ring of events, through all incarnations. W: the participant

  // By RestartCause, of the worker processes under it; go on through all incarnations. W: a supervisor.
  alignas(kCacheLineBytes) std::atomic<std::uint64_t> restarts[kRestartCauses];

  // Leases in hand, as slot + 1: a hint that makes redelivery quick. W: the participant.
  alignas(kCacheLineBytes) std::atomic<std::uint32_t> held[kHeldSlots];

  alignas(kCacheLineBytes) char name[64];  // worker name, for people. W: while joining
};
static_assert(sizeof(RosterRow) == 768);

// ---- counters --------------------------------------------------------------------------------------

// Per participant and queue; one writer each, so counting is a plain load and store.
enum class Counter : std::uint8_t {
  kEnqueued,
  kStarted,
  kSucceeded,
  kFailed,  // attempts that failed
  kRetried,
  kDeadAdded,
  kDeadReplayed,
  kDeadPurged,  // left the dead-letter queue for good
  kCancelled,   // revoked or purged before it ran, or while it ran
  kExpired,
  kDropped,      // by the overflow policy
  kRedelivered,  // leases of the dead and the late made runnable again
  kFenced,       // late acknowledgements refused
  kDeduplicated,
  kRateDenied,
  kSnoozed,
  kExported,      // handed over to another host, for good
  kImported,      // came from another host; counted as enqueued too
  kRateDegraded,  // starts by this host's own limits, while those kept with other hosts could not be asked for
  kLeaseRenewed,  // by the worker's heartbeat while the task ran, or by its handler; added to, see Participant
  kSignatureInvalid,
  // Parts of kRedelivered, in the order of engine::LeaseEnd. Counted after the whole: one may be missing for each
  // process that was killed between the two.
  kRedeliveredFirst,
  kRedeliveredLast = kRedeliveredFirst + 4,
  // Parts of kDeadAdded, in the order of engine::DeadReason. The same.
  kDeadAddedFirst,
  kDeadAddedLast = kDeadAddedFirst + 7,
  kUniqueDegraded,  // starts with a unique key of this host alone, while those of the cluster could not be asked for
};
inline constexpr std::uint32_t kCounterCount = 40;  // some for later
constexpr Counter counter_after(Counter first, std::uint32_t n) {
  return static_cast<Counter>(static_cast<std::uint32_t>(first) + n);
}

struct alignas(kCacheLineBytes) CounterRow {
  std::atomic<std::uint64_t> value[kCounterCount];
};
static_assert(sizeof(CounterRow) == 320);

// ---- limits and uniqueness -------------------------------------------------------------------------

// See unique.hpp. `turn` orders the inserts of a bucket; entries name the holding task.
struct alignas(kCacheLineBytes) UniqueBucket {
  std::atomic<std::uint64_t> turn;
  std::atomic<std::uint64_t> entries[7];
};
static_assert(sizeof(UniqueBucket) == 64);

// A histogram row: the buckets, then these. One writer per row.
enum class TaskStat : std::uint8_t { kDurationSum, kSucceeded, kFailed, kRetried };
inline constexpr std::uint32_t kTaskStats = 8;
inline constexpr std::uint64_t kHistogramRowBytes = (base::kHistogramBuckets + kTaskStats) * 8;

inline constexpr std::uint32_t kLimiterHolders = 103;
inline constexpr std::uint32_t kLimiterWaiters = 5;
inline constexpr std::uint64_t kSharedPlaces = std::uint64_t{1} << 63;  // in LimiterRow::limit

// Places in a rate that this host has of the cluster's: one each interval, from `next_ns` on, while the next one ends by
// `end_ns`; to be taken before `until_ns`. The gateway writes a new batch when an old one is used up or over.
struct RateBatch {
  std::atomic<std::int64_t> next_ns;  // GCRA arrival time. W: any (CAS); the gateway
  std::atomic<std::int64_t> end_ns;
  std::atomic<std::int64_t> until_ns;
};

// A rate (GCRA arrival time) or a concurrency limit (holder words) for one key. See limiter.hpp.
struct alignas(kCacheLineBytes) LimiterRow {
  std::atomic<std::uint64_t> key;  // 0 = unused. W: any (CAS), once
  std::atomic<std::int64_t> arrival_ns;
  std::atomic<std::uint64_t> denied;
  std::atomic<std::uint64_t> waiters[kLimiterWaiters];  // hints: tasks that were held back by the concurrency limit
  // Kept with other hosts, by the gateway (docs/federation.md, "Limits").
  std::atomic<std::uint64_t> wanted;           // starts that were turned away since the gateway looked. W: any
  std::atomic<std::uint64_t> limit;            // packed Rate, or kSharedPlaces | most at once. W: any
  std::atomic<std::int64_t> pace_ns;           // when whoever is turned away next should ask again. W: any (CAS)
  std::atomic<std::uint64_t> permits;          // of the cluster's places, this host's. W: the gateway
  std::atomic<std::int64_t> permits_until_ns;  // W: the gateway
  RateBatch batches[2];                        // W: the gateway
  std::atomic<std::uint64_t> newcomers;        // of `wanted`, those who had not been turned away before. W: any
  std::atomic<std::uint64_t> for_later[5];
  std::atomic<std::uint64_t> holders[kLimiterHolders];  // generation << 24 | slot; valid while leased
};
static_assert(sizeof(LimiterRow) == 1024);  // a power of two: no row straddles a page

// ---- blocks ----------------------------------------------------------------------------------------

inline constexpr std::uint64_t kSuperblockBytes = 4u << 20;
inline constexpr std::uint32_t kBlockClasses = 7;
inline constexpr std::uint32_t kBlockStride[kBlockClasses] = {
    256, 1024, 4096, 16384, 65536, 262144, (1u << 20) + 65536};

// First line of a block. The tag names the life of the slot it belongs to, so an orphan is decidable
// locally: live iff that slot still is in that generation and not free.
//   tag: 63..28 generation | 27..4 slot | 3..0 kind (0 = free)
struct alignas(kCacheLineBytes) BlockHeader {
  std::atomic<std::uint64_t> tag;
  std::uint32_t bytes;  // W: owner while filling
  std::uint32_t grant;  // of a result: the grant it was made under
  std::byte reserved[48];
};
static_assert(sizeof(BlockHeader) == 64);

inline constexpr std::uint32_t kInboxLog2 = 8;         // hints of tasks meant for one worker (affinity)
inline constexpr std::uint32_t kDelayedRingLog2 = 14;  // delayed tasks the keeper has not yet taken note of
inline constexpr std::uint32_t kBlockRingLog2 = 16;    // free hints kept per class

// kFilling: being written by a participant who may lose the task meanwhile and go on writing; the tag names
// roster row and incarnation in place of slot and generation, so that only its end frees the block.
// kSchedule: the definition of an entry; the tag names its row and version, and it lives while the row names it.
enum class BlockKind : std::uint8_t { kFree = 0, kPayload = 1, kResult = 2, kFilling = 3, kSchedule = 4 };

struct SuperblockRow {
  std::atomic<std::uint32_t> block_class;  // class + 1; 0 = not used. W: any (CAS)
  std::atomic<std::uint32_t> blocks_used;  // blocks ever taken from it
};
static_assert(sizeof(SuperblockRow) == 8);

// ---- events ----------------------------------------------------------------------------------------

// See event_log.hpp. Cells of a ring with one writer; they have memory behind them once RosterRow::events_next is not 0.
struct alignas(kCacheLineBytes) EventCell {
  static constexpr std::size_t kWords = 23;
  std::atomic<std::uint64_t> stamp;  // position + 1; 0 while it is being written
  std::atomic<std::uint64_t> words[kWords];
};
static_assert(sizeof(EventCell) == 192);
inline constexpr std::uint32_t kEventCells = 512;  // per participant

// ---- the journal -----------------------------------------------------------------------------------

// A bit for each slot: its task has changed since the journal looked at it. Above them a bit for each line of them, so
// that a look at all costs little where little has changed. See journal_line.hpp.
inline constexpr std::uint32_t kMarkLineSlots = kCacheLineBytes * 8;
constexpr std::uint64_t mark_lines(std::uint32_t slot_count) {
  return (std::uint64_t{slot_count} + kMarkLineSlots - 1) / kMarkLineSlots;
}
constexpr std::uint64_t mark_summary_bytes(std::uint32_t slot_count) {
  return (mark_lines(slot_count) + kMarkLineSlots - 1) / kMarkLineSlots * kCacheLineBytes;
}
constexpr std::uint64_t mark_bytes(std::uint32_t slot_count) {
  return mark_summary_bytes(slot_count) + mark_lines(slot_count) * kCacheLineBytes;
}

// Under which ids the task that a journal brought back into this slot was known before: the one it was enqueued with,
// and the one it had in the segment before this. W: the journal's writer, before the task is let go. R: any.
struct alignas(32) FormerRow {
  std::atomic<std::uint64_t> generation;  // of the task that this is said of; stored last
  std::atomic<std::uint64_t> epochs;      // of the first id << 32 | of the last one
  std::atomic<std::uint64_t> first;       // TaskId::handle
  std::atomic<std::uint64_t> last;
};
static_assert(sizeof(FormerRow) == 32);

// ---- the gateway -----------------------------------------------------------------------------------

// Behind memory once a gateway has been here; read like all statistics, through the file.
struct alignas(kCacheLineBytes) GatewayFigures {
  std::atomic<std::uint64_t> round_trip[base::kHistogramBuckets];  // of commands to Redis. W: the gateway
  std::atomic<std::uint64_t> round_trip_sum_ns;                    // W: the gateway
};
static_assert(offsetof(GatewayFigures, round_trip_sum_ns) == 8 * base::kHistogramBuckets);

// ---- sections --------------------------------------------------------------------------------------

// Offsets of all sections, derived from a geometry alone.
struct Layout {
  Offset queue_keys, queues, task_keys, tasks, roster, subscriptions, counters, wait_histograms, task_histograms,
      unique, limiters, limiter_calls, superblock_rows, block_rings, returns, inboxes, free_ring, delayed, slab, rings,
      blocks, schedules, journal, former, events, gateway;
  std::uint64_t subscription_words;  // per participant
  std::uint32_t free_ring_log2;
  std::uint32_t superblock_count;
  std::uint64_t total_bytes;
};

Layout make_layout(const Geometry& geometry) noexcept;

// Sizes, offsets and feature choices folded into one word.
std::uint64_t layout_signature() noexcept;

}  // namespace stem::shm
