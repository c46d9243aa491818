#include "beat/spec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/units.hpp"

namespace stem::beat {

using nlohmann::json;

namespace {

constexpr std::int64_t kLongestIntervalNs = 3650LL * 86'400 * kSecondNs;

struct Kind {
  std::string_view name;
  std::vector<std::string> keys;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> table{
      {"interval", {"kind", "every", "everyMs", "startAt", "endAt", "runOnce", "description"}},
      {"cron", {"kind", "expression", "cron", "startAt", "endAt", "runOnce", "description"}},
      {"calendar",
       {"kind", "months", "weekdays", "monthdays", "hours", "minutes", "startAt", "endAt", "runOnce", "description"}},
      {"solar", {"kind", "event", "latitude", "longitude", "offset", "startAt", "endAt", "runOnce", "description"}},
      {"clocked", {"kind", "runAt", "runOnce", "description"}},
  };
  return table;
}

Error refusal(std::string message) { return {Errc::kInvalidArgument, std::move(message)}; }

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

Result<std::int64_t> checked_interval(std::int64_t every_ns, std::string_view written) {
  if (every_ns < kShortestIntervalNs || every_ns > kLongestIntervalNs)
    return refusal(fmt::format("the interval \"{}\" is out of range; allowed: 1ms to 3650d", written));
  return every_ns;
}

}  // namespace

// Reads a spec object; each key once, unknown ones are refused.
class SpecParser {
 public:
  SpecParser(const json& object, const Zone& zone) : object_(object), zone_(zone) {}

  Result<Spec> run() {
    if (auto good = find_kind(); !good) return good.error();
    for (const auto& [key, value] : object_.items()) {
      const std::vector<std::string> allowed = spec_keys(kind_);
      if (std::find(allowed.begin(), allowed.end(), key) == allowed.end())
        return refusal(
            fmt::format("unknown key \"{}\" in a spec of kind {}; allowed: {}", key, kind_, fmt::join(allowed, ", ")));
    }
    if (auto good = bounds(); !good) return good.error();
    Result<void> rule;
    if (kind_ == "interval") rule = interval();
    if (kind_ == "cron") rule = cron();
    if (kind_ == "calendar") rule = calendar();
    if (kind_ == "solar") rule = solar();
    if (kind_ == "clocked") rule = clocked();
    if (!rule) return rule.error();
    return std::move(spec_);
  }

 private:
  Result<void> find_kind() {
    if (!object_.contains("kind")) {
      if (object_.contains("cron")) kind_ = "cron";
      if (object_.contains("every") || object_.contains("everyMs")) kind_ = "interval";
      if (!kind_.empty()) return {};
      return refusal(fmt::format("the spec has no \"kind\"; allowed: {}", fmt::join(spec_kinds(), ", ")));
    }
    if (object_["kind"].is_string()) kind_ = object_["kind"].get<std::string>();
    const auto names = spec_kinds();
    if (std::find(names.begin(), names.end(), kind_) == names.end())
      return refusal(fmt::format("\"kind\" is {}; allowed: {}", shown(object_["kind"]), fmt::join(names, ", ")));
    return {};
  }

  const json* find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  Result<std::int64_t> time(const char* key, const json& value) const {
    if (!value.is_string())
      return refusal(fmt::format("\"{}\" is {}; write a time as \"2026-01-31T12:00:00Z\"", key, shown(value)));
    const auto parsed = parse_time_ns(value.get<std::string>(), zone_);
    if (!parsed.ok()) return parsed.error().within(fmt::format("\"{}\"", key));
    return parsed;
  }

  Result<void> bounds() {
    if (const json* start = find("startAt")) {
      const auto parsed = time("startAt", *start);
      if (!parsed.ok()) return parsed.error();
      spec_.start_ns_ = *parsed;
    }
    if (const json* end = find("endAt")) {
      const auto parsed = time("endAt", *end);
      if (!parsed.ok()) return parsed.error();
      spec_.end_ns_ = *parsed;
    }
    if (spec_.start_ns_ && *spec_.start_ns_ > spec_.end_ns_) return refusal("\"endAt\" is before \"startAt\"");
    if (const json* once = find("runOnce")) {
      if (!once->is_boolean()) return refusal(fmt::format("\"runOnce\" is {}; write true or false", shown(*once)));
      spec_.run_once_ = once->get<bool>();
    }
    return {};
  }

