#include "federation/gateway.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <memory>
#include <random>
#include <type_traits>

#include "base/clock.hpp"
#include "base/histogram.hpp"
#include "base/log.hpp"
#include "base/spin_pause.hpp"
#include "engine/keeper.hpp"
#include "federation/client_fence.hpp"
#include "federation/connected_redis.hpp"
#include "federation/gateway_status.hpp"
#include "federation/host_control.hpp"
#include "federation/limit_desk.hpp"
#include "federation/registry.hpp"
#include "io/doorbell_bridge.hpp"
#include "io/loop.hpp"
#include "journal/expect.hpp"
#include "shm/death.hpp"
#include "shm/doorbell.hpp"
#include "shm/names.hpp"

namespace stem::federation {
namespace {

constexpr std::int64_t kWatchEndsNs = 200'000;    // imported tasks run here: their ends are looked for
constexpr std::int64_t kWatchIdlyNs = 2'000'000;  // when nothing has come or ended for a while
constexpr std::int64_t kBusyNs = 20'000'000;
constexpr std::int64_t kLookNs = 2'000'000;  // local workers are rung first, so the backlog is looked at
constexpr std::int64_t kPredecessorNs = 10'000'000'000;
constexpr std::int64_t kIdleNs = 50'000'000;
constexpr std::int64_t kLimitsNs = 10'000'000;
constexpr std::int64_t kSubscribeNs = 100'000'000;
constexpr std::int64_t kStatusEveryNs = 1'000'000'000;
constexpr int kLooksPerTurn = 16;  // at the segment, while it spins, for each at the sockets and the clock

std::atomic<int> g_stops{0};
void on_stop(int) { g_stops.fetch_add(1, std::memory_order_relaxed); }

Clocks read_clocks() {
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  return {base::monotonic_ns(), std::chrono::duration_cast<std::chrono::microseconds>(wall).count()};
}

// A queue named twice is one queue: two importers of it would take each other's tasks for lost ones.
void drop_repeated(std::vector<std::string>& names) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
}

class Gateway {
 public:
  explicit Gateway(const GatewayOptions& options) : options_(options) {}
  Result<void> run();

 private:
  Result<void> attach();
  Result<void> refuse_a_second() const;
  Result<void> sweep_predecessor();
  Result<std::vector<std::uint32_t>> intern(const std::vector<std::string>& names);
  void make_connections();
  void make_parts(const std::vector<std::uint32_t>& exports, const std::vector<std::uint32_t>& imports);
  void adopt();
  void fence_predecessors(std::size_t link);
  void on_ready(std::size_t link);
  void turn();
  void do_chores(const Clocks& clocks);
  std::uint64_t events() const;
  std::int64_t wants_at_ns(std::int64_t now_ns) const;
  bool spin(std::int64_t until_ns);
  void wait(std::int64_t timeout_ns);
  void listen();
  void subscribe(std::int64_t now_ns);
  void pass_on_wishes();
  Exporter* exporter_of(std::uint32_t queue) const;
  void take_asked(const Clocks& clocks);
  UniqueKeys unique_keys_of(const std::string& queue) const;
  void report(const Clocks& clocks);
  void note_queues();
  void shut_down();
  // Names all gateways of this host, and with `instance_` this one.
  std::string clients() const { return "stem-gateway:" + transcript_->host() + ':'; }
  RedisOptions redis_options(const std::string& part) const;
  RedisEvents events_of(std::size_t link);
  ConnectedRedis& redis_of(const std::string& queue);
  template <class Do>
  void each_part(std::size_t link, const Do& act);
  void on_lost(std::size_t link, const std::string& reason);

