// Stem with a journal, doing the work of peers that write to disk too.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "bench/failure.hpp"
#include "bench/journal.hpp"
#include "bench/server_process.hpp"
#include "bench/stem_producer.hpp"
#include "stem/client.hpp"

namespace stem::bench {

namespace {

constexpr Task<void(std::string_view)> kTask{"bench.no-op", {.queue = "bench"}};

// Through the public API, which is what waits for the disk.
void produce_through_api(Client& client, const Work& work) {
  std::vector<std::vector<char>> payloads(work.batch, std::vector<char>(work.payload_bytes));
  using Args = Task<void(std::string_view)>::Args;
  std::vector<Args> args;
  for (std::uint64_t sent = 0; sent < work.tasks;) {
    const std::uint64_t n = std::min<std::uint64_t>(work.batch, work.tasks - sent);
    args.clear();
    for (std::uint64_t i = 0; i < n; ++i) {
      write_payload(work.first + sent + i, payloads[i]);
      args.emplace_back(std::string_view(payloads[i].data(), payloads[i].size()));
    }
    const auto made = client.enqueue_many(kTask, std::span<const Args>(args));
    if (made.error) throw Failure(made.error->message);
    sent += n;
  }
}

PeerResult run(const std::string& name, const std::string& directory, shm::Durability durability, const Work& work) {
  shm::SegmentOptions options;
  options.slot_count =
      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(work.tasks + work.tasks / 8, 1u << 16, shm::kMaxSlots));
  const Scene scene(options);
  const TemporaryDirectory disk(directory);
  make_durable(scene, durability);
  JournalHost host(disk.path() + "/journal");
  const Role writer = host.writer(scene, 1);
  const auto producer = [&](const Work& share) -> std::function<void()> {
    Seat waiting(scene, shm::Role::kClient, "waiting");
    host.await_ready(waiting);
    auto client = Client::open(scene.name_space(), {.directory = scene.directory(), .create = false});
    if (!client.ok()) throw Failure(client.error().message);
    return [share, open = std::make_shared<Client>(std::move(*client))] { produce_through_api(*open, share); };
  };
  const Side consumer = [&]() -> std::function<void()> {
    auto place = std::make_shared<Seat>(scene, shm::Role::kWorker, "peers");
    host.await_ready(*place);
    return [&work, &host, place] {
      consume_stem(*place, work, /*naps=*/true);
      host.await_disk(*place);
      host.leave();
    };
  };
  return run_sides(name, work, shared_out(work, producer), consumer, std::chrono::minutes(5), {writer});
}

}  // namespace

Peer stem_with_journal(const std::string& directory, shm::Durability durability) {
  const bool sync = durability == shm::Durability::kSync;
  Peer one;
  one.key = sync ? "stem_sync" : "stem_journal";
  one.name = sync ? "Stem, sync" : "Stem, journal";
  one.how = "enqueue_many by 100; claim up to 64, succeed each; timed until the journal has the last end";
  one.is_subject = true;
  one.missing = [] { return std::string(); };
  one.run = [directory, durability, label = one.name](const Work& work) {
    return run(label, directory, durability, work);
  };
  return one;
}

std::vector<Peer> durable_peers(const std::string& directory) {
  constexpr int kBeanstalkdDefaultMs = 50;
  return {stem_with_journal(directory, shm::Durability::kJournal),
          beanstalkd_binlog(directory, kBeanstalkdDefaultMs),
          redis_aof(directory, "everysec"),
          stem_with_journal(directory, shm::Durability::kSync),
          beanstalkd_binlog(directory, 0),
          redis_aof(directory, "always")};
}

}  // namespace stem::bench
