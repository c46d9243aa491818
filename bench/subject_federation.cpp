// Stem between two hosts, doing the peers' work over the peers' Redis: a producer process on one, a worker process on
// the other, a gateway each.
#include <memory>
#include <vector>

#include "base/clock.hpp"
#include "bench/failure.hpp"
#include "bench/federation_host.hpp"
#include "bench/peer.hpp"
#include "bench/stem_producer.hpp"

namespace stem::bench {

namespace {

constexpr std::uint32_t kBatch = 64;
constexpr const char* kName = "Stem, host to host";

// Until every task has run, and Redis has heard so of each.
void consume(Seat& seat, const RedisServer& server, const Work& work) {
  TaskLedger ledger(work.tasks, work.payload_bytes);
  std::atomic<std::uint32_t> stop{0};
  serve(seat, stop, [&](const engine::TaskView& view) {
    ledger.mark({reinterpret_cast<const char*>(view.payload.data()), view.payload.size()});
    if (ledger.seen() == work.tasks) stop.store(1, std::memory_order_relaxed);
  });
  RedisClient redis(server.socket());
  while (redis.command({"XLEN", kStreamKey})->integer != 0) nap_us(500);
}

PeerResult run(const Work& work) {
  const RedisServer server;
  shm::SegmentOptions options;
  options.slot_count =
      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(work.tasks + work.tasks / 8, 1u << 16, shm::kMaxSlots));
  const Scene origin(options), target;
  const GatewayProcess exporting(origin, server, {{kBenchQueue}, {}});
  const GatewayProcess importing(target, server, {{}, {kBenchQueue}});
  const Side producer = [&]() -> std::function<void()> {
    return [&work, place = std::make_shared<Seat>(origin, shm::Role::kClient, "peers")] {
      produce_stem(*place, work, kBatch);
    };
  };
  const Side consumer = [&]() -> std::function<void()> {
    return [&work, &server, place = std::make_shared<Seat>(target, shm::Role::kWorker, "peers")] {
      consume(*place, server, work);
    };
  };
  return run_sides(kName, work, producer, consumer);
}

}  // namespace

std::vector<Peer> federation_subjects() {
  Peer peer;
  peer.key = "stem_hosts";
  peer.name = kName;
  peer.how = "enqueue_many by 64 on one host, a worker on another, a gateway each";
  peer.is_subject = true;
  peer.missing = federation_missing;
  peer.run = run;
  return {peer};
}

}  // namespace stem::bench
