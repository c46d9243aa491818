#include "bench/stem_producer.hpp"

#include <algorithm>
#include <vector>

#include "base/clock.hpp"
#include "bench/failure.hpp"

namespace stem::bench {

void produce_stem(Seat& seat, const Work& work, std::uint32_t batch) {
  std::vector<char> payloads(std::size_t{batch} * work.payload_bytes);
  std::vector<engine::TaskSpec> specs(batch);
  for (std::uint64_t sent = 0; sent < work.tasks;) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(batch, work.tasks - sent));
    for (std::size_t i = 0; i < n; ++i) {
      const std::span<char> payload(payloads.data() + i * work.payload_bytes, work.payload_bytes);
      write_payload(sent + i, payload);
      specs[i].queue = seat.queue();
      specs[i].task = seat.task();
      specs[i].payload = std::as_bytes(payload);
    }
    std::size_t done = 0;
    const std::int64_t now_ns = base::monotonic_ns();
    if (batch == 1) {
      done = seat.engine().enqueue(specs[0], now_ns).status == engine::EnqueueStatus::kOk ? 1 : 0;
    } else if (seat.engine().enqueue_many(specs.data(), n, nullptr, done, now_ns) != engine::EnqueueStatus::kOk) {
      done = 0;
    }
    if (done != n) throw Failure("Stem did not accept a task");
    sent += n;
  }
}

}  // namespace stem::bench
