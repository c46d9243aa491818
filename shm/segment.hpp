// A mapped segment: create, attach, refuse by name. One file per namespace in a directory of the user's
// own under /dev/shm. The file appears under its name only when it is complete (O_TMPFILE + link), so
// nobody ever meets one half made.
//
// Thread-safe after construction. The mapping lives as long as the object; every pointer handed out
// points into it. Not inherited by a forked child (MADV_DONTFORK): the child attaches anew.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "shm/layout.hpp"

namespace stem::shm {

struct SegmentOptions {
  std::string name_space = "stem";
  std::string directory;                  // empty = default_directory()
  std::uint32_t slot_count = 1u << 20;    // tasks that may exist at once; at most 2^24
  std::uint32_t participant_count = 256;  // attached threads; the last few for supervisors and tools alone
  std::uint32_t queue_count = 16384;
  std::uint32_t task_count = 4096;
  std::uint64_t block_bytes = 4ull << 30;  // address space for payloads over 64 bytes; used when needed
  std::string group;                       // not empty: 0660 and this group
  // Called with a new segment that is complete, before anybody else can see it; an error leaves none.
  std::function<Result<void>(class Segment&)> prepare;
};

// Where segments of this user are: /dev/shm/stem-UID, or $STEM_SHM_DIRECTORY.
std::string default_directory();

struct SegmentEntry {
  std::string name_space;
  std::string path;
  std::uint64_t used_bytes = 0;  // memory behind it
};

class Segment {
 public:
  // kRefused when the namespace exists already; kNoMemory when /dev/shm cannot hold even an empty one.
  static Result<std::shared_ptr<Segment>> create(const SegmentOptions& options);
  // kNotFound, kNotReady, kWrongVersion, kWrongSignature, kWrongOwner, kTruncated, kCorrupt.
  static Result<std::shared_ptr<Segment>> attach(const std::string& name_space, const std::string& directory = {});
  // The same, mapped read-only: whatever goes wrong here, nobody's task is touched. For Participant::watch().
  static Result<std::shared_ptr<Segment>> watch(const std::string& name_space, const std::string& directory = {});
  static Result<std::shared_ptr<Segment>> open_or_create(const SegmentOptions& options);
  // Removes the name; the memory goes when the last participant has gone.
  static Result<void> destroy(const std::string& name_space, const std::string& directory = {});
  static std::vector<SegmentEntry> list(const std::string& directory = {});

  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  Header& header() const noexcept { return *at<Header>(0); }
  const Layout& layout() const noexcept { return layout_; }
  const Geometry& geometry() const noexcept { return geometry_; }  // our copy, checked at attach
  std::uint32_t epoch() const noexcept { return epoch_; }
  const std::string& path() const noexcept { return path_; }
  const std::string& name_space() const noexcept { return name_space_; }
  std::byte* base() const noexcept { return base_; }
  int fd() const noexcept { return fd_; }

  // Slots and roster rows that were ever in use: those behind them are still the file's hole. Never beyond the
  // geometry, whatever the segment says.
  std::uint32_t slots_used() const noexcept {
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(header().slab_used.load(std::memory_order_acquire), geometry_.slot_count));
  }
  std::uint32_t rows_used() const noexcept {
    return std::min(header().roster_used.load(std::memory_order_acquire), geometry_.participant_count);
  }

  // The caller has checked the index against geometry().
  Descriptor& descriptor(std::uint32_t slot) const noexcept { return slab_[slot]; }
  QueueRow& queue(std::uint32_t id) const noexcept { return at<QueueRow>(layout_.queues)[id]; }
  TaskRow& task(std::uint32_t id) const noexcept { return at<TaskRow>(layout_.tasks)[id]; }
  RosterRow& row(std::uint32_t index) const noexcept { return at<RosterRow>(layout_.roster)[index]; }
  CounterRow& counters(std::uint32_t participant, std::uint32_t queue) const noexcept {
    return at<CounterRow>(layout_.counters)[std::uint64_t{participant} * geometry_.queue_count + queue];
  }
  std::atomic<std::uint64_t>* wait_histogram(std::uint32_t participant, std::uint32_t queue) const noexcept;
  std::atomic<std::uint64_t>* task_histogram(std::uint32_t participant, std::uint32_t task) const noexcept;
  // With memory behind them once Header::schedules_used says so; see commit_schedules().
  ScheduleTable& schedules() const noexcept { return *at<ScheduleTable>(layout_.schedules); }
  ScheduleRow& schedule(std::uint32_t row) const noexcept {
    return at<ScheduleRow>(layout_.schedules + sizeof(ScheduleTable))[row];
  }
  // Rows that may be looked at.
  std::uint32_t schedule_total() const noexcept;
  std::atomic<std::uint64_t>* subscription(std::uint32_t participant) const noexcept {
    return at<std::atomic<std::uint64_t>>(layout_.subscriptions) + participant * layout_.subscription_words;
  }

  template <class T>
  T* at(Offset offset) const noexcept {
    return reinterpret_cast<T*>(base_ + offset);
  }
  Offset offset_of(const void* p) const noexcept {
    return static_cast<Offset>(static_cast<const std::byte*>(p) - base_);
  }

  // Puts memory behind [offset, offset + bytes) before its first use. False when /dev/shm is full.
  [[nodiscard]] bool commit(Offset offset, std::uint64_t bytes) const noexcept;
  // The same for the unique and limiter tables, remembered per page by this process.
  [[nodiscard]] bool commit_row(Offset offset, std::uint64_t bytes) noexcept;
  // Memory for the table of schedules and its first `rows` rows. False when /dev/shm is full.
  [[nodiscard]] bool commit_schedules(std::uint32_t rows) const noexcept {
    return commit(layout_.schedules, sizeof(ScheduleTable) + std::uint64_t{rows} * sizeof(ScheduleRow));
  }
  // Copies committed memory without committing holes (they read as zero). For statistics of others.
  bool read(Offset offset, void* into, std::size_t bytes) const noexcept;
  // Memory behind the file now.
  std::uint64_t used_bytes() const noexcept;

 private:
  Segment() = default;
  enum class Access : std::uint8_t { kFull, kReading };
  static Result<std::shared_ptr<Segment>> open(const std::string& name_space, const std::string& directory,
                                               Access access);
  static Result<std::shared_ptr<Segment>> map(int fd, std::string path, std::string name_space,
                                              const Geometry& geometry, Access access);

  int pid_ = 0;
  int fd_ = -1;
  std::byte* base_ = nullptr;
  Descriptor* slab_ = nullptr;
  Layout layout_{};
  Geometry geometry_{};
  std::uint32_t epoch_ = 0;
  std::unique_ptr<std::atomic<std::uint64_t>[]> committed_rows_;  // bit per page of those tables
  std::string path_;
  std::string name_space_;
};

// Identity of this boot: a hash of /proc/sys/kernel/random/boot_id.
std::uint64_t boot_id_hash();
// The inode of a namespace of this process: "pid", "time".
std::uint64_t namespace_inode(const char* kind);

}  // namespace stem::shm