  GatewayOptions options_;
  std::shared_ptr<shm::Segment> segment_;
  std::unique_ptr<shm::Participant> self_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<engine::Keeper> keeper_;
  shm::GatewayFigures* figures_ = nullptr;  // /dev/shm may have no room for them
  std::unique_ptr<Transcript> transcript_;
  std::unique_ptr<Keys> keys_;
  std::vector<std::unique_ptr<Exporter>> exporters_;
  std::vector<std::unique_ptr<Importer>> importers_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<io::DoorbellBridge> bridge_;
  // After what their handlers refer to.
  // The first for all queues, and for what all hosts share. In a cluster of Redis each queue has one of its own, which
  // follows the queue's slot.
  struct Link {
    std::string queue;
    std::unique_ptr<ConnectedRedis> redis;
  };
  std::vector<Link> links_;
  std::vector<std::unique_ptr<ConnectedRedis>> readers_;
  const std::string instance_ = fmt::format("{:016x}", std::random_device()() * (1ull << 32) + std::random_device()());
  bool in_hand_ = false;      // something is under way
  bool chores_wait_ = false;  // they were put off by one turn
  bool looks_ = false;        // an exported queue does not ring us
  std::int64_t keep_at_ns_ = 0;
  std::uint64_t events_ = 0;
  std::int64_t busy_until_ns_ = 0;
  std::int64_t spins_until_ns_ = 0;
  std::int64_t subscribe_at_ns_ = 0, status_at_ns_ = 0;
  GatewayStatus status_;
  bool status_told_ = true;  // whether its file can be written
  std::unique_ptr<Registry> registry_;
  std::unique_ptr<RevokeDesk> revokes_;
  std::unique_ptr<HostControl> control_;
  std::unique_ptr<LimitDesk> limits_;
  std::vector<engine::TaskId> wishes_;
};

Result<void> Gateway::attach() {
  shm::SegmentOptions options;  // of a new one, where no program has made it yet
  options.name_space = options_.name_space;
  options.directory = options_.directory;
  auto segment = journal::open_or_create(options);
  if (!segment) return segment.error();
  segment_ = *segment;
  auto self = shm::Participant::join(segment_, {shm::Role::kGateway, options_.node});
  if (!self) return self.error();
  self_ = std::move(*self);
  engine_ = std::make_unique<engine::Engine>(*self_);
  keeper_ = std::make_unique<engine::Keeper>(*engine_);
  transcript_ = std::make_unique<Transcript>(*segment_);
  keys_ = std::make_unique<Keys>(options_.redis_name_space, options_.cluster);
  if (auto alone = refuse_a_second(); !alone) return alone;
  if (segment_->commit(segment_->layout().gateway, sizeof(shm::GatewayFigures)))
    figures_ = segment_->at<shm::GatewayFigures>(segment_->layout().gateway);
  return sweep_predecessor();
}

// A gateway that was killed leaves its outbox to us, once it is swept: by us, or by whoever is at it already. Before
// that its tasks are nobody's, and would stay so.
Result<void> Gateway::sweep_predecessor() {
  const std::uint32_t rows = segment_->rows_used();
  const auto lingers = [&](std::uint32_t i) {
    const shm::RosterRow& row = segment_->row(i);
    return i != self_->index() &&
           row.role.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(shm::Role::kGateway) &&
           shm::row_state(row.status.load(std::memory_order_acquire)) != shm::RowState::kFree;
  };
  const std::int64_t until = base::monotonic_ns() + kPredecessorNs;
  (void)engine_->sweep_all(base::monotonic_ns());
  for (std::uint32_t i = 0; i < rows; ++i) {
    while (lingers(i)) {
      if (base::monotonic_ns() >= until || g_stops.load() > 0)
        return Error{Errc::kRefused,
                     fmt::format("the gateway before this one, process {}, has not ended yet", segment_->row(i).pid)};
      ::usleep(1000);
      (void)engine_->sweep(i, base::monotonic_ns());
    }
  }
  return {};
}

// Two that start at once may both be refused; never do both stay.
Result<void> Gateway::refuse_a_second() const {
  const std::uint32_t rows = segment_->rows_used();
  for (std::uint32_t i = 0; i < rows; ++i) {
    shm::RosterRow& row = segment_->row(i);
    if (i == self_->index() ||
        row.role.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(shm::Role::kGateway) ||
        shm::row_state(row.status.load(std::memory_order_acquire)) != shm::RowState::kLive || shm::signalled_dead(row))
      continue;
    return Error{Errc::kRefused, fmt::format("namespace {} has a gateway already: process {}; stop that one first",
                                             options_.name_space, row.pid)};
  }
  return {};
}

Result<std::vector<std::uint32_t>> Gateway::intern(const std::vector<std::string>& names) {
  std::vector<std::uint32_t> queues;
  for (const std::string& name : names) {
    if (const auto of = Keys::lane_owner(name); !of.empty())
      return Error{Errc::kInvalidArgument,
                   fmt::format("queue {0}: in Redis that is lane {1} of queue {2}; only a queue of another name can be "
                               "shared",
                               name, name.back(), of)};
    const auto queue = shm::intern_queue(*segment_, name);
    if (!queue) return queue.error().within("queue " + name);
    queues.push_back(*queue);
  }
  return queues;
}

RedisOptions Gateway::redis_options(const std::string& part) const {
  RedisOptions redis;
  redis.url = options_.redis;
  redis.tls = options_.tls;
  redis.client_name = clients() + instance_ + part;
  redis.follows_slot = options_.cluster;
  // WAIT speaks of one node alone: who waits for replicas stays with it.
  redis.follows_ask = options_.cluster && options_.wait_replicas == 0;
  redis.fence_others = clients();
  redis.fence_own = clients() + instance_;
  return redis;
}

// Not started yet: what their handlers call is made after them.
void Gateway::make_connections() {
  status_.node = options_.node;
  status_.host = transcript_->host();
  status_.pid = ::getpid();
  status_.name_space = options_.name_space;
  status_.redis = options_.redis.shown();
  status_.redis_name_space = options_.redis_name_space;
  status_.started_us = status_.since_us = read_clocks().wall_now_us;
  std::vector<std::string> queues{""};
  if (options_.cluster) {
    std::vector<std::string> own;
    std::set_union(options_.exports.begin(), options_.exports.end(), options_.imports.begin(), options_.imports.end(),
                   std::back_inserter(own));
    queues.insert(queues.end(), own.begin(), own.end());
  }
  for (const std::string& queue : queues) {
    const std::size_t link = links_.size();
    links_.push_back(
        {queue, std::make_unique<ConnectedRedis>(*loop_, redis_options(":" + std::to_string(link)), events_of(link))});
  }
  registry_ = std::make_unique<Registry>(*engine_, *links_[0].redis, *keys_, options_.heartbeat_every_ns);
  revokes_ = std::make_unique<RevokeDesk>(*links_[0].redis, *keys_);
  control_ = std::make_unique<HostControl>(*engine_, *links_[0].redis, *keys_, options_.node);
  for (std::size_t i = 0; i < options_.imports.size(); ++i) {
    RedisEvents reader;
    reader.ready = [this, i](const Session&) { importers_[i]->on_reader_ready(read_clocks()); };
    readers_.push_back(
        std::make_unique<ConnectedRedis>(*loop_, redis_options(":reader:" + std::to_string(i)), std::move(reader)));
  }
}

RedisEvents Gateway::events_of(std::size_t link) {
  RedisEvents events;
  events.ready = [this, link](const Session&) { on_ready(link); };
  events.lost = [this, link](const std::string& reason) { on_lost(link, reason); };
  events.failed = [this](const std::string& reason) {
    status_.last_fault = reason;
    status_.last_fault_us = read_clocks().wall_now_us;
    status_at_ns_ = 0;
  };
  events.round_trip = [this](std::int64_t ns) {
    if (figures_ == nullptr) return;
    auto& count = figures_->round_trip[base::histogram_bucket(ns)];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    const std::uint64_t sum = figures_->round_trip_sum_ns.load(std::memory_order_relaxed);
    figures_->round_trip_sum_ns.store(sum + static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 0)),
                                      std::memory_order_relaxed);
  };
  return events;
}

