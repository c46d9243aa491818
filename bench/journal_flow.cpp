// Tasks through a queue with a journal: how many, how soon, and how they come back.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "bench/failure.hpp"
#include "bench/journal.hpp"
#include "bench/server_process.hpp"
#include "stem/client.hpp"

namespace stem::bench {

namespace {

constexpr std::uint32_t kPrefetch = 64;
constexpr std::uint32_t kAhead = 8192;  // of the backlog, so that the worker seldom waits for the producer
constexpr std::uint64_t kTasksPerBeat = 1024;
constexpr std::uint32_t kFrontDoorPayloadBytes = 64;
constexpr std::chrono::minutes kDeadline{30};

void nap() noexcept {
  const timespec time{0, 20'000};
  nanosleep(&time, nullptr);
}

double seconds_since(std::uint64_t start_ticks) {
  return static_cast<double>(ticks_now() - start_ticks) * ns_per_tick() * 1e-9;
}

shm::SegmentOptions segment_for_tasks(std::uint64_t tasks) {
  shm::SegmentOptions options;
  options.slot_count = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::max<std::uint64_t>(tasks + tasks / 16, 1u << 16), shm::kMaxSlots));
  return options;
}

// Enqueues through the engine, `batch` at a time; 1 is one by one. A payload is its task's number and what was there
// before: making letters would cost more than the enqueue.
class Sender {
 public:
  Sender(Seat& seat, std::uint32_t payload_bytes, std::uint32_t batch)
      : seat_(seat), payload_bytes_(payload_bytes), payloads_(std::size_t{batch} * payload_bytes), specs_(batch) {
    for (std::size_t i = 0; i < batch; ++i) {
      specs_[i].queue = seat.queue();
      specs_[i].task = seat.task();
      specs_[i].payload = std::as_bytes(std::span(payloads_).subspan(i * payload_bytes, payload_bytes));
    }
  }
  // The next of them, at most `most`; how many. `first` is the number of the first.
  std::uint64_t send(std::uint64_t first, std::uint64_t most) {
    const std::size_t count = std::min<std::size_t>(specs_.size(), most);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t task = first + i;
      std::memcpy(payloads_.data() + i * payload_bytes_, &task, sizeof task);
    }
    std::size_t done = 0;
    const auto status = specs_.size() == 1
                            ? seat_.engine().enqueue(specs_[0], base::monotonic_ns()).status
                            : seat_.engine().enqueue_many(specs_.data(), count, nullptr, done, base::monotonic_ns());
    if (first / kTasksPerBeat != (first + count) / kTasksPerBeat) seat_.participant().beat();
    if (status != engine::EnqueueStatus::kOk) throw Failure(fmt::format("enqueue said {}", engine::to_string(status)));
    return count;
  }

 private:
  Seat& seat_;
  std::uint32_t payload_bytes_;
  std::vector<char> payloads_;
  std::vector<engine::TaskSpec> specs_;
};

DiskUse operator-(const DiskUse& a, const DiskUse& b) {
  return {a.writes - b.writes, a.bytes - b.bytes, a.zero_bytes - b.zero_bytes};
}

// Marks off what Sender sent.
class NumberLedger {
 public:
  explicit NumberLedger(std::uint64_t tasks) : marked_(tasks) {}
  void mark(std::span<const std::byte> payload) {
    std::uint64_t task = 0;
    if (payload.size() < sizeof task) throw Failure("a task came without its payload");
    std::memcpy(&task, payload.data(), sizeof task);
    if (task >= marked_.size() || marked_[task]) throw Failure(fmt::format("task {} came twice, or never was", task));
    marked_[task] = true;
    ++seen_;
  }
  std::uint64_t seen() const noexcept { return seen_; }

 private:
  std::vector<bool> marked_;
  std::uint64_t seen_ = 0;
};

