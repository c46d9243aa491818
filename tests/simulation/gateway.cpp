#include "tests/simulation/gateway.hpp"

#include <algorithm>

#include "federation/local_workers.hpp"
#include "tests/simulation/virtual_host.hpp"

namespace stem::simulation {
namespace {

constexpr std::int64_t kIdleNs = 50 * kMillisecondNs;
constexpr std::int64_t kLimitsNs = 10 * kMillisecondNs;
constexpr std::int64_t kTurnNs = 20 * kMicrosecondNs;  // what a turn takes

}  // namespace

using federation::Clocks;
using federation::Reply;

VirtualGateway::VirtualGateway(VirtualHost& host, VirtualServer& server, Timeline& time, Diary& diary,
                               std::uint64_t seed, const GatewayOptions& options, std::uint64_t life)
    : host_(host), time_(time), options_(options) {
  const auto& segment = host.segment();
  self_ = std::make_unique<test::Attached>(segment, shm::Role::kGateway);
  self_->participant->random() = base::Random(seed + life);
  keeper_ = std::make_unique<engine::Keeper>(**self_);
  (void)(*self_)->sweep_all(host.now_ns());  // its predecessor, dead
  transcript_ = std::make_unique<federation::Transcript>(*segment);
  const auto touched = [this] { wake(kTurnNs); };
  redis_ = std::make_unique<VirtualConnection>(
      server, time, diary, seed + life * 4 + 1, client_name(), host.number(), host.stopped_,
      VirtualConnection::Events{[this] { on_ready(); }, [this] { on_lost(); }, touched});
  reader_ = std::make_unique<VirtualConnection>(
      server, time, diary, seed + life * 4 + 2, client_name() + ":reader:0", host.number(), host.stopped_,
      VirtualConnection::Events{[this] { importer_->on_reader_ready(host_.clocks()); }, [] {}, touched});
  seen_redis_ = std::make_unique<CanaryRedis>(*redis_, options.canary);
  seen_reader_ = std::make_unique<CanaryRedis>(*reader_, options.canary);
  federation::Exporter::Options exports;
  exports.queue = "q";
  exports.policy = options.policy;
  exports.prefetch_multiplier = options.prefetch_multiplier;
  exports.window = options.window;
  exports.hold = options.hold;
  exports.replicas = options.replicas;
  exports.unique_keys = options.unique_keys;
  exporter_ = std::make_unique<federation::Exporter>(**self_, *seen_redis_, keys_, *transcript_, host.queue(),
                                                     std::move(exports));
  federation::Importer::Options imports;
  imports.queue = "q";
  imports.consumer = transcript_->host();
  imports.prefetch_multiplier = options.prefetch_multiplier;
  imports.visibility_ms = options.visibility_ms;
  imports.least_run = 1;  // so few end at once here that otherwise none would leave as the beginning of its stream
  importer_ = std::make_unique<federation::Importer>(**self_, *seen_redis_, *seen_reader_, keys_, host.queue(),
                                                     std::move(imports));
  if (options.shared_limits)
    limits_ = std::make_unique<federation::LimitDesk>(**self_, *seen_redis_, keys_, transcript_->host(),
                                                      std::vector<std::uint32_t>{host.queue()});
  exporter_->on_import([this](const engine::Lease& lease) { importer_->give_back(lease); });
}

VirtualGateway::~VirtualGateway() {
  *alive_ = false;
  keeper_.reset();
  VirtualHost::kill(self_);
}

void VirtualGateway::start() {
  adopt();
  redis_->start();
  reader_->start();
  wake(0);
}

void VirtualGateway::adopt() {
  engine::Outbox outbox(**self_);
  const Clocks clocks = host_.clocks();
  for (const engine::Parcel& parcel : outbox.adopt()) exporter_->adopt(parcel, clocks);
  outbox.each_import([this](engine::TaskId id, const engine::TaskExtras& extras) {
    if (federation::Importer::is_of("q", extras.origin)) importer_->adopt(id, extras);
  });
}

void VirtualGateway::fence_predecessors() {
  const std::int64_t mine = redis_->client_id();
  (void)seen_redis_->command({"CLIENT", "LIST"}, [this, mine](const Reply& reply) {
    std::string_view lines = reply.is_text() ? reply.text : std::string_view();
    while (!lines.empty()) {
      const std::string_view line = lines.substr(0, lines.find('\n'));
      lines.remove_prefix(std::min(line.size() + 1, lines.size()));
      if (line.find(" name=" + client_name() + ' ') == line.npos || !line.starts_with("id=")) continue;
      const std::string id(line.substr(3, line.find(' ') - 3));
      if (id != std::to_string(mine)) (void)seen_redis_->command({"CLIENT", "KILL", "ID", id}, [](const Reply&) {});
    }
    if (limits_ != nullptr) limits_->on_ready();
    exporter_->on_ready(host_.clocks());
    importer_->on_ready(host_.clocks());
  });
}

void VirtualGateway::on_lost() {
  if (limits_ != nullptr) limits_->on_lost();
  exporter_->on_lost();
  importer_->on_lost();
}

void VirtualGateway::on_ready() { fence_predecessors(); }

void VirtualGateway::wake(std::int64_t after_ns) {
  const std::int64_t at_ns = time_.now_ns() + after_ns;
  if (at_ns >= turn_at_ns_) return;
  turn_at_ns_ = at_ns;
  time_.at(at_ns, [this, alive = alive_, number = ++turn_number_] {
    if (*alive && number == turn_number_) turn();
  });
}

void VirtualGateway::resume() {
  redis_->resume();
  reader_->resume();
  wake(0);
}

void VirtualGateway::turn() {
  turn_at_ns_ = INT64_MAX;
  if (host_.is_stopped()) return;
  self_->participant->beat();
  const Clocks clocks = host_.clocks();
  const std::int64_t keep_at_ns = keeper_->step(clocks.now_ns);
  if (limits_ != nullptr) limits_->step(clocks);
  if ((*self_)->inbox_has_hints()) take_asked(clocks);
  const bool more = exporter_->step(clocks);
  bool in_hand = exporter_->awaited() > 0;
  in_hand = importer_->step(clocks) || in_hand;
  host_.look_for_work();
  const bool limits = limits_ != nullptr && limits_->is_busy();
  const std::int64_t longest_ns = in_hand ? options_.poll_ns : limits ? kLimitsNs : kIdleNs;
  wake(more ? kTurnNs : std::clamp<std::int64_t>(keep_at_ns - clocks.now_ns, kTurnNs, longest_ns));
}

void VirtualGateway::take_asked(const Clocks& clocks) {
  engine::Parcel parcels[64];
  const auto wanted = [&](std::uint32_t) { return exporter_->takes_asked(clocks.now_ns); };
  const std::uint32_t n = engine::SharedKeys(**self_).take_asked(parcels, std::size(parcels), wanted, clocks.now_ns);
  for (std::uint32_t i = 0; i < n; ++i) exporter_->take_asked(parcels[i], clocks);
}

std::uint64_t VirtualGateway::room() const {
  return std::uint64_t{federation::local_workers(*host_.segment(), host_.queue())} * options_.prefetch_multiplier;
}

}  // namespace stem::simulation
