#include "tools/stem/enqueue/order.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "stem/json_payload.hpp"
#include "tools/stem/nearest.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using nlohmann::json;

// Reading and writing JSON goes down one call for every level.
constexpr int kDeepest = 256;

Error refusal(std::string message) { return {Errc::kInvalidArgument, std::move(message)}; }

// Never less than the levels that a parser of this text would go down.
int depth_of(std::string_view json_text) {
  int depth = 0;
  int deepest = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < json_text.size(); ++i) {
    const char c = json_text[i];
    if (in_text) {
      if (c == '\\') ++i;
      if (c == '"') in_text = false;
      continue;
    }
    if (c == '"') in_text = true;
    if (c == '[' || c == '{') deepest = std::max(deepest, ++depth);
    if (c == ']' || c == '}') --depth;
  }
  return deepest;
}

std::string kind_of(const json& value) { return value.type_name(); }

Result<std::string> text_of(const json& value) {
  if (!value.is_string()) return refusal(fmt::format("wants a text, not {}", kind_of(value)));
  return value.get<std::string>();
}

Result<int> small_number_of(const json& value, int most) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > static_cast<unsigned>(most)) {
    return refusal(fmt::format("wants a whole number from 0 to {}, not {}", most, value.dump()));
  }
  return value.get<int>();
}

// "5s", or milliseconds as a number.
Result<Duration> duration_of(const json& value) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() <= INT64_MAX / 1'000'000) {
    return Duration(value.get<std::int64_t>() * 1'000'000);
  }
  if (!value.is_string()) {
    return refusal(fmt::format("wants a duration as \"5s\", not {}", value.dump()));
  }
  const auto parsed = base::parse_duration_ns(value.get<std::string>());
  if (!parsed.ok()) return parsed.error();
  return Duration(*parsed);
}

Result<std::int64_t> time_of(const json& value) {
  if (!value.is_string()) {
    return refusal(fmt::format("wants a time as \"2026-01-31T12:00:00Z\" or \"5m\", not {}", value.dump()));
  }
  return parse_when_ns(value.get<std::string>(), base::realtime_ns(), Toward::kFuture);
}

Result<void> set_headers(Order& order, const json& value) {
  if (!value.is_object()) return refusal("wants an object of texts");
  for (const auto& [name, text] : value.items()) {
    if (!text.is_string()) {
      return refusal(fmt::format("the value of {} is not a text but {}", name, kind_of(text)));
    }
    order.options.headers[name] = text.get<std::string>();
  }
  return {};
}

template <class T, class Parsed>
Result<void> set(T& field, const Result<Parsed>& parsed) {
  if (!parsed.ok()) return parsed.error();
  field = *parsed;
  return {};
}

Result<void> set_payload(Order& order, const json& value) {
  auto payload = payload_of(value.dump());
  if (!payload.ok()) return payload.error();
  order.payload = std::move(*payload);
  return {};
}

struct Key {
  std::string_view name;
  Result<void> (*set)(Order& order, const json& value);
};

// Names as in the reference; a duration may be written as a text, "5s", or as milliseconds.
constexpr Key kKeys[] = {
    {"task", [](Order& o, const json& v) { return set(o.task, text_of(v)); }},
    {"args", set_payload},
    {"queue", [](Order& o, const json& v) { return set(o.options.queue, text_of(v)); }},
    {"priority", [](Order& o, const json& v) { return set(o.options.priority, small_number_of(v, 9)); }},
    {"maxRetries", [](Order& o, const json& v) { return set(o.options.max_retries, small_number_of(v, 65535)); }},
    {"delay", [](Order& o, const json& v) { return set(o.options.delay, duration_of(v)); }},
    {"countdown", [](Order& o, const json& v) { return set(o.options.delay, duration_of(v)); }},
    {"eta",
     [](Order& o, const json& v) -> Result<void> {
       const auto at_ns = time_of(v);
       if (!at_ns.ok()) return at_ns.error();
       o.options.eta = std::chrono::system_clock::time_point(
           std::chrono::duration_cast<std::chrono::system_clock::duration>(Duration(*at_ns)));
       return {};
     }},
    {"expires",
     [](Order& o, const json& v) -> Result<void> {
       const auto at_ns = time_of(v);
       if (!at_ns.ok()) return at_ns.error();
       const std::int64_t left_ns = *at_ns - base::realtime_ns();
       if (left_ns <= 0) return refusal("is in the past");
       o.options.expires = Duration(left_ns);
       return {};
     }},
    {"unique",
     [](Order& o, const json& v) -> Result<void> {
       if (!v.is_boolean()) return refusal("wants true or false");
       o.options.unique = v.get<bool>();
       return {};
     }},
    {"uniqueKey", [](Order& o, const json& v) { return set(o.options.unique_key, text_of(v)); }},
    {"uniqueForMs", [](Order& o, const json& v) { return set(o.options.unique_for, duration_of(v)); }},
    {"headers", set_headers},
    {"meta",
     [](Order& o, const json& v) -> Result<void> {
       if (!v.is_object()) return refusal("wants an object");
       o.options.meta = v.dump();
       return {};
     }},
    {"idempotencyKey", [](Order& o, const json& v) { return set(o.options.idempotency_key, text_of(v)); }},
    {"affinityKey", [](Order& o, const json& v) { return set(o.options.affinity_key, text_of(v)); }},
    {"resultTtl", [](Order& o, const json& v) { return set(o.options.result_ttl, duration_of(v)); }},
};