// As many tasks through the queue, in memory: afterwards a task costs what it costs and not a new page of the segment,
// as the floor's file has been written before.
void touch_memory(Seat& seat, Sender& sender, std::uint64_t tasks) {
  for (std::uint64_t i = 0; i < tasks;) i += sender.send(i, tasks - i);
  engine::Engine& engine = seat.engine();
  engine::Lease leases[kPrefetch];
  engine::TaskView view;
  for (std::uint64_t i = 0; i < tasks;) {
    const std::int64_t now_ns = base::monotonic_ns();
    const std::uint32_t n = engine.claim(seat.queue(), leases, kPrefetch, now_ns);
    if (n == 0) throw Failure("a task was lost");
    for (std::uint32_t k = 0; k < n; ++k)
      if (!engine.view(leases[k], view) || engine.begin(leases[k], view, now_ns) != engine::Begin::kStart ||
          engine.succeed_later(leases[k], view, now_ns) != engine::Settled::kDone)
        throw Failure("a lease was lost");
    if (engine.commit_acks() != engine::Settled::kDone) throw Failure("an acknowledgement was refused");
    seat.participant().beat();
    i += n;
  }
}

struct FlowStage {
  alignas(64) std::atomic<std::uint64_t> sent{0};  // writer: producer
  alignas(64) std::atomic<std::uint64_t> done{0};  // writer: worker
  JournalFlow result;
};

void produce_flow(Seat& seat, FlowStage& stage, const FlowWork& work) {
  Sender sender(seat, work.payload_bytes, work.batch);
  const std::uint64_t all = work.warm_up + work.tasks + work.backlog;
  for (std::uint64_t sent = 0; sent < all;) {
    const std::uint64_t end = std::min(all, stage.done.load(std::memory_order_acquire) + work.backlog + kAhead);
    if (sent == end) nap();
    while (sent < end) {
      sent += sender.send(sent, end - sent);
      stage.sent.store(sent, std::memory_order_release);
    }
    seat.participant().beat();
  }
}

// Leaves the backlog where it is.
void consume_flow(Seat& seat, FlowStage& stage, const FlowWork& work, const JournalHost& host) {
  engine::Engine& engine = seat.engine();
  engine::Lease leases[kPrefetch];
  engine::TaskView view;
  NumberLedger ledger(work.warm_up + work.tasks + work.backlog);
  const auto run_until = [&](std::uint64_t end) {
    while (ledger.seen() < end) {
      const std::uint64_t sent = stage.sent.load(std::memory_order_acquire);
      const std::uint64_t most = sent > ledger.seen() + work.backlog ? sent - ledger.seen() - work.backlog : 0;
      const std::int64_t now_ns = base::monotonic_ns();
      const std::uint64_t left = std::min<std::uint64_t>(kPrefetch, end - ledger.seen());
      // Not a few of a run: they would move out of it.
      const auto wanted = static_cast<std::uint32_t>(most < left ? 0 : left);
      const std::uint32_t n = wanted == 0 ? 0 : engine.claim(seat.queue(), leases, wanted, now_ns);
      seat.participant().beat();
      if (n == 0) nap();
      for (std::uint32_t i = 0; i < n; ++i) {
        if (!engine.view(leases[i], view) || engine.begin(leases[i], view, now_ns) != engine::Begin::kStart)
          throw Failure("a lease was lost");
        ledger.mark(view.payload);
        if (engine.succeed_later(leases[i], view, now_ns) != engine::Settled::kDone)
          throw Failure("an acknowledgement was refused");
      }
      if (n != 0 && engine.commit_acks() != engine::Settled::kDone) throw Failure("an acknowledgement was refused");
      stage.done.store(ledger.seen(), std::memory_order_release);
    }
  };
  run_until(work.warm_up);
  const DiskUse before = host.use();
  const std::uint64_t start = ticks_now();
  run_until(work.warm_up + work.tasks);
  host.await_disk(seat);
  stage.result.seconds = seconds_since(start);
  stage.result.use = host.use() - before;
  stage.result.tasks_per_s = static_cast<double>(work.tasks) / stage.result.seconds;
}

}  // namespace

