// A producer: every kind of enqueue, each task with a number that its ledger names before and after.
#include <unistd.h>

#include <memory>
#include <vector>

#include "tests/chaos/roles.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::chaos {
namespace {

using engine::EnqueueStatus;
using test::Entry;

class Producer {
 public:
  explicit Producer(const Role& role)
      : role_(role),
        ledger_(role.ledger_path("producer"), role.ledger_capacity),
        segment_(test::must_attach(kNamespace, role.directory)),
        attached_(segment_, shm::Role::kClient),
        queue_(test::must_queue(*segment_, kQueue)),
        task_(test::must_task(*segment_, "task")),
        random_(role.seed),
        payload_(8192) {
    extras_.visibility_ns = 700'000'000;
    extras_.result_ttl_ns = 2'000'000'000;  // kept results must not fill the segment
    // After the last number that a predecessor offered.
    for (std::size_t i = ledger_.size(); i > 0; --i) {
      if (ledger_.at(i - 1).what != Entry::kOffered) continue;
      next_ = ledger_.at(i - 1).task + 1;
      return;
    }
    next_ = std::uint64_t{role.index} << kProducerBits;
  }

  int run() {
    const double each = role_.options.tasks_per_second / role_.options.producers;
    const std::int64_t start = base::monotonic_ns();
    for (double made = 0; role_.switches.producing.load(std::memory_order_relaxed) != 0 && !ledger_.full();) {
      attached_.participant->beat();
      const double allowed = static_cast<double>(base::monotonic_ns() - start) * 1e-9 * each;
      if (made >= allowed) {
        ::usleep(200);
        continue;
      }
      const std::uint32_t count = happens(role_.options.batch_share) ? batch() : one(random_.below(100));
      if (count == 0) ::usleep(500);  // full
      made += count;
    }
    return 0;
  }

 private:
  bool happens(double share) { return random_.below(1'000'000) < static_cast<std::uint64_t>(share * 1e6); }

  std::uint32_t one(std::uint64_t kind) {
    test::Numbered numbered(queue_, task_, next_);
    engine::TaskSpec& spec = numbered.spec;
    const std::int64_t now = base::monotonic_ns();
    shape(spec, kind, now);
    if (kind >= 90) {  // a payload in a block; its first word is the number
      payload_[0] = numbered.number;
      spec.payload = std::as_bytes(std::span(payload_).first(10 + random_.below(payload_.size() - 10)));
    }
    ledger_.append({Entry::kOffered, 0, next_++});
    const bool forget = role_.options.canary == Canary::kForgetAccepted && numbered.number % 1000 == 11;
    const EnqueueStatus status = forget ? EnqueueStatus::kOk : attached_->enqueue(spec, now).status;
    note(status, numbered.number);
    return status == EnqueueStatus::kOk ? 1 : 0;
  }

  void shape(engine::TaskSpec& spec, std::uint64_t kind, std::int64_t now) {
    spec.priority = static_cast<std::uint8_t>(random_.below(3));
    spec.max_retries = 10'000;
    if (kind >= 30) spec.extras = &extras_;  // a short lease: stopped workers lose it
    if (kind >= 70 && kind < 80) spec.due_ns = now + static_cast<std::int64_t>(random_.below(200'000'000));
    if (kind >= 80 && kind < 95) spec.keep_result = true;
  }

  std::uint32_t batch() {
    const auto count = static_cast<std::uint32_t>(2 + random_.below(30));
    std::vector<std::unique_ptr<test::Numbered>> tasks;
    std::vector<engine::TaskSpec> specs;
    for (std::uint32_t i = 0; i < count; ++i) {
      tasks.push_back(std::make_unique<test::Numbered>(queue_, task_, next_));
      tasks.back()->spec.max_retries = 10'000;
      specs.push_back(tasks.back()->spec);
      ledger_.append({Entry::kOffered, 0, next_++});
    }
    std::size_t done = 0;
    const EnqueueStatus status =
        attached_->enqueue_many(specs.data(), specs.size(), nullptr, done, base::monotonic_ns());
    for (std::uint32_t i = 0; i < count; ++i) note(i < done ? EnqueueStatus::kOk : status, tasks[i]->number);
    return static_cast<std::uint32_t>(done);
  }

  void note(EnqueueStatus status, std::uint64_t number) {
    ledger_.append({status == EnqueueStatus::kOk ? Entry::kAccepted : Entry::kRefused, 0, number});
  }

  const Role& role_;
  test::Ledger ledger_;
  std::shared_ptr<shm::Segment> segment_;
  test::Attached attached_;
  std::uint32_t queue_, task_;
  base::Random random_;
  std::vector<std::uint64_t> payload_;
  engine::TaskExtras extras_;
  std::uint64_t next_ = 0;
};

}  // namespace

int produce(const Role& role) { return Producer(role).run(); }

}  // namespace stem::chaos