ConnectedRedis& Gateway::redis_of(const std::string& queue) {
  const auto own =
      std::find_if(links_.begin() + 1, links_.end(), [&](const Link& link) { return link.queue == queue; });
  return own == links_.end() ? *links_[0].redis : *own->redis;
}

// The exporters and importers that speak through this link.
template <class Do>
void Gateway::each_part(std::size_t link, const Do& act) {
  for (std::size_t i = 0; i < exporters_.size(); ++i)
    if (&redis_of(options_.exports[i]) == links_[link].redis.get()) act(*exporters_[i]);
  for (std::size_t i = 0; i < importers_.size(); ++i)
    if (&redis_of(options_.imports[i]) == links_[link].redis.get()) act(*importers_[i]);
}

void Gateway::on_lost(std::size_t link, const std::string& reason) {
  if (link == 0) {
    status_.connected = false;
    limits_->on_lost();
  }
  status_.since_us = read_clocks().wall_now_us;
  ++status_.losses;
  each_part(link, [](auto& part) { part.on_lost(); });
  log::warn("gateway lost Redis; local work goes on", {{"redis", options_.redis.shown()}, {"reason", reason}});
}

// What the gateway before us left in the segment.
void Gateway::adopt() {
  engine::Outbox outbox(*engine_);
  const Clocks clocks = read_clocks();
  std::size_t out = 0, in = 0;
  for (const engine::Parcel& parcel : outbox.adopt()) {
    Exporter* exporter = exporter_of(segment_->descriptor(parcel.slot).queue);
    if (exporter == nullptr) {  // a queue that is not exported any more: for one that exports it
      outbox.leave(parcel);
      continue;
    }
    exporter->adopt(parcel, clocks);
    ++out;
  }
  outbox.each_import([&](engine::TaskId id, const engine::TaskExtras& extras) {
    for (std::size_t i = 0; i < importers_.size(); ++i) {
      if (!Importer::is_of(options_.imports[i], extras.origin)) continue;
      importers_[i]->adopt(id, extras);
      ++in;
      return;
    }
  });
  if (out + in > 0) log::info("gateway goes on where one before it stopped", {{"outbox", out}, {"imported", in}});
}

