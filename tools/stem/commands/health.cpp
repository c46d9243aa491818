// `stem health`: whether tasks can be handed over and results kept, one line for each component.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/health/component.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/segment/usage.hpp"
#include "tools/stem/settings.hpp"
#include "tools/stem/table.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kSharedMemory = "shm://";
constexpr double kNearlyFull = 0.9;

// Attach, take a slot, give it back: what an enqueue needs, and nothing is left behind.
Result<void> round_trip(const Context& context, Component& component) {
  const std::int64_t started_ns = base::monotonic_ns();
  auto attached = Attachment::open(context);
  if (!attached.ok()) return attached.error();
  std::uint32_t slot = 0;
  shm::ControlWord word;
  shm::Participant& self = attached->engine().self();
  if (!self.take_slot(slot, word)) {
    return Error{Errc::kFull, "every slot is taken: nothing can be enqueued"};
  }
  self.return_slot(slot, word);
  component.round_trip_ns = base::monotonic_ns() - started_ns;
  const shm::Segment& segment = attached->segment();
  const auto participants = attached_to(segment, attached->participant());
  const auto alive = [&](shm::Role role) {
    return std::count_if(participants.begin(), participants.end(),
                         [role](const Attached& one) { return one.alive && one.role == role; });
  };
  const bool keeper = std::any_of(participants.begin(), participants.end(),
                                  [](const Attached& one) { return one.keeper && one.alive; });
  const std::uint64_t tasks = count_slots(segment).tasks();
  const double share = static_cast<double>(tasks) / segment.geometry().slot_count;
  component.detail = fmt::format("{} of {} slots used, {} workers, {}", tasks, segment.geometry().slot_count,
                                 alive(shm::Role::kWorker), base::human_size(segment.used_bytes()));
  if (!keeper) component.warnings.emplace_back("no keeper: delayed tasks wait, the dead are not swept");
  if (alive(shm::Role::kWorker) == 0) component.warnings.emplace_back("no worker is attached");
  if (share > kNearlyFull) {
    component.warnings.push_back(fmt::format("{:.0f} % of the slots are used", share * 100));
  }
  return {};
}

Component look_at(std::string name, const std::string& url, bool is_cluster, const Context& context) {
  Component component{.name = std::move(name), .url = shown_value(*find_setting("broker_url"), url)};
  if (is_redis_url(url)) {
    look_at_redis(url, is_cluster, context, component);
    return component;
  }
  if (!url.starts_with(kSharedMemory)) {
    component.detail = fmt::format("'{}' is neither a segment (shm://NAME) nor a Redis, and cannot be looked at",
                                   url.substr(0, url.find("://") + 3));
    return component;
  }
  Context there = context;
  there.namespace_name = url.substr(kSharedMemory.size());
  const auto tried = round_trip(there, component);
  component.ok = tried.ok();
  if (!tried.ok()) component.detail = tried.error().message;
  return component;
}

void print_components(const std::vector<Component>& components, const Context& context) {
  Table table({{"COMPONENT"}, {"STATE"}, {"ROUND-TRIP", Align::kRight}, {"URL"}, {"DETAIL"}});
  for (const Component& c : components) {
    table.add_row({c.name, c.ok ? Cell("ok", Tone::kGood) : Cell("failed", Tone::kBad),
                   c.ok ? base::human_duration(c.round_trip_ns) : "", c.url, c.detail});
  }
  fmt::print("{}", table.render(context.style, 0));  // a reason is never cut
  for (const Component& c : components) {
    for (const std::string& warning : c.warnings) print_warning(fmt::format("{}: {}", c.name, warning));
  }
}

int show_health(bool is_cluster, const Context& context) {
  std::vector<Component> components;
  components.push_back(look_at("broker", context.config.text("broker_url"), is_cluster, context));
  components.push_back(look_at("backend", context.config.text("result_backend_url"), is_cluster, context));
  // The same segment is warned of once.
  if (components[1].url == components[0].url) components[1].warnings.clear();
  const bool ok = components[0].ok && components[1].ok;
  if (!context.json) {
    print_components(components, context);
    return ok ? kExitOk : kExitFailed;
  }
  ordered_json rows = ordered_json::array();
  for (const Component& c : components) {
    ordered_json row{{"component", c.name},    {"url", c.url},       {"ok", c.ok},
                     {"roundTripNs", nullptr}, {"detail", c.detail}, {"warnings", c.warnings}};
    if (c.ok) row["roundTripNs"] = c.round_trip_ns;
    if (!c.facts.is_null()) row["redis"] = c.facts;
    rows.push_back(std::move(row));
  }
  print_json({{"ok", ok}, {"components", rows}});
  return ok ? kExitOk : kExitFailed;
}

Run build_health(CommandLine& line) {
  line.setting("--broker", "broker_url");
  line.setting("--backend", "result_backend_url");
  auto is_cluster = std::make_shared<bool>(false);
  line.flag("--redis-cluster", is_cluster.get(), "a Redis named here is a Cluster, as the gateways were told");
  return [is_cluster](const Context& context) { return show_health(*is_cluster, context); };
}

}  // namespace

std::vector<Command> health_commands() {
  return {{.path = "health",
           .group = Group::kWatch,
           .help = "Whether tasks can be handed over and results kept, with the time it takes",
           .details = "Exit code 70 when a component fails.",
           .examples = {{"stem health", ""},
                        {"stem health --json", ""},
                        {"stem health --broker redis://queue.example:6379", "also what Redis should be set to"}},
           .traits = kReads,
           .build = build_health}};
}

}  // namespace stem::cli
