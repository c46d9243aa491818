// Queues with a journal, and the bare disk beside them: what `stem-bench journal` is made of.
//
// Not thread-safe; called from the bench's own process, which starts others.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/measure.hpp"
#include "bench/peer.hpp"
#include "bench/processes.hpp"
#include "bench/scene.hpp"

namespace stem::bench {

// "ext4" or the like. Throws Failure for memory that calls itself a file system: its figures would be no disk's.
std::string disk_of(const std::string& directory);

// ---- The writer

// What went to disk.
struct DiskUse {
  std::uint64_t writes = 0;  // each on stable storage before the next
  std::uint64_t bytes = 0;
  std::uint64_t zero_bytes = 0;  // of new files
};

// A journal's directory, and the process that writes it while others work.
class JournalHost {
 public:
  explicit JournalHost(std::string directory) : directory_(std::move(directory)) {}

  const std::string& directory() const noexcept { return directory_; }

  // The process. It goes on until leave() has been called `users` times.
  Role writer(const Scene& scene, std::uint32_t users);

  // For users.
  void await_ready(Seat& seat) const;
  // Until everything that has changed before is on disk.
  void await_disk(Seat& seat) const;
  void leave() noexcept { state_->users.fetch_sub(1, std::memory_order_acq_rel); }
  DiskUse use() const noexcept;

  // Of the writer's start: until it had read the journal and restored its tasks, and until it took new ones.
  double opened_s() const noexcept { return static_cast<double>(state_->opened_ns.load()) * 1e-9; }
  double ready_s() const noexcept { return static_cast<double>(state_->ready_ns.load()) * 1e-9; }
  std::uint64_t restored() const noexcept { return state_->restored.load(); }

  struct State {
    std::atomic<std::uint32_t> users{0};
    std::atomic<std::uint64_t> writes{0}, bytes{0}, zero_bytes{0};
    std::atomic<std::int64_t> opened_ns{0}, ready_ns{0};  // ready_ns 0: not yet
    std::atomic<std::uint64_t> restored{0};
  };

 private:
  std::string directory_;
  Shared<State> state_;
};

void make_durable(const Scene& scene, shm::Durability durability);

// ---- The subjects

struct JournalFlow {
  double tasks_per_s = 0;  // until all of it is on disk
  double seconds = 0;
  DiskUse use;
};

// Tasks enqueued `batch` at a time (1 = one by one), none of them run.
JournalFlow append_rate(const std::string& directory, std::uint64_t tasks, std::uint32_t payload_bytes,
                        std::uint32_t batch);

// Tasks enqueued `batch` at a time and run by another process, of which `backlog` wait all the time. What comes before
// the first `warm_up` tasks are over is not measured.
struct FlowWork {
  std::uint64_t tasks = 10'000'000;
  std::uint64_t warm_up = 2'500'000;
  std::uint32_t backlog = 10'000;
  std::uint32_t payload_bytes = 64;
  std::uint32_t batch = 64;
};
JournalFlow flow_rate(const std::string& directory, const FlowWork& work);

// How long enqueue() of the public API takes, a call every `pace_ns` (0 = one after another).
Percentiles enqueue_times(const std::string& directory, shm::Durability durability, std::uint64_t tasks,
                          double pace_ns);

// Tasks per second that so many processes get into a `sync` queue, each one after another.
struct SharedCommits {
  double tasks_per_s = 0;
  double tasks_per_write = 0;
};
SharedCommits sync_rate(const std::string& directory, std::uint32_t producers, std::uint64_t tasks_each);

struct JournalRecovery {
  double opened_s = 0;  // read, and every task restored
  double ready_s = 0;   // and new ones taken
  double bytes = 0;     // of journal that was read
  DiskUse use;          // while it recovered
};
JournalRecovery recover(const std::string& directory, std::uint64_t tasks, std::uint32_t payload_bytes);

// ---- The floors

// Where a bare loop writes: into a file all of whose blocks have been written before, or to the end of one that grows.
enum class Blocks { kWritten, kNew };
// Bytes per second of one write after another of that size, O_DIRECT and O_DSYNC, through io_uring; at most `most_bytes`
// of them.
double bare_append_bytes_per_s(const std::string& directory, std::uint64_t write_bytes, std::uint64_t most_bytes,
                               Blocks blocks);
// The same of 4 KiB, each write's time; and pwrite with fdatasync.
Percentiles bare_append_times(const std::string& directory, std::uint64_t writes);
Percentiles fdatasync_times(const std::string& directory, std::uint64_t writes);

// ---- Others that write to disk, and Stem doing their work

std::vector<Peer> durable_peers(const std::string& directory);
Peer stem_with_journal(const std::string& directory, shm::Durability durability);
Peer redis_aof(const std::string& directory, const std::string& fsync);  // "everysec", "always"
Peer beanstalkd_binlog(const std::string& directory, int fsync_ms);      // 0 = each write

}  // namespace stem::bench