// A predecessor's bytes may still lie in a socket of the server, and entries may still be given to its readers: before
// anything is read back, and before we look at what is pending, all of its connections end. (Ours are fenced by their
// sessions.)
void Gateway::fence_predecessors(std::size_t link) {
  ConnectedRedis& redis = *links_[link].redis;
  (void)redis.command({"CLIENT", "LIST"}, [this, link, &redis](const Reply& reply) {
    if (reply.error == RedisError::kLost || reply.error == RedisError::kNotSent) return;  // the next connection asks
    if (reply.is_text())
      for (const std::string& id : clients_to_fence(reply.text, clients(), clients() + instance_))
        (void)redis.command({"CLIENT", "KILL", "ID", id}, [](const Reply&) {});
    if (reply.is_error())
      log::warn("cannot fence a gateway before this one: its user may not CLIENT LIST", {{"error", reply.text}});
    const Clocks clocks = read_clocks();
    if (link == 0) limits_->on_ready();
    each_part(link, [&clocks](auto& part) { part.on_ready(clocks); });
  });
}

void Gateway::on_ready(std::size_t link) {
  const Clocks clocks = read_clocks();
  if (link == 0) {
    status_.connected = true;
    status_.since_us = clocks.wall_now_us;
    registry_->beat_now();
    revokes_->on_ready();
    control_->on_ready();
  }
  status_at_ns_ = 0;
  fence_predecessors(link);
}

// Exporters come first, and what they have sent goes out before the rest is done: there is time for that while Redis
// wakes up.
void Gateway::turn() {
  self_->beat();
  const Clocks clocks = read_clocks();
  if (engine_->inbox_has_hints()) take_asked(clocks);
  bool sent = false;
  for (auto& exporter : exporters_) sent = exporter->step(clocks) || sent;
  if (sent) spins_until_ns_ = clocks.now_ns + options_.spin_ns;
  chores_wait_ = sent && !chores_wait_;
  if (!chores_wait_) do_chores(clocks);
}

void Gateway::do_chores(const Clocks& clocks) {
  keep_at_ns_ = keeper_->step(clocks.now_ns);  // a host without workers has delayed tasks and dead producers too
  pass_on_wishes();
  revokes_->step(clocks);
  limits_->step(clocks);
  in_hand_ = std::any_of(exporters_.begin(), exporters_.end(), [](const auto& one) { return one->awaited() > 0; });
  for (auto& importer : importers_) in_hand_ = importer->step(clocks) || in_hand_;
  control_->step(clocks);
  in_hand_ = in_hand_ || control_->is_busy();
  if (const std::uint64_t done = events(); done != events_) {
    events_ = done;
    busy_until_ns_ = clocks.now_ns + kBusyNs;
    spins_until_ns_ = clocks.now_ns + options_.spin_ns;
  }
  if (clocks.now_ns >= subscribe_at_ns_) subscribe(clocks.now_ns);
  report(clocks);
}

// Grows with every task that comes, goes or ends.
std::uint64_t Gateway::events() const {
  std::uint64_t n = 0;
  for (const auto& exporter : exporters_) n += exporter->stats().confirmed + exporter->stats().results;
  for (const auto& importer : importers_) n += importer->stats().imported + importer->stats().settled;
  return n;
}

