#include "tools/stem/schedule/schedules.hpp"

#include <fmt/format.h>

#include "base/clock.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/command_line.hpp"
#include "tools/stem/nearest.hpp"
#include "tools/stem/settings.hpp"

namespace stem::cli {
namespace {

constexpr std::int64_t kPatienceNs = 5'000'000'000;

class SegmentSchedules final : public Schedules {
 public:
  explicit SegmentSchedules(Attachment attached) : attached_(std::move(attached)), store_(attached_.engine()) {}
  Result<std::vector<beat::StoredEntry>> list() override { return store_.list(); }
  Result<beat::Change> put(const beat::Entry& entry) override { return store_.put(entry, base::realtime_ns()); }
  Result<beat::Change> remove(std::string_view id) override { return store_.remove(id); }

 private:
  Attachment attached_;
  beat::ScheduleStore store_;
};

class RedisSchedules final : public Schedules {
 public:
  explicit RedisSchedules(std::unique_ptr<SharedStore> store) : store_(std::move(store)) {}
  Result<std::vector<beat::StoredEntry>> list() override { return store_->schedules.list(); }
  Result<void> check(const beat::Entry& entry) const override { return federation::check_shared(entry); }
  Result<beat::Change> put(const beat::Entry& entry) override { return store_->schedules.put(entry); }
  Result<beat::Change> remove(std::string_view id) override { return store_->schedules.remove(id); }

 private:
  std::unique_ptr<SharedStore> store_;
};

}  // namespace

void declare_store_flags(CommandLine& line, StoreFlags* flags) {
  line.setting("--redis", "schedule_store_url");
  line.text("--redis-namespace", &flags->redis_namespace,
            "prefix of the keys in Redis, the same on all hosts (default: the namespace)")
      .named("NAME");
  line.flag("--redis-cluster", &flags->redis_cluster, "that Redis is a Cluster, the same on all hosts");
}

Result<beat::StoredEntry> Schedules::named(std::string_view id) {
  auto all = list();
  if (!all.ok()) return all.error();
  std::vector<std::string> names;
  for (auto& stored : *all) {
    if (stored.entry.id == id) return std::move(stored);
    names.push_back(stored.entry.id);
  }
  return Error{Errc::kNotFound, fmt::format("no schedule \"{}\"{}", id.substr(0, 200), did_you_mean(id, names))};
}

Result<std::unique_ptr<SharedStore>> open_shared(const StoreFlags& flags, const Context& context,
                                                 std::int64_t patience_ns) {
  const std::string& url = context.config.text("schedule_store_url");
  if (url.starts_with("shm:")) return std::unique_ptr<SharedStore>();
  const auto parsed = federation::parse_redis_url(url);
  if (!parsed) return parsed.error().within("schedules are kept in shm:// or redis://");
  federation::RedisOptions options;
  options.url = *parsed;
  options.tls.ca_file = context.config.text("tls.ca_cert");
  options.tls.certificate_file = context.config.text("tls.client_cert");
  options.tls.key_file = context.config.text("tls.client_key");
  options.client_name = "stem-schedules";
  options.follows_slot = flags.redis_cluster;
  return std::make_unique<SharedStore>(
      std::move(options), flags.redis_namespace.empty() ? context.namespace_name : flags.redis_namespace, patience_ns);
}

Result<std::unique_ptr<Schedules>> open_schedules(const StoreFlags& flags, const Context& context, OpenFor purpose) {
  auto shared = open_shared(flags, context, kPatienceNs);
  if (!shared.ok()) return shared.error();
  if (*shared != nullptr) return std::unique_ptr<Schedules>(new RedisSchedules(std::move(*shared)));
  auto attached = purpose == OpenFor::kLooking    ? Attachment::watch(context)
                  : purpose == OpenFor::kChanging ? Attachment::open(context)
                                                  : Attachment::open_or_create(context, shm::Role::kTool, "stem");
  if (!attached.ok()) return attached.error();
  return std::unique_ptr<Schedules>(new SegmentSchedules(std::move(*attached)));
}

}  // namespace stem::cli
