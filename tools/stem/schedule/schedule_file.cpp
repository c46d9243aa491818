#include "tools/stem/schedule/schedule_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "tools/stem/nearest.hpp"
#include "tools/stem/schedule/document.hpp"
#include "tools/stem/schedule/scheduled_task.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {

using nlohmann::json;

namespace {

constexpr std::size_t kMostErrors = 20;

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

class FileReader {
 public:
  FileReader(const Document& document, const std::string& source) : document_(document), source_(source) {}

  ScheduleFile run() {
    const json& top = document_.value;
    if (top.is_null()) return finished();  // an empty file: no entries
    if (top.is_array()) {
      list(top, "");
    } else if (!top.is_object()) {
      refuse("", "a schedule file holds a list of entries, an object with \"schedules\", or a map keyed by id");
    } else if (top.contains("schedules")) {
      wrapped(top);
    } else if (looks_like_an_entry(top)) {
      one(top, "");
    } else {
      map(top, "");
    }
    return finished();
  }

 private:
  void refuse(const std::string& pointer, std::string_view message) {
    errors_.emplace_back(document_.line_of(pointer), printable(message));
  }

  // In the order of the lines: a map has lost it.
  ScheduleFile finished() {
    std::stable_sort(errors_.begin(), errors_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [line, message] : errors_) {
      if (file_.errors.size() == kMostErrors) {
        file_.errors.push_back(fmt::format("{}: and {} more", source_, errors_.size() - kMostErrors));
        break;
      }
      file_.errors.push_back(fmt::format("{}:{}: {}", source_, line, message));
    }
    return std::move(file_);
  }

  static bool looks_like_an_entry(const json& object) {
    return object.contains("id") && object["id"].is_string() && (object.contains("spec") || object.contains("task"));
  }

  void wrapped(const json& top) {
    for (const auto& [key, value] : top.items())
      if (key != "schedules")
        refuse("/" + pointer_step(key),
               fmt::format("unknown key \"{}\" beside \"schedules\"{}", key, did_you_mean(key, {"schedules"})));
    const json& schedules = top["schedules"];
    if (schedules.is_array()) {
      list(schedules, "/schedules");
    } else if (schedules.is_object()) {
      map(schedules, "/schedules");
    } else if (!schedules.is_null()) {
      refuse("/schedules", "\"schedules\" is neither a list nor a map");
    }
  }

  void list(const json& entries, const std::string& pointer) {
    for (std::size_t i = 0; i < entries.size(); ++i) one(entries[i], pointer + "/" + std::to_string(i));
  }

  void map(const json& entries, const std::string& pointer) {
    for (const auto& [id, entry] : entries.items()) {
      const std::string here = pointer + "/" + pointer_step(id);
      if (!entry.is_object()) {
        refuse(here, fmt::format("the entry \"{}\" is not an object", id));
        continue;
      }
      json named = entry;
      if (!named.contains("id") && !named.contains("name")) {
        named["id"] = id;
      } else if (named.value("id", named.value("name", json())) != id) {
        refuse(here, fmt::format("the entry \"{}\" gives itself another id", id));
        continue;
      }
      one(named, here);
    }
  }

  // Unknown keys, with the nearest right word; true when there are none.
  bool known_keys(const json& object, const std::string& pointer, const std::vector<std::string>& allowed,
                  std::string_view what) {
    bool good = true;
    for (const auto& [key, value] : object.items()) {
      if (contains(allowed, key)) continue;
      refuse(pointer + "/" + pointer_step(key),
             fmt::format("unknown key \"{}\" in {}{}", key, what, did_you_mean(key, allowed)));
      good = false;
    }
    return good;
  }

  void one(const json& written, const std::string& pointer) {
    if (!written.is_object()) {
      refuse(pointer, "an entry is an object");
      return;
    }
    std::vector<std::string> allowed = beat::entry_keys();
    allowed.insert(allowed.end(), task_option_keys().begin(), task_option_keys().end());
    bool good = known_keys(written, pointer, allowed, "an entry");
    if (written.contains("options") && written["options"].is_object())
      good = known_keys(written["options"], pointer + "/options", task_option_keys(), "\"options\"") && good;
    for (const char* name : {"spec", "schedule"}) {
      if (!written.contains(name) || !written[name].is_object()) continue;
      const std::string kind = written[name].value("kind", json()).is_string() ? written[name]["kind"] : "";
      if (kind.empty() || contains(beat::spec_kinds(), kind))
        good = known_keys(written[name], pointer + "/" + name, beat::spec_keys(kind),
                          kind.empty() ? "a spec" : "a spec of kind " + kind) &&
               good;
    }
    if (!good) return;
    auto entry = beat::Entry::parse(written);
    if (!entry.ok()) {
      refuse(pointer + place_of(entry.error().message), named(written, entry.error().message));
      return;
    }
    if (const auto task = ScheduledTask::of(*entry); !task.ok()) {
      refuse(pointer + place_of(task.error().message), named(written, task.error().message));
      return;
    }
    if (!ids_.insert(entry->id).second) {
      refuse(pointer, fmt::format("the id \"{}\" stands twice", entry->id));
      return;
    }
    file_.entries.push_back(std::move(*entry));
  }

  // The first thing that a refusal names in quotes is its key.
  static std::string place_of(std::string_view message) {
    if (!message.starts_with('"')) return "";
    const std::size_t end = message.find('"', 1);
    return end == std::string_view::npos ? "" : "/" + pointer_step(message.substr(1, end - 1));
  }

  static std::string named(const json& written, std::string_view message) {
    for (const char* key : {"id", "name"})
      if (written.contains(key) && written[key].is_string())
        return fmt::format("schedule {}: {}", written[key].get<std::string>(), message);
    return std::string(message);
  }

  const Document& document_;
  const std::string& source_;
  ScheduleFile file_;
  std::vector<std::pair<int, std::string>> errors_;
  std::set<std::string> ids_;
};

}  // namespace

ScheduleFile parse_schedule_file(const std::string& text, const std::string& source) {
  const auto document = parse_document(text);
  if (!document.ok()) {
    // "line 3: ..." as "FILE:3: ..."
    const std::string& message = document.error().message;
    return {{}, {fmt::format("{}:{}", source, printable(message.substr(std::string_view("line ").size())))}};
  }
  return FileReader(*document, source).run();
}

}  // namespace stem::cli