// What commands on this host wish revoked that has left it.
void Gateway::pass_on_wishes() {
  wishes_.clear();
  engine::Outbox(*engine_).take_wishes(wishes_);
  for (const engine::TaskId id : wishes_)
    for (auto& exporter : exporters_) exporter->revoke(id);
}

Exporter* Gateway::exporter_of(std::uint32_t queue) const {
  const auto found =
      std::find_if(exporters_.begin(), exporters_.end(), [queue](const auto& one) { return one->queue() == queue; });
  return found == exporters_.end() ? nullptr : found->get();
}

// What workers here may not start before its unique key is asked for.
void Gateway::take_asked(const Clocks& clocks) {
  engine::Parcel parcels[64];
  const auto wanted = [&](std::uint32_t queue) {
    const Exporter* exporter = exporter_of(queue);
    return exporter != nullptr && exporter->takes_asked(clocks.now_ns);
  };
  const std::uint32_t n = engine::SharedKeys(*engine_).take_asked(parcels, std::size(parcels), wanted, clocks.now_ns);
  for (std::uint32_t i = 0; i < n; ++i)
    exporter_of(segment_->descriptor(parcels[i].slot).queue)->take_asked(parcels[i], clocks);
}

void Gateway::listen() {
  // A thread less to wake for each task that comes while all is idle.
  if (loop_->can_wait_futex()) {
    loop_->wait_futex(self_->row().doorbell, shm::prepare_sleep(*self_), [this](std::int32_t) { listen(); });
    return;
  }
  loop_->wait_readable(bridge_->fd(), [this](std::int32_t) {
    bridge_->clear();
    listen();
  });
}

// When an exporter has something to take; INT64_MAX: not before something comes.
std::int64_t Gateway::wants_at_ns(std::int64_t now_ns) const {
  const bool asked = engine_->inbox_has_hints();
  std::int64_t at_ns = INT64_MAX;
  for (const auto& exporter : exporters_)
    at_ns = std::min(at_ns, asked && exporter->takes_asked(now_ns) ? now_ns : exporter->wants_at_ns(now_ns));
  return at_ns;
}

// For a while after each task. Who looks is not among the sleepers, so producers ring nobody. It yields: where spinners
// are as many as processors, Redis and workers would have to wait for the end of a time slice now and then
// (docs/performance.md). False: it is time to sleep.
bool Gateway::spin(std::int64_t until_ns) {
  const auto sees_task = [](const auto& exporter) { return exporter->sees_task(); };
  std::int64_t now_ns = base::monotonic_ns();
  if (now_ns >= spins_until_ns_) return false;
  do {
    const auto ran = loop_->run_once(0);
    if (!ran) return false;
    if (*ran > 0) return true;
    for (int look = 0; look < kLooksPerTurn && std::none_of(exporters_.begin(), exporters_.end(), sees_task); ++look)
      base::spin_pause();
    now_ns = base::monotonic_ns();
    // Tasks that local workers will run may lie there all the time: whether they may leave is asked once a turn.
    const bool asked = engine_->inbox_has_hints();
    for (const auto& exporter : exporters_) {
      if (asked && exporter->takes_asked(now_ns)) return true;
      if (exporter->sees_task() && exporter->takes_at_ns(now_ns) <= now_ns) return true;
    }
    ::sched_yield();
  } while (now_ns < std::min(until_ns, spins_until_ns_) && g_stops.load(std::memory_order_relaxed) == 0);
  return now_ns < spins_until_ns_;
}

void Gateway::wait(std::int64_t timeout_ns) {
  if (options_.spin_ns != 0) {
    const std::int64_t until_ns = base::monotonic_ns() + timeout_ns;
    if (spin(until_ns)) return;
    timeout_ns = std::max<std::int64_t>(until_ns - base::monotonic_ns(), 0);
  }
  for (auto& exporter : exporters_) exporter->clear_marks();
  shm::set_sleep_bit(*self_);
  const std::int64_t now_ns = base::monotonic_ns();
  (void)loop_->run_once(std::min(wants_at_ns(now_ns) - now_ns, timeout_ns));
  shm::clear_sleep_bit(*self_);
}

