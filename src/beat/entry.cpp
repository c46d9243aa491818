#include "beat/entry.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/random.hpp"
#include "base/units.hpp"
#include "shm/names.hpp"

namespace stem::beat {

using nlohmann::json;

namespace {

Error refusal(std::string message) { return {Errc::kInvalidArgument, std::move(message)}; }

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

Result<std::string> name_of(const char* key, const json& value, std::size_t longest) {
  if (!value.is_string()) return refusal(fmt::format("\"{}\" is {}; write a text", key, shown(value)));
  std::string text = value.get<std::string>();
  if (text.empty() || text.size() > longest)
    return refusal(fmt::format("\"{}\" has {} bytes; allowed: 1 to {}", key, text.size(), longest));
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f; }))
    return refusal(fmt::format("\"{}\" has spaces or control characters", key));
  return text;
}

Result<std::int64_t> jitter_of_value(const char* key, const json& value) {
  constexpr std::int64_t kMost = 86'400 * kSecondNs;
  std::int64_t jitter_ns = -1;
  if (value.is_number_unsigned() && value <= kMost / 1'000'000) {
    jitter_ns = value.get<std::int64_t>() * 1'000'000;
  } else if (value.is_string()) {
    const auto parsed = base::parse_duration_ns(value.get<std::string>());
    if (!parsed.ok()) return parsed.error().within(fmt::format("\"{}\"", key));
    jitter_ns = *parsed;
  }
  if (jitter_ns < 0 || jitter_ns > kMost)
    return refusal(fmt::format("\"{}\" is {}; write milliseconds or \"5s\", at most a day", key, shown(value)));
  return jitter_ns;
}

template <class T, class U>
Result<void> set(T& field, Result<U> parsed) {
  if (!parsed.ok()) return parsed.error();
  field = std::move(*parsed);
  return {};
}

Result<void> set_object(const char* key, json& field, const json& value) {
  if (!value.is_object()) return refusal(fmt::format("\"{}\" is {}; write an object", key, shown(value)));
  field = value;
  return {};
}

Result<void> set_misfire(Entry& e, const json& value) {
  for (const Misfire misfire : {Misfire::kSkip, Misfire::kOnce, Misfire::kAll}) {
    if (value != to_string(misfire)) continue;
    e.misfire = misfire;
    return {};
  }
  return refusal(fmt::format("\"misfire\" is {}; allowed: skip, once, all", shown(value)));
}

struct Key {
  const char* name;
  const char* alias;  // may be null
  Result<void> (*set)(Entry& e, const json& value);
};

constexpr Key kKeys[] = {
    {"id", "name", [](Entry& e, const json& v) { return set(e.id, name_of("id", v, kLongestId)); }},
    {"task", "taskName", [](Entry& e, const json& v) { return set(e.task, name_of("task", v, shm::kNameBytes - 1)); }},
    {"queue", nullptr, [](Entry& e, const json& v) { return set(e.queue, name_of("queue", v, shm::kNameBytes - 1)); }},
    {"spec", "schedule",
     [](Entry& e, const json& v) -> Result<void> {
       e.spec_written = v;
       return {};
     }},
    {"args", nullptr,
     [](Entry& e, const json& v) -> Result<void> {
       e.args = v;
       return {};
     }},
    {"kwargs", nullptr, [](Entry& e, const json& v) { return set_object("kwargs", e.kwargs, v); }},
    {"meta", nullptr, [](Entry& e, const json& v) { return set_object("meta", e.meta, v); }},
    {"options", nullptr,
     [](Entry& e, const json& v) -> Result<void> {
       if (!v.is_object()) return refusal(fmt::format("\"options\" is {}; write an object", shown(v)));
       e.options.update(v);
       return {};
     }},
    {"timezone", nullptr, [](Entry& e, const json& v) { return set(e.timezone, name_of("timezone", v, 64)); }},
    {"enabled", nullptr,
     [](Entry& e, const json& v) -> Result<void> {
       if (!v.is_boolean()) return refusal(fmt::format("\"enabled\" is {}; write true or false", shown(v)));
       e.enabled = v.get<bool>();
       return {};
     }},
    {"jitterMs", "jitter", [](Entry& e, const json& v) { return set(e.jitter_ns, jitter_of_value("jitterMs", v)); }},
    {"misfire", nullptr, set_misfire},
    {"misfireMax", nullptr,
     [](Entry& e, const json& v) -> Result<void> {
       if (!v.is_number_unsigned() || v < 1 || v > 100'000)
         return refusal(fmt::format("\"misfireMax\" is {}; allowed: 1 to 100000", shown(v)));
       e.misfire_max = v.get<std::uint32_t>();
       return {};
     }},
};

}  // namespace