JournalFlow append_rate(const std::string& directory, std::uint64_t tasks, std::uint32_t payload_bytes,
                        std::uint32_t batch) {
  const TemporaryDirectory disk(directory);
  const Scene scene(segment_for_tasks(tasks));
  JournalHost host(disk.path() + "/journal");
  Shared<JournalFlow> result;
  run_processes({host.writer(scene, 1),
                 {kAnyCpu,
                  [&] {
                    Seat seat(scene, shm::Role::kClient, "producer");
                    Sender sender(seat, payload_bytes, batch);
                    host.await_ready(seat);
                    touch_memory(seat, sender, tasks);
                    make_durable(scene, shm::Durability::kJournal);
                    host.await_disk(seat);
                    const DiskUse before = host.use();
                    const std::uint64_t start = ticks_now();
                    for (std::uint64_t i = 0; i < tasks;) i += sender.send(i, tasks - i);
                    host.await_disk(seat);
                    result->seconds = seconds_since(start);
                    result->use = host.use() - before;
                    result->tasks_per_s = static_cast<double>(tasks) / result->seconds;
                    host.leave();
                  }}},
                kDeadline);
  return *result;
}

JournalFlow flow_rate(const std::string& directory, const FlowWork& work) {
  const TemporaryDirectory disk(directory);
  const Scene scene(segment_for_tasks(2 * work.backlog));
  make_durable(scene, shm::Durability::kJournal);
  JournalHost host(disk.path() + "/journal");
  Shared<FlowStage> stage;
  const auto user = [&](shm::Role role, const auto& body) {
    return Role{kAnyCpu, [&host, &scene, role, body] {
                  Seat seat(scene, role, "flow");
                  host.await_ready(seat);
                  body(seat);
                  host.leave();
                }};
  };
  run_processes({host.writer(scene, 2), user(shm::Role::kClient, [&](Seat& seat) { produce_flow(seat, *stage, work); }),
                 user(shm::Role::kWorker, [&](Seat& seat) { consume_flow(seat, *stage, work, host); })},
                kDeadline);
  return stage->result;
}

namespace {

// The public API's door, as a program uses it.
class FrontDoor {
 public:
  explicit FrontDoor(const Scene& scene) : client_(open(scene)) { payload_.resize(kFrontDoorPayloadBytes); }

  void enqueue(std::uint64_t task) {
    write_payload(task, payload_);
    const auto made = client_.enqueue(kTask, std::string_view(payload_.data(), payload_.size()));
    if (!made.ok()) throw Failure(made.error().message);
  }

 private:
  static constexpr Task<void(std::string_view)> kTask{"bench.no-op", {.queue = "bench"}};
  static Client open(const Scene& scene) {
    auto client = Client::open(scene.name_space(), {.directory = scene.directory(), .create = false});
    if (!client.ok()) throw Failure(client.error().message);
    return std::move(*client);
  }

  Client client_;
  std::vector<char> payload_;
};

}  // namespace