// A queue without workers here, or that may go anywhere, rings us; the others ring their workers.
void Gateway::subscribe(std::int64_t now_ns) {
  subscribe_at_ns_ = now_ns + kSubscribeNs;
  looks_ = false;
  for (const auto& exporter : exporters_) {
    const std::uint32_t queue = exporter->queue();
    auto& word = segment_->subscription(self_->index())[queue / 64];
    const std::uint64_t bit = std::uint64_t{1} << (queue % 64);
    if (exporter->rings())
      word.fetch_or(bit, std::memory_order_relaxed);
    else
      word.fetch_and(~bit, std::memory_order_relaxed);
    looks_ = looks_ || !exporter->rings();
  }
}

void Gateway::note_queues() {
  status_.queues.clear();
  for (std::size_t i = 0; i < exporters_.size(); ++i) {
    QueueReport& queue = status_.queues.emplace_back();
    queue.name = options_.exports[i];
    queue.exports = true;
    queue.on_their_way = exporters_[i]->on_their_way();
    queue.awaited = exporters_[i]->awaited();
    queue.out = exporters_[i]->stats();
  }
  for (std::size_t i = 0; i < importers_.size(); ++i) {
    auto at = std::find_if(status_.queues.begin(), status_.queues.end(),
                           [&](const QueueReport& queue) { return queue.name == options_.imports[i]; });
    if (at == status_.queues.end()) {
      at = status_.queues.emplace(at);
      at->name = options_.imports[i];
    }
    at->imports = true;
    at->here = importers_[i]->here();
    at->in = importers_[i]->stats();
  }
}

// What others see of us: on this host every second, elsewhere with each heartbeat.
void Gateway::report(const Clocks& clocks) {
  const bool file = clocks.now_ns >= status_at_ns_;
  if (!file && !registry_->is_due(clocks.now_ns)) return;
  note_queues();
  registry_->step(status_, clocks);
  if (!file) return;
  status_at_ns_ = clocks.now_ns + kStatusEveryNs;
  status_.written_us = clocks.wall_now_us;
  const auto written = write_status_file(*segment_, status_);
  if (written || !status_told_) return;
  status_told_ = false;  // once
  log::warn("the gateway's state cannot be shown on this host", {{"error", written.error().message}});
}

void Gateway::shut_down() {
  for (auto& importer : importers_) importer->drain();
  for (auto& reader : readers_) reader->connection().stop();
  const std::int64_t until = base::monotonic_ns() + options_.drain_ns;
  const auto busy = [this] {
    return std::any_of(exporters_.begin(), exporters_.end(), [](const auto& e) { return e->on_their_way() > 0; }) ||
           std::any_of(importers_.begin(), importers_.end(), [](const auto& i) { return i->here() > 0; });
  };
  for (auto& exporter : exporters_) exporter->drain();
  while ((!registry_->leave() || busy()) && links_[0].redis->is_ready() && base::monotonic_ns() < until &&
         g_stops.load() < 2) {
    turn();
    (void)loop_->run_once(kWatchEndsNs);
  }
  for (const Link& link : links_) link.redis->connection().stop();
  for (auto& exporter : exporters_) exporter->leave();
  remove_status_file(*segment_);
}

// A queue that is not imported here may be imported nowhere: who could run here must not leave then, but where the
// policy says that all do.
UniqueKeys Gateway::unique_keys_of(const std::string& queue) const {
  const bool comes_back = std::find(options_.imports.begin(), options_.imports.end(), queue) != options_.imports.end();
  return comes_back || options_.policy == Policy::kGlobal ? options_.unique_keys : UniqueKeys::kOfHost;
}