  Result<void> interval() {
    const json* every = find("every");
    const json* every_ms = find("everyMs");
    if ((every == nullptr) == (every_ms == nullptr))
      return refusal("an interval wants one of \"every\" (\"15m\") and \"everyMs\" (900000)");
    std::int64_t every_ns = 0;
    if (every_ms != nullptr) {
      if (!every_ms->is_number_integer() || *every_ms < 1 || *every_ms > kLongestIntervalNs / 1'000'000)
        return refusal(fmt::format("\"everyMs\" is {}; write whole milliseconds from 1", shown(*every_ms)));
      every_ns = every_ms->get<std::int64_t>() * 1'000'000;
    } else {
      const std::string text = every->is_string() ? every->get<std::string>() : shown(*every);
      const auto parsed = parse_signed_duration_ns(text);
      if (!parsed.ok()) return parsed.error().within("\"every\"");
      every_ns = *parsed;
    }
    const auto good = checked_interval(every_ns, every != nullptr ? shown(*every) : shown(*every_ms));
    if (!good.ok()) return good.error();
    spec_.rule_ = Interval{every_ns};
    spec_.text_ = "every:" + base::write_duration(every_ns);
    return {};
  }

  Result<void> cron() {
    const json* text = find("expression");
    if (text == nullptr) text = find("cron");
    if (text == nullptr || !text->is_string())
      return refusal("a cron spec wants an \"expression\" of five or six fields, as \"30 2 * * MON\"");
    auto parsed = Cron::parse(text->get<std::string>());
    if (!parsed.ok()) return parsed.error();
    spec_.text_ = parsed->text();
    spec_.rule_ = std::move(*parsed);
    return {};
  }

  // A list (or one value) of numbers or names as a cron field.
  Result<std::string> field(const char* key, const std::string& missing) const {
    const json* list = find(key);
    if (list == nullptr) return missing;
    const json values = list->is_array() ? *list : json::array({*list});
    if (values.empty()) return refusal(fmt::format("\"{}\" is an empty list; leave it out for every one", key));
    std::vector<std::string> texts;
    for (const json& value : values) {
      if (!value.is_string() && !value.is_number_integer())
        return refusal(fmt::format("\"{}\" has {}; write whole numbers or names", key, shown(value)));
      texts.push_back(value.is_string() ? value.get<std::string>() : shown(value));
      if (texts.back().empty() || texts.back().find_first_of(" \t,*/") != std::string::npos)
        return refusal(fmt::format("\"{}\" has {}; write whole numbers or names", key, shown(value)));
    }
    return fmt::format("{}", fmt::join(texts, ","));
  }

  // What is finer than the finest list given begins at its start: hours [9] is nine o'clock.
  Result<void> calendar() {
    const bool minutes = find("minutes") != nullptr;
    const bool hours = find("hours") != nullptr;
    if (!minutes && !hours && find("weekdays") == nullptr && find("monthdays") == nullptr && find("months") == nullptr)
      return refusal(
          "a calendar spec wants at least one of \"months\", \"weekdays\", \"monthdays\", \"hours\", \"minutes\"");
    const bool days = find("weekdays") != nullptr || find("monthdays") != nullptr;
    const auto minute = field("minutes", "0");
    const auto hour = field("hours", minutes ? "*" : "0");
    const auto day = field("monthdays", hours || minutes || days ? "*" : "1");
    const auto month = field("months", "*");
    const auto weekday = field("weekdays", "*");
    for (const auto* part : {&minute, &hour, &day, &month, &weekday})
      if (!part->ok()) return part->error();
    auto parsed = Cron::parse(fmt::format("{} {} {} {} {}", *minute, *hour, *day, *month, *weekday));
    if (!parsed.ok()) return parsed.error().within("calendar");
    spec_.text_ = "calendar " + parsed->text();
    spec_.rule_ = std::move(*parsed);
    return {};
  }

