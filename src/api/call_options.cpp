#include "api/call_options.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/random.hpp"
#include "engine/links.hpp"
#include "shm/names.hpp"

namespace stem::api {
namespace {

Error bad(std::string what) { return {Errc::kInvalidArgument, std::move(what)}; }

std::uint64_t combine(std::uint64_t a, std::string_view text) { return base::mix64(a * 3 + shm::name_hash(text)) | 1; }

Result<std::int64_t> due_ns(const EnqueueOptions& o, const Moment& now) {
  if (o.delay < Duration{}) return bad("delay is negative");
  if (o.delay > Duration{} && o.eta) return bad("give delay or eta, not both");
  if (o.delay > Duration{}) return engine::later_ns(now.monotonic_ns, o.delay.count());
  if (!o.eta) return std::int64_t{0};
  const auto eta = std::chrono::duration_cast<Duration>(o.eta->time_since_epoch()).count();
  return eta > now.realtime_ns ? engine::later_ns(now.monotonic_ns, eta - now.realtime_ns) : std::int64_t{0};
}

Result<void> fill_texts(const EnqueueOptions& o, PreparedCall& into) {
  if (!o.headers.empty()) {
    for (const auto& [name, value] : o.headers)
      if (name.empty()) return bad("a header has no name");
    into.headers = nlohmann::json(o.headers).dump();
  }
  if (!o.meta.empty()) {
    const auto meta = nlohmann::json::parse(o.meta, nullptr, /*allow_exceptions=*/false);
    if (!meta.is_object()) return bad("meta is not a JSON object: " + o.meta.substr(0, 80));
    for (const auto& [key, value] : meta.items())
      if (key.starts_with("stem.")) return bad("meta: the key \"" + key + "\" is the system's");
    into.meta = meta.dump();
  }
  into.idempotency_key = o.idempotency_key;
  return {};
}

Result<void> fill_links(TaskResolver& resolver, const std::vector<Link>& links, std::string& encoded) {
  for (const Link& link : links) {
    TaskOptions options;
    options.queue = link.queue;
    options.max_retries = link.max_retries;
    options.priority = link.priority;
    const auto child = resolver.resolve(TaskInfo(link.task, options, link.keep_result));
    if (!child) return child.error().within("link");
    engine::TaskSpec spec = (*child)->spec;
    spec.payload = std::as_bytes(std::span(link.payload));
    spec.in_place = link.in_place;
    spec.keep_result = link.keep_result;
    engine::append_link(encoded, spec);
  }
  return {};
}

void fill_limits(const ResolvedTask& task, const EnqueueOptions& o, engine::TaskExtras& e) {
  const auto header_or_global = [&o](std::string_view name) -> std::string_view {
    const auto found = o.headers.find(name);
    return found == o.headers.end() ? "global" : std::string_view(found->second);
  };
  const std::uint64_t task_hash = shm::name_hash(task.task_name);
  if (e.rate) e.rate_key = combine(task_hash ^ 0x72617465, header_or_global("tenant"));
  if (e.group_rate)
    e.group_rate_key =
        combine(shm::name_hash(task.group_rate_key) ^ 0x67726f7570, header_or_global(task.group_rate_header));
  if (e.concurrency_limit > 0)
    e.concurrency_key =
        combine(task_hash ^ 0x636f6e63, o.concurrency_key.empty() ? task.concurrency_key : o.concurrency_key);
  if (!o.affinity_key.empty()) e.affinity_key = shm::name_hash(o.affinity_key);
}

Result<void> fill_unique(const ResolvedTask& task, const EnqueueOptions& o, std::string_view queue, BytesView payload,
                         engine::TaskExtras& e) {
  if (o.unique_for && *o.unique_for < Duration{}) return bad("unique_for is negative");
  if (!o.unique.value_or(task.unique || !o.unique_key.empty())) return {};
  std::uint64_t hash = combine(shm::name_hash(task.task_name), queue);
  if (o.unique_key.empty()) {
    hash = combine(hash ^ 1, {reinterpret_cast<const char*>(payload.data()), payload.size()});
  } else {
    hash = combine(hash ^ 2, o.unique_key);
  }
  e.unique_key = hash;
  e.unique_everywhere = true;
  e.unique_for_ns = task.unique_for_ns;
  if (o.unique_for) e.unique_for_ns = o.unique_for->count();
  if (e.unique_for_ns == 0) e.unique_for_ns = e.visibility_ns;
  return {};
}

}  // namespace

Result<void> prepare_call(TaskResolver& resolver, const ResolvedTask& task, const EnqueueOptions& o, BytesView payload,
                          const Moment& now, PreparedCall& into) {
  into.spec = task.spec;
  into.extras = task.extras;
  engine::TaskExtras& e = into.extras;
  std::string_view queue = task.queue_name;
  if (!o.queue.empty()) {
    const auto id = resolver.queue(o.queue);
    if (!id) return id.error();
    into.spec.queue = *id;
    queue = o.queue;
  }
  if (o.priority) into.spec.priority = static_cast<std::uint8_t>(std::clamp<int>(*o.priority, 0, shm::kPriorities - 1));
  if (o.max_retries) {
    if (*o.max_retries < 0) return bad("max_retries is negative");
    into.spec.max_retries = static_cast<std::uint16_t>(std::min(*o.max_retries, 65535));
  }
  if (o.result_ttl) {
    if (*o.result_ttl < Duration{}) return bad("result_ttl is negative");
    into.spec.keep_result = *o.result_ttl > Duration{};
    e.result_ttl_ns = o.result_ttl->count();
  }
  const auto due = due_ns(o, now);
  if (!due) return due.error();
  into.spec.due_ns = *due;
  if (o.expires && *o.expires < Duration{}) return bad("expires is negative");
  const std::int64_t expires_after = o.expires ? o.expires->count() : task.expires_after_ns;
  if (expires_after > 0) e.expires_ns = engine::later_ns(now.monotonic_ns, expires_after);
  if (auto good = fill_texts(o, into); !good) return good;
  if (auto good = fill_links(resolver, o.link, into.link); !good) return good;
  if (auto good = fill_links(resolver, o.link_error, into.link_error); !good) return good;
  fill_limits(task, o, e);
  if (!o.concurrency_key.empty() && e.concurrency_limit == 0)
    return bad("concurrency_key: the task has no concurrency_limit");
  if (auto good = fill_unique(task, o, queue, payload, e); !good) return good;
  e.headers = into.headers;
  e.meta = into.meta;
  e.idempotency_key = into.idempotency_key;
  e.link = into.link;
  e.link_error = into.link_error;
  into.spec.payload = payload;
  // A delay, a priority or another queue alone leave the task on the plain path.
  const bool texts = !into.headers.empty() || !into.meta.empty() || !into.idempotency_key.empty() ||
                     !into.link.empty() || !into.link_error.empty();
  const bool ttl = into.spec.keep_result && e.result_ttl_ns != engine::kDefaultResultTtlNs;
  const bool extras = !task.plain || texts || ttl || e.unique_key != 0 || e.expires_ns != 0 || e.affinity_key != 0;
  into.spec.extras = extras ? &into.extras : nullptr;
  return {};
}

}  // namespace stem::api