Percentiles enqueue_times(const std::string& directory, shm::Durability durability, std::uint64_t tasks,
                          double pace_ns) {
  const TemporaryDirectory disk(directory);
  const Scene scene(segment_for_tasks(tasks));
  JournalHost host(disk.path() + "/journal");
  SharedMemory memory(tasks * sizeof(std::uint64_t));
  const std::span<std::uint64_t> ticks(static_cast<std::uint64_t*>(memory.data()), tasks);
  const bool durable = durability != shm::Durability::kMemory;
  std::vector<Role> roles;
  if (durable) {
    make_durable(scene, durability);
    roles.push_back(host.writer(scene, 1));
  }
  roles.push_back({kAnyCpu, [&] {
                     if (durable) {
                       Seat seat(scene, shm::Role::kClient, "waiting");
                       host.await_ready(seat);
                     }
                     FrontDoor door(scene);
                     const std::uint64_t pace = pace_ns == 0 ? 0 : ticks_of_ns(pace_ns);
                     std::uint64_t next = ticks_now();
                     for (std::uint64_t i = 0; i < tasks; ++i) {
                       while (ticks_now() < next) cpu_relax();
                       const std::uint64_t start = ticks_now();
                       door.enqueue(i);
                       const std::uint64_t end = ticks_now();
                       ticks[i] = end - start;
                       next = std::max(next + pace, end);  // what was missed is not made up for
                     }
                     if (durable) host.leave();
                   }});
  run_processes(roles, kDeadline);
  return percentiles_of_ticks(ticks);
}

SharedCommits sync_rate(const std::string& directory, std::uint32_t producers, std::uint64_t tasks_each) {
  const TemporaryDirectory disk(directory);
  const Scene scene(segment_for_tasks(producers * tasks_each));
  make_durable(scene, shm::Durability::kSync);
  JournalHost host(disk.path() + "/journal");
  struct Stage {
    StartGate gate;
    std::atomic<std::uint64_t> start_ticks{0}, writes{0};
    std::atomic<std::uint32_t> left{0};
    SharedCommits result;
  };
  Shared<Stage> stage;
  stage->left = producers;
  std::vector<Role> roles{host.writer(scene, producers)};
  for (std::uint32_t p = 0; p < producers; ++p) {
    roles.push_back({kAnyCpu, [&, p] {
                       {
                         Seat seat(scene, shm::Role::kClient, "waiting");
                         host.await_ready(seat);
                       }
                       FrontDoor door(scene);
                       stage->gate.arrive_and_wait(producers);
                       std::uint64_t none = 0;
                       if (stage->start_ticks.compare_exchange_strong(none, ticks_now()))
                         stage->writes = host.use().writes;
                       for (std::uint64_t i = 0; i < tasks_each; ++i) door.enqueue(p * tasks_each + i);
                       if (stage->left.fetch_sub(1) == 1) {
                         const auto all = static_cast<double>(producers * tasks_each);
                         stage->result.tasks_per_s = all / seconds_since(stage->start_ticks);
                         stage->result.tasks_per_write =
                             all / static_cast<double>(std::max<std::uint64_t>(1, host.use().writes - stage->writes));
                       }
                       host.leave();
                     }});
  }
  run_processes(roles, kDeadline);
  return stage->result;
}

JournalRecovery recover(const std::string& directory, std::uint64_t tasks, std::uint32_t payload_bytes) {
  const TemporaryDirectory disk(directory);
  JournalHost host(disk.path() + "/journal");
  {
    const Scene before(segment_for_tasks(tasks));
    make_durable(before, shm::Durability::kJournal);
    run_processes({host.writer(before, 1),
                   {kAnyCpu,
                    [&] {
                      Seat seat(before, shm::Role::kClient, "producer");
                      Sender sender(seat, payload_bytes, /*batch=*/1);
                      host.await_ready(seat);
                      for (std::uint64_t i = 0; i < tasks;) i += sender.send(i, tasks - i);
                      host.await_disk(seat);
                      host.leave();
                    }}},
                  kDeadline);
  }
  const DiskUse written = host.use();
  const Scene after(segment_for_tasks(tasks));
  run_processes({host.writer(after, 1),
                 {kAnyCpu,
                  [&] {
                    Seat seat(after, shm::Role::kTool, "waiting");
                    host.await_ready(seat);
                    host.leave();
                  }}},
                kDeadline);
  if (host.restored() != tasks)
    throw Failure(fmt::format("{} of {} tasks came back from the journal", host.restored(), tasks));
  return {host.opened_s(), host.ready_s(), static_cast<double>(written.bytes), host.use() - written};
}

}  // namespace stem::bench