  Result<double> degrees(const char* key, double most) const {
    const json* value = find(key);
    if (value == nullptr || !value->is_number() || !(std::abs(value->get<double>()) <= most))
      return refusal(fmt::format("\"{}\" is {}; write degrees from -{} to {}", key,
                                 value == nullptr ? "missing" : shown(*value), most, most));
    return value->get<double>();
  }

  Result<void> solar() {
    Solar solar;
    const json* event = find("event");
    const std::string name = event != nullptr && event->is_string() ? event->get<std::string>() : "";
    if (name == "sunrise") {
      solar.event = SolarEvent::kSunrise;
    } else if (name == "sunset") {
      solar.event = SolarEvent::kSunset;
    } else if (name != "noon") {
      return refusal(
          fmt::format("\"event\" is {}; allowed: sunrise, sunset, noon", event == nullptr ? "missing" : shown(*event)));
    }
    const auto latitude = degrees("latitude", 90);
    if (!latitude.ok()) return latitude.error();
    const auto longitude = degrees("longitude", 180);
    if (!longitude.ok()) return longitude.error();
    solar.latitude_deg = *latitude;
    solar.longitude_deg = *longitude;
    if (const json* offset = find("offset")) {
      const auto parsed = parse_signed_duration_ns(offset->is_string() ? offset->get<std::string>() : shown(*offset));
      if (!parsed.ok()) return parsed.error().within("\"offset\"");
      if (std::abs(*parsed) > 86'400 * kSecondNs) return refusal("\"offset\" is more than a day; allowed: -1d to 1d");
      solar.offset_ns = *parsed;
    }
    spec_.text_ = fmt::format("solar {} {},{}", name, solar.latitude_deg, solar.longitude_deg);
    if (solar.offset_ns != 0)
      spec_.text_ +=
          fmt::format(" {}{}", solar.offset_ns < 0 ? '-' : '+', base::write_duration(std::abs(solar.offset_ns)));
    spec_.rule_ = solar;
    return {};
  }

  Result<void> clocked() {
    const json* at = find("runAt");
    if (at == nullptr) return refusal("a clocked spec wants \"runAt\", as \"2026-01-31T12:00:00Z\"");
    const auto parsed = time("runAt", *at);
    if (!parsed.ok()) return parsed.error();
    spec_.rule_ = Clocked{*parsed};
    spec_.text_ = "at " + write_utc(*parsed);
    return {};
  }

  const json& object_;
  const Zone& zone_;
  std::string kind_;
  Spec spec_;
};

Result<Spec> Spec::parse_text(std::string_view text) {
  Spec spec;
  if (text.starts_with("every:")) {
    const auto parsed = parse_signed_duration_ns(text.substr(6));
    if (!parsed.ok())
      return refusal(
          fmt::format("\"{}\": {}; write every:<n>[ms|s|m|h|d]", text.substr(0, 60), parsed.error().message));
    const auto good = checked_interval(*parsed, text.substr(6));
    if (!good.ok()) return good.error();
    spec.rule_ = Interval{*parsed};
    spec.text_ = "every:" + base::write_duration(*parsed);
    return spec;
  }
  auto cron = Cron::parse(text);
  if (!cron.ok()) {
    if (text.find(' ') != std::string_view::npos) return cron.error();
    return refusal(
        fmt::format("\"{}\" is no spec; write every:<n>[ms|s|m|h|d], or cron as \"30 2 * * MON\"", text.substr(0, 60)));
  }
  spec.text_ = cron->text();
  spec.rule_ = std::move(*cron);
  return spec;
}

Result<Spec> Spec::parse(const json& written, const Zone& zone) {
  if (written.is_string()) return parse_text(written.get<std::string>());
  if (!written.is_object())
    return refusal(fmt::format("a spec is a text or an object with \"kind\", not {}", shown(written)));
  return SpecParser(written, zone).run();
}

std::vector<std::string> spec_keys(std::string_view kind) {
  std::vector<std::string> keys;
  for (const Kind& k : kinds()) {
    if (!kind.empty() && k.name != kind) continue;
    for (const std::string& key : k.keys)
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  }
  return keys;
}

std::vector<std::string> spec_kinds() {
  std::vector<std::string> names;
  for (const Kind& k : kinds()) names.emplace_back(k.name);
  return names;
}

}  // namespace stem::beat
