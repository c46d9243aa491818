#include "bench/life_cycle.hpp"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "base/clock.hpp"
#include "bench/failure.hpp"
#include "bench/floor.hpp"
#include "bench/scene.hpp"
#include "worker/worker_options.hpp"

namespace stem::bench {

namespace {

using worker::kTasksPerClockRead;  // as a worker process does with handlers this quick

// Written by the worker, read by one producer: how many of its tasks are over.
struct alignas(128) Done {
  std::atomic<std::uint64_t> tasks{0};
};

struct Stage {
  alignas(128) HandoffArea handoff;
  alignas(128) StartGate filled;  // every producer has queued its first tasks
  alignas(128) StartGate start;
  alignas(128) StartGate probed;
  alignas(128) Measured result;  // writer: first producer the hand-offs, worker the rates
  double producer_loss = 0;
  double worker_loss = 0;
  Done done[kMostProducers];
};

// The first word of a payload: who made it, and its number there.
constexpr int kProducerShift = 48;

void sleep_briefly() noexcept {
  const timespec nap{0, 50'000};
  nanosleep(&nap, nullptr);
}

// Enqueues its share, at most `depth` ahead of the worker.
class Producer {
 public:
  Producer(Seat& seat, Stage& stage, const LifeCycle& shape, std::uint32_t number, std::uint64_t share,
           std::uint64_t depth)
      : seat_(seat), stage_(stage), shape_(shape), number_(number), share_(share), depth_(depth) {
    const std::uint32_t words = (shape.payload_bytes + 7) / 8;
    payloads_.assign(std::size_t{shape.batch} * words, 0);
    for (std::uint32_t i = 0; i < shape.batch; ++i) {
      first_words_.push_back(payloads_.data() + std::size_t{i} * words);
      engine::TaskSpec spec;
      spec.queue = seat.queue();
      spec.task = seat.task();
      spec.payload = {reinterpret_cast<const std::byte*>(first_words_.back()), shape.payload_bytes};
      specs_.push_back(spec);
    }
  }

  void run_until(std::uint64_t end) {
    end = std::min(end, share_);
    while (sent_ < end) {
      const std::uint64_t n = std::min<std::uint64_t>(shape_.batch, end - sent_);
      wait_for_room(n);
      for (std::uint64_t i = 0; i < n; ++i) *first_words_[i] = std::uint64_t{number_} << kProducerShift | (sent_ + i);
      send(n);
      sent_ += n;
    }
  }
  void run() { run_until(share_); }

 private:
  void send(std::uint64_t n) {
    engine::Engine& engine = seat_.engine();
    const std::int64_t now_ns = base::monotonic_ns();
    engine::EnqueueStatus status = engine::EnqueueStatus::kOk;
    if (shape_.in_place) {
      engine::Loan loan;
      engine::TaskSpec spec = specs_[0];
      spec.payload = {};
      status = engine.loan(spec, shape_.payload_bytes, loan, now_ns);
      if (status == engine::EnqueueStatus::kOk) {
        // What a user would have computed there: here it is only the number and the last byte.
        std::memcpy(loan.payload.data(), first_words_[0], sizeof(std::uint64_t));
        loan.payload.back() = std::byte{0};
        status = engine.publish(loan, now_ns).status;
      }
    } else if (shape_.batch == 1) {
      status = engine.enqueue(specs_[0], now_ns).status;
    } else {
      std::size_t accepted = 0;
      status = engine.enqueue_many(specs_.data(), n, nullptr, accepted, now_ns);
    }
    if (status != engine::EnqueueStatus::kOk) throw Failure(fmt::format("enqueue said {}", engine::to_string(status)));
  }

  void wait_for_room(std::uint64_t n) {
    while (sent_ + n - known_done_ > depth_) {
      // order(bench.done): acquire; pairs with the release in Worker::publish()
      known_done_ = stage_.done[number_].tasks.load(std::memory_order_acquire);
      if (sent_ + n - known_done_ <= depth_) return;
      if (shape_.producers > 1) {
        sleep_briefly();  // a producer that is told to wait leaves the core to others
      } else {
        cpu_relax();
      }
    }
  }

  Seat& seat_;
  Stage& stage_;
  const LifeCycle& shape_;
  std::uint32_t number_;
  std::uint64_t share_;
  std::uint64_t depth_;
  std::uint64_t sent_ = 0;
  std::uint64_t known_done_ = 0;
  std::vector<std::uint64_t> payloads_;
  std::vector<std::uint64_t*> first_words_;
  std::vector<engine::TaskSpec> specs_;
};

// The loop of a worker process whose handlers are short: claim, run, settle, heartbeat.
class Worker {
 public:
  Worker(Seat& seat, Stage& stage, const LifeCycle& shape)
      : seat_(seat),
        stage_(stage),
        shape_(shape),
        done_(shape.producers),
        sums_(shape.producers),
        publish_every_(std::clamp<std::uint64_t>(shape.depth / shape.producers / 16, 1, 1024)) {}

  // Times the first `timed` tasks, and runs all.
  void run(std::uint64_t timed, std::uint64_t all) {
    // Long enough that neither a backlog that drains nor one scheduling pause is a stretch of its own.
    const std::uint64_t stretch = std::clamp<std::uint64_t>(timed / 64, 4096, 131'072);
    RateMeter meter(timed, stretch);
    const CoreLoss loss;
    meter.start();
    now_ns_ = base::monotonic_ns();
    while (finished_ < timed) {
      look_for_work();
      meter.count(finished_);
    }
    meter.finish(finished_);
    stage_.worker_loss = loss.share();
    stage_.result.value = meter.per_s();
    stage_.result.steady = meter.steady_per_s();
    while (finished_ < all) look_for_work();
    publish();
  }

  // Every task of every producer exactly once: their number and the sum of their numbers.
  void check(std::uint64_t share) const {
    for (std::uint32_t p = 0; p < shape_.producers; ++p) {
      const std::uint64_t sum = share * (share - 1) / 2;
      if (done_[p] != share || sums_[p] != sum)
        throw Failure(
            fmt::format("producer {}: {} tasks ran, {} were sent (sum {} for {})", p, done_[p], share, sums_[p], sum));
    }
  }

 private:
  void look_for_work() {
    // As a worker process does: quick tasks are taken by the run, whatever the prefetch is.
    const std::uint32_t most = std::max(shape_.prefetch, engine::kRunItems);
    const std::uint32_t n = seat_.engine().claim(seat_.queue(), leases_, most, now_ns_);
    seat_.participant().beat();
    if (n == 0) {
      publish();
      now_ns_ = base::monotonic_ns();
    }
    for (std::uint32_t i = 0; i < n; ++i) run_one(leases_[i]);
    if (n != 0) check_settled(seat_.engine().commit_acks());
  }

  static void check_settled(engine::Settled settled) {
    if (settled != engine::Settled::kDone) throw Failure("a lease was lost before its acknowledgement");
  }

  void run_one(const engine::Lease& lease) {
    engine::Engine& engine = seat_.engine();
    if (!engine.view(lease, view_)) throw Failure("a lease was lost before its view");
    if (engine.begin(lease, view_, now_ns_) != engine::Begin::kStart) throw Failure("a task was not started");
    handle();
    if (++since_clock_ == kTasksPerClockRead) read_clock();
    check_settled(engine.succeed_later(lease, view_, now_ns_));
    if (++finished_ - published_at_ >= publish_every_) publish();
  }

  // The handler reads its whole payload when that is all it could do with it: a claim that nobody looks at
  // would cost less than any use of it.
  void handle() {
    std::uint64_t first = 0;
    if (view_.payload.size() < sizeof first) throw Failure("a task came without its payload");
    std::memcpy(&first, view_.payload.data(), sizeof first);
    if (!shape_.in_place) keep_ += sum_of(view_.payload);
    const std::uint64_t producer = first >> kProducerShift;
    if (producer >= done_.size()) throw Failure(fmt::format("a task of producer {} came", producer));
    ++done_[producer];
    sums_[producer] += first & ((std::uint64_t{1} << kProducerShift) - 1);
  }

  static std::uint64_t sum_of(std::span<const std::byte> bytes) noexcept {
    std::uint64_t sum = 0;
    const auto add = [&](std::size_t at) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, sizeof word);
      sum += word;
    };
    std::size_t at = 0;
    for (; at + 64 <= bytes.size(); at += 64)  // a line at a time, as the bare ring's consumer
      for (std::size_t word = 0; word < 8; ++word) add(at + word * 8);
    for (; at + 8 <= bytes.size(); at += 8) add(at);
    asm volatile("" : : "r"(sum));
    return sum;
  }

  void read_clock() noexcept {
    const std::int64_t now_ns = base::monotonic_ns();
    seat_.participant().record_duration(view_.task, (now_ns - now_ns_) / kTasksPerClockRead, kTasksPerClockRead);
    now_ns_ = now_ns;
    since_clock_ = 0;
  }

  void publish() noexcept {
    published_at_ = finished_;
    for (std::uint32_t p = 0; p < shape_.producers; ++p) {
      if (published_[p] == done_[p]) continue;
      published_[p] = done_[p];
      // order(bench.done): release; pairs with the acquire in Producer::wait_for_room()
      stage_.done[p].tasks.store(done_[p], std::memory_order_release);
    }
  }

  Seat& seat_;
  Stage& stage_;
  const LifeCycle& shape_;
  engine::TaskView view_;
  engine::Lease leases_[kMostBatch];
  std::vector<std::uint64_t> done_, sums_;
  std::uint64_t published_[kMostProducers] = {};
  // Tasks between two stores of the producers' counters, which they may be looking at all the time: often enough that
  // nobody runs short of room, seldom enough that this, which no queue has, is not what is measured.
  const std::uint64_t publish_every_;
  std::uint64_t published_at_ = 0;
  std::uint64_t keep_ = 0;
  std::uint64_t finished_ = 0;
  std::uint32_t since_clock_ = 0;
  std::int64_t now_ns_ = 0;
};

std::uint32_t slots_for(const LifeCycle& shape) {
  const std::uint64_t needed = std::uint64_t{shape.depth} + shape.depth / 16 + 16'384;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(std::bit_ceil(needed), shm::kMaxSlots));
}

}  // namespace

shm::SegmentOptions segment_for(const LifeCycle& shape) {
  shm::SegmentOptions options;
  options.slot_count = slots_for(shape);
  return options;
}

Measured life_cycle_rate(CpuPair cpus, const LifeCycle& shape) {
  return life_cycle_rate(cpus, shape, Scene(segment_for(shape)));
}

Measured life_cycle_rate(CpuPair cpus, const LifeCycle& shape, const Scene& scene,
                         const std::vector<Role>& companions) {
  Shared<Stage> stage;
  const std::uint64_t depth = std::max<std::uint64_t>(shape.depth / shape.producers, shape.batch);
  const std::uint64_t first = shape.fill_first ? depth : 0;
  const std::uint64_t share = shape.tasks / shape.producers + first;
  const std::uint32_t parties = shape.producers + 1;

  std::vector<Role> roles = companions;
  for (std::uint32_t p = 0; p < shape.producers; ++p) {
    roles.push_back({shape.pin_producers ? cpus.first : kAnyCpu, [&, p] {
                       Seat seat(scene, shm::Role::kClient, fmt::format("producer {}", p));
                       Producer producer(seat, *stage, shape, p, share, depth);
                       producer.run_until(first);
                       stage->filled.arrive_and_wait(parties);
                       if (p == 0) stage->result.handoff_before_ns = probe_lead(stage->handoff);
                       stage->start.arrive_and_wait(parties);
                       const CoreLoss loss;
                       producer.run();
                       if (p == 0 && shape.producers == 1) stage->producer_loss = loss.share();
                       stage->probed.arrive_and_wait(parties);
                       if (p == 0) stage->result.handoff_after_ns = probe_lead(stage->handoff);
                     }});
  }
  roles.push_back({cpus.second, [&] {
                     Seat seat(scene, shm::Role::kWorker, "worker");
                     Worker worker(seat, *stage, shape);
                     stage->filled.arrive_and_wait(parties);
                     probe_follow(stage->handoff);
                     stage->start.arrive_and_wait(parties);
                     worker.run((share - first) * shape.producers, share * shape.producers);
                     stage->probed.arrive_and_wait(parties);
                     probe_follow(stage->handoff);
                     worker.check(share);
                   }});
  run_processes(roles);
  stage->result.core_loss = std::max(stage->producer_loss, stage->worker_loss);
  return stage->result;
}

}  // namespace stem::bench