std::string_view to_string(Misfire misfire) {
  switch (misfire) {
    case Misfire::kSkip: return "skip";
    case Misfire::kAll: return "all";
    default: return "once";
  }
}

const std::vector<std::string>& entry_keys() {
  static const std::vector<std::string> keys = [] {
    std::vector<std::string> all;
    for (const Key& key : kKeys) {
      all.emplace_back(key.name);
      if (key.alias != nullptr) all.emplace_back(key.alias);
    }
    return all;
  }();
  return keys;
}

Result<Entry> Entry::parse(const json& written) {
  if (!written.is_object()) return refusal(fmt::format("an entry is an object, not {}", shown(written)));
  Entry e;
  for (const auto& [name, value] : written.items()) {
    const std::string& text = name;
    const auto* key = std::find_if(std::begin(kKeys), std::end(kKeys), [&](const Key& k) {
      return text == k.name || (k.alias != nullptr && text == k.alias);
    });
    if (key == std::end(kKeys)) {
      e.options[text] = value;
      continue;
    }
    if (key->alias != nullptr && text == key->alias && written.contains(key->name))
      return refusal(fmt::format("give \"{}\" or \"{}\", not both", key->name, key->alias));
    if (value.is_null() && text != "args") continue;
    if (auto good = key->set(e, value); !good.ok()) return good.error();
  }
  if (e.id.empty()) return refusal("the entry has no \"id\"");
  if (e.task.empty()) return refusal("the entry has no \"task\"");
  if (e.spec_written.is_null()) return refusal("the entry has no \"spec\"");
  auto zone = Zone::find(e.timezone);
  if (!zone.ok()) return zone.error();
  e.zone = *zone;
  auto spec = Spec::parse(e.spec_written, e.zone);
  if (!spec.ok()) return spec.error().within("\"spec\"");
  e.spec = std::move(*spec);
  return e;
}

json Entry::to_json() const {
  json out{{"id", id},
           {"task", task},
           {"spec", spec_written},
           {"enabled", enabled},
           {"misfire", std::string(to_string(misfire))}};
  if (!queue.empty()) out["queue"] = queue;
  if (!args.is_null()) out["args"] = args;
  if (!kwargs.empty()) out["kwargs"] = kwargs;
  if (!meta.empty()) out["meta"] = meta;
  if (!options.empty()) out["options"] = options;
  if (!timezone.empty()) out["timezone"] = timezone;
  if (jitter_ns != 0) {
    if (jitter_ns % 1'000'000 == 0) {
      out["jitterMs"] = static_cast<std::uint64_t>(jitter_ns / 1'000'000);
    } else {
      out["jitterMs"] = base::write_duration(jitter_ns);
    }
  }
  if (misfire == Misfire::kAll) out["misfireMax"] = misfire_max;
  return out;
}

std::int64_t Entry::jitter_of(std::int64_t planned_ns) const {
  if (jitter_ns == 0) return 0;
  base::Random random(shm::name_hash(id) ^ static_cast<std::uint64_t>(planned_ns));
  return static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(jitter_ns) + 1));
}

int json_depth(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace stem::beat
