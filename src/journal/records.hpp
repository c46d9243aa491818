// What a journal says: the bodies of its records. Times are CLOCK_REALTIME, for the monotonic clock begins anew with
// each boot; queues and tasks are numbers that kNames records of the same file give names to.
//
// Written by one program and read by another, perhaps years later: everything read is checked (live_set.hpp, image.hpp).
#pragma once

#include <cstdint>

namespace stem::journal {

enum class RecordType : std::uint32_t {
  kNames = 1,  // NamesHead, then for each name its length (16 bits) and its bytes
  kQueue = 2,  // QueueHead, then the name; of format 1, which kept no other settings
  kTask = 3,   // TaskKey, TaskState, TaskHead, [FormerHead], [ExtrasHead, its texts], payload, failure texts
  kState = 4,  // TaskKey, TaskState, failure texts
  kEnd = 5,    // TaskKey; of a run all that is left of it
  // Since format 2.
  kResult = 6,    // TaskKey, TaskState, TaskHead, [FormerHead], result, failure texts: over, and kept until due_ns
  kSettings = 7,  // SettingsHead, then the queue's name
  kSchedule = 8,  // ScheduleHead, id, definition (beat/store.hpp); without one it was removed
  kTick = 9,      // TickHead, id
  // Since format 3.
  kRun = 10,   // TaskKey, RunRecord, the bytes of each item (8 bits each), their payloads: tasks in one slot
  kItems = 11  // TaskKey, ItemsRecord: of these the ones that are over
};

// Names a task for ever; the parts of its id.
struct TaskKey {
  std::uint32_t epoch = 0;  // of its segment
  std::uint32_t slot = 0;
  std::uint64_t generation = 0;
};
static_assert(sizeof(TaskKey) == 16);

struct NamesHead {
  std::uint32_t epoch = 0;
  std::uint16_t kind = 0;  // NameKind
  std::uint16_t count = 0;
  std::uint32_t first = 0;  // number of the first name
};
static_assert(sizeof(NamesHead) == 12);
enum class NameKind : std::uint16_t { kQueue = 0, kTask = 1 };

struct QueueHead {
  std::uint32_t durability = 0;  // shm::Durability
  std::uint32_t name_bytes = 0;
};
static_assert(sizeof(QueueHead) == 8);

// A queue as it has to be after a reboot (engine::QueueSettings). The latest one counts.
struct SettingsHead {
  std::int64_t dead_retention_ns = 0;
  std::uint32_t max_length = 0;
  std::uint32_t concurrency = 0;
  std::uint32_t rate_count = 0, rate_period_s = 0;
  std::uint32_t dead_max = 0;
  std::uint16_t name_bytes = 0;
  std::uint8_t durability = 0;  // shm::Durability
  std::uint8_t overflow = 0;    // shm::Overflow
  std::uint8_t paused = 0;
  std::uint8_t lowest_first = 0;
  std::uint8_t reserved[6] = {};
};
static_assert(sizeof(SettingsHead) == 40);

// An entry of the schedules as it has to be after a reboot. The latest one counts.
struct ScheduleHead {
  std::uint32_t id_bytes = 0;
  std::uint32_t definition_bytes = 0;  // 0 = it was removed
};
static_assert(sizeof(ScheduleHead) == 8);

// The tick of an entry that was planned for this time, or a later one, has been fired. The latest time counts. It
// stands in the batch of that tick's task, or in one after it: so a tick that is marked is not missing.
struct TickHead {
  std::int64_t planned_ns = 0;
  std::uint32_t id_bytes = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(TickHead) == 16);

// What may change while a task lives. A dead letter has a reason and the texts of its failure.
struct TaskState {
  std::int64_t due_ns = 0;   // 0 = at once; of a result until when it is kept
  std::int64_t dead_ns = 0;  // when it became a dead letter
  std::uint16_t attempts = 0;
  std::uint16_t deaths = 0;
  std::uint32_t releases = 0;
  std::uint8_t reason = 0;   // engine::DeadReason; 0 = no dead letter
  std::uint8_t outcome = 0;  // of a result: engine::OutcomeKind
  std::uint16_t failure_attempts = 0;
  std::uint16_t kind_bytes = 0;
  std::uint16_t message_bytes = 0;
};
static_assert(sizeof(TaskState) == 32);

enum TaskFlag : std::uint8_t { kKeepResult = 1, kNoRenew = 2, kInPlace = 4, kHasExtras = 8, kHasFormer = 16 };

struct TaskHead {
  std::int64_t enqueued_ns = 0;
  std::uint32_t queue = 0;
  std::uint32_t task = 0;
  std::uint32_t payload_bytes = 0;  // of a result its own
  std::uint16_t max_retries = 0;
  std::uint8_t priority = 0;
  std::uint8_t flags = 0;  // TaskFlag
};
static_assert(sizeof(TaskHead) == 24);

// Small plain tasks that were enqueued together (engine/run.hpp). What a single task has beside this they have not.
struct RunRecord {
  std::int64_t enqueued_ns = 0;
  std::uint32_t queue = 0;
  std::uint32_t task = 0;
  std::uint16_t max_retries = 0;
  std::uint8_t priority = 0;
  std::uint8_t flags = 0;  // TaskFlag; kInPlace alone
  std::uint8_t count = 0;  // 1 .. engine::kRunItems
  std::uint8_t reserved[3] = {};
};
static_assert(sizeof(RunRecord) == 24);

// Bits are only ever set: what one record says is over is over, also after the run's own record has been said again.
struct ItemsRecord {
  std::uint32_t over = 0;  // bit i: item i + 1; also of one that lives on as a task in a slot of its own
};
static_assert(sizeof(ItemsRecord) == 4);

// Ids by which a task was known before its own (engine::FormerIds).
struct FormerHead {
  std::uint32_t first_epoch = 0, last_epoch = 0;
  std::uint64_t first = 0, last = 0;
};
static_assert(sizeof(FormerHead) == 24);

inline constexpr int kExtrasTexts = 8;

// engine::TaskExtras.
struct ExtrasHead {
  std::int64_t expires_ns = 0;
  std::int64_t visibility_ns = 0;
  std::int64_t soft_limit_ns = 0;
  std::int64_t hard_limit_ns = 0;
  std::int64_t result_ttl_ns = 0;
  std::int64_t retry_base_ns = 0;
  std::int64_t retry_max_ns = 0;
  std::uint64_t unique_key = 0;
  std::int64_t unique_until_ns = 0;  // 0 = while it lives
  std::uint64_t rate_key = 0;
  std::uint64_t group_rate_key = 0;
  std::uint64_t concurrency_key = 0;
  std::uint64_t affinity_key = 0;
  std::uint32_t rate_count = 0, rate_period_s = 0;
  std::uint32_t group_rate_count = 0, group_rate_period_s = 0;
  std::uint32_t concurrency_limit = 0;
  std::uint16_t retry_kind = 0;
  std::uint8_t limits_fail_closed = 0;
  std::uint8_t unique_everywhere = 0;
  // headers, meta, idempotency key, link, link_error, retry_for, no_retry_for, origin
  std::uint32_t text_bytes[kExtrasTexts] = {};
};
static_assert(sizeof(ExtrasHead) == 13 * 8 + 14 * 4);

}  // namespace stem::journal