const Key* find_key(std::string_view name) {
  const auto* it = std::find_if(std::begin(kKeys), std::end(kKeys), [&](const Key& k) { return k.name == name; });
  return it == std::end(kKeys) ? nullptr : it;
}

bool looks_like_an_order(const json& document) {
  if (!document.is_object() || !document.contains("args")) return false;
  const auto items = document.items();
  return std::all_of(items.begin(), items.end(), [](const auto& item) { return find_key(item.key()) != nullptr; });
}

Result<void> read_keys(const json& document, Order& order) {
  for (const auto& [name, value] : document.items()) {
    const Key* key = find_key(name);
    if (key == nullptr) {
      std::vector<std::string> names;
      for (const Key& known : kKeys) names.emplace_back(known.name);
      return refusal(fmt::format("unknown key \"{}\"{}", name, did_you_mean(name, names)));
    }
    if (auto good = key->set(order, value); !good.ok()) {
      return good.error().within(fmt::format("\"{}\"", name));
    }
  }
  if (order.task.empty()) return refusal("names no task");
  if (order.options.queue.empty()) return refusal("\"queue\": the name is empty");
  return {};
}

}  // namespace

Result<std::string> payload_of(std::string_view json_text) {
  if (const int depth = depth_of(json_text); depth > kDeepest) {
    return refusal(fmt::format("{} levels of lists and objects; at most {}", depth, kDeepest));
  }
  return json_to_payload(json_text);
}

Result<Order> parse_order(std::string_view line, const Order& flags, bool& plain) {
  Order order = flags;
  plain = !flags.task.empty() && line.find("\"args\"") == std::string_view::npos;
  auto payload = payload_of(line);
  if (!payload.ok()) return payload.error();
  order.payload = std::move(*payload);
  if (plain) return order;
  const json document = json::parse(line);  // it has just been parsed
  plain = !flags.task.empty() && !looks_like_an_order(document);
  if (plain) return order;
  if (!document.is_object()) {
    return refusal(fmt::format("without a task on the command line every line is an object with \"task\", not {}",
                               kind_of(document)));
  }
  order.payload.clear();
  if (auto good = read_keys(document, order); !good.ok()) return good.error();
  return order;
}

Result<void> add_header(Headers& headers, std::string_view text) {
  const std::size_t sign = text.find('=');
  if (sign == std::string_view::npos || sign == 0) {
    return refusal(fmt::format("'{}' is no header; write NAME=VALUE, as tenant=acme", text));
  }
  headers[std::string(text.substr(0, sign))] = text.substr(sign + 1);
  return {};
}

TaskInfo info_of(const Order& order, bool keep_result) {
  TaskOptions options;
  options.queue = order.options.queue;
  return {order.task, options, keep_result};
}

detail::Enqueued enqueue(Client& client, const Order& order, bool keep_result) {
  const auto bytes = std::as_bytes(std::span(order.payload.data(), order.payload.size()));
  EnqueueOptions options = order.options;
  options.queue.clear();  // stands in the descriptor
  return client.port().enqueue(info_of(order, keep_result), bytes, /*in_place=*/false, &options);
}

}  // namespace stem::cli
