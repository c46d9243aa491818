// Which code runs which task. Filled before the worker processes are made; read-only afterwards.
//
// A shared object given with --app exports
//   extern "C" void stem_register(stem::worker::HandlerTable& table);
// and adds its handlers there. It is loaded once, in the supervisor, before the processes are forked.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "io/tree.hpp"
#include "shm/event_log.hpp"
#include "worker/outcome.hpp"
#include "worker/task_context.hpp"

namespace stem::worker {

using Handler = std::function<Outcome(TaskContext&)>;
// The context stays until the coroutine is over.
using CoHandler = std::function<Co<Outcome>(TaskContext&)>;
// The same with its last frame left out: the outermost coroutine itself, which lets no exception through and has left
// an outcome when it is over.
using CoStart = std::function<co::Tree(TaskContext&, std::optional<Outcome>& into)>;
CoStart start_of(CoHandler handler);

struct HandlerEntry {
  Handler run;                    // this,
  CoStart start;                  // or this
  std::string kind = "function";  // for the banner: "function", "app", "exec"
  std::string detail;             // the file, the command
  std::string note;               // what else people should know of it
};

// Hears what happens in a worker process; must not throw.
using EventListener = std::function<void(const shm::Event&, const shm::Participant&)>;

class HandlerTable {
 public:
  // A second handler of the same name replaces the first.
  void on(std::string name, Handler run) { entries_[std::move(name)] = {std::move(run), {}, kind_, detail_, {}}; }
  void on(std::string name, CoHandler handler) { on_start(std::move(name), start_of(std::move(handler))); }
  void on_start(std::string name, CoStart start) {
    entries_[std::move(name)] = {{}, std::move(start), kind_, detail_, {}};
  }
  void on(std::string name, HandlerEntry entry) { entries_[std::move(name)] = std::move(entry); }

  // For the banner, of a handler that is there.
  void note(std::string_view name, std::string text) {
    if (const auto it = entries_.find(name); it != entries_.end()) it->second.note = std::move(text);
  }

  const HandlerEntry* find(std::string_view name) const {
    const auto it = entries_.find(name);
    return it == entries_.end() ? nullptr : &it->second;
  }
  bool has_coroutines() const {
    return std::any_of(entries_.begin(), entries_.end(), [](const auto& named) { return bool{named.second.start}; });
  }
  const std::map<std::string, HandlerEntry, std::less<>>& entries() const noexcept { return entries_; }

  // One for the program: of several apps each has its own, called one after the other, with what the most curious of
  // them asks for.
  void listen(EventListener listener, shm::EventDetail detail = shm::EventDetail::kTasks) {
    detail_of_events_ = std::max(detail_of_events_, detail);
    if (!listener_) {
      listener_ = std::move(listener);
      return;
    }
    listener_ = [first = std::move(listener_), then = std::move(listener)](const shm::Event& event,
                                                                           const shm::Participant& self) {
      first(event, self);
      then(event, self);
    };
  }
  const EventListener& listener() const noexcept { return listener_; }
  shm::EventDetail detail_of_events() const noexcept { return detail_of_events_; }

  // What the banner says of handlers added from now on.
  void describe_next(std::string kind, std::string detail) {
    kind_ = std::move(kind);
    detail_ = std::move(detail);
  }

 private:
  std::map<std::string, HandlerEntry, std::less<>> entries_;
  std::string kind_ = "function";
  std::string detail_;
  EventListener listener_;
  shm::EventDetail detail_of_events_ = shm::EventDetail::kTasks;
};

// Loads a shared object and lets it register; it stays loaded.
Result<void> load_app(const std::string& path, HandlerTable& table);

}  // namespace stem::worker