void Gateway::make_parts(const std::vector<std::uint32_t>& exports, const std::vector<std::uint32_t>& imports) {
  std::vector<std::uint32_t> shared;
  if (!options_.local_limits) {
    shared = exports;
    shared.insert(shared.end(), imports.begin(), imports.end());
  }
  limits_ = std::make_unique<LimitDesk>(*engine_, *links_[0].redis, *keys_, transcript_->host(), std::move(shared));
  // Their keys are this host's alone, whatever a gateway before us has said; of the others the exporters say it.
  for (std::uint32_t queue = 0; queue < shm::queue_total(*segment_); ++queue)
    if (std::find(exports.begin(), exports.end(), queue) == exports.end()) engine::SharedKeys(*engine_).keep(queue);
  for (std::size_t i = 0; i < exports.size(); ++i) {
    Exporter::Options options;
    options.queue = options_.exports[i];
    options.policy = options_.policy;
    options.signer = options_.signer;
    options.prefetch_multiplier = options_.prefetch_multiplier;
    options.hold = options_.hold;
    options.replicas = options_.wait_replicas;
    options.unique_keys = unique_keys_of(options_.exports[i]);
    exporters_.push_back(std::make_unique<Exporter>(*engine_, redis_of(options_.exports[i]), *keys_, *transcript_,
                                                    exports[i], std::move(options)));
    exporters_.back()->on_revokes(revokes_.get());
  }
  for (std::size_t i = 0; i < imports.size(); ++i) {
    Importer::Options options;
    options.queue = options_.imports[i];
    options.consumer = transcript_->host();
    options.signer = options_.signer;
    options.prefetch_multiplier = options_.prefetch_multiplier;
    importers_.push_back(std::make_unique<Importer>(*engine_, redis_of(options_.imports[i]), *readers_[i], *keys_,
                                                    imports[i], std::move(options)));
    importers_.back()->on_revokes(revokes_.get());
    for (auto& exporter : exporters_)
      if (exporter->queue() == imports[i])
        exporter->on_import([at = importers_.back().get()](const engine::Lease& lease) { at->give_back(lease); });
  }
}

Result<void> Gateway::run() {
  drop_repeated(options_.exports);
  drop_repeated(options_.imports);
  if (options_.cluster && (options_.redis.is_unix() || options_.redis.has_sentinels() || options_.redis.database != 0))
    return Error{Errc::kInvalidArgument,
                 "a Redis Cluster is reached by redis:// or rediss://, and has database 0 only"};
  if (options_.signer != nullptr && !options_.signer->can_sign() && !options_.exports.empty())
    return Error{Errc::kInvalidArgument,
                 "what is exported is signed; STEM_SIGNING_ACTIVE_KEY and STEM_SIGNING_PRIVATE_KEYS are wanted"};
  if (auto attached = attach(); !attached) return attached;
  const auto exports = intern(options_.exports);
  if (!exports) return exports.error();
  const auto imports = intern(options_.imports);
  if (!imports) return imports.error();
  auto loop = io::Loop::create();
  if (!loop) return loop.error();
  loop_ = std::move(*loop);
  make_connections();
  make_parts(*exports, *imports);
  adopt();
  if (!loop_->can_wait_futex()) bridge_ = std::make_unique<io::DoorbellBridge>(*self_);
  if (bridge_ && bridge_->fd() < 0)
    return Error{Errc::kSystem, "eventfd: no descriptor is free; raise the limit (ulimit -n)"};
  listen();
  for (const Link& link : links_) link.redis->connection().start();
  for (auto& reader : readers_) reader->connection().start();
  log::info("gateway ready", {{"namespace", options_.name_space},
                              {"redis", options_.redis.shown()},
                              {"exports", fmt::format("{}", fmt::join(options_.exports, ","))},
                              {"imports", fmt::format("{}", fmt::join(options_.imports, ","))},
                              {"host", transcript_->host()}});
  while (g_stops.load(std::memory_order_relaxed) == 0) {
    if (!self_->still_ours()) return Error{Errc::kRefused, "the gateway was taken for dead; start it anew"};
    turn();
    const std::int64_t watch_ns = base::monotonic_ns() < busy_until_ns_ ? kWatchEndsNs : kWatchIdlyNs;
    const std::int64_t longest_ns = in_hand_ ? watch_ns : looks_ ? kLookNs : limits_->is_busy() ? kLimitsNs : kIdleNs;
    // The answer of Redis is awaited with the chores, but not for long.
    wait(chores_wait_ ? kWatchEndsNs : std::clamp<std::int64_t>(keep_at_ns_ - base::monotonic_ns(), 0, longest_ns));
  }
  shut_down();
  log::info("gateway stopped");
  return {};
}

}  // namespace

Result<void> run_gateway(const GatewayOptions& options) {
  g_stops = 0;
  struct sigaction action {};
  action.sa_handler = on_stop;
  for (const int signal : {SIGTERM, SIGINT}) ::sigaction(signal, &action, nullptr);
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, nullptr);
  return Gateway(options).run();
}

}  // namespace stem::federation
