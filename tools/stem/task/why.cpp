#include "tools/stem/task/why.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "engine/dead_letters.hpp"
#include "engine/limiter.hpp"
#include "engine/run.hpp"
#include "engine/shared_keys.hpp"
#include "io/waits_for.hpp"
#include "shm/names.hpp"
#include "tools/stem/events/event_report.hpp"
#include "tools/stem/observe/look.hpp"
#include "tools/stem/task/process_state.hpp"
#include "tools/stem/task/task_report.hpp"
#include "tools/stem/when.hpp"
#include "worker/control.hpp"

namespace stem::cli {
namespace {

using engine::TaskInfo;
using engine::WorkerStats;
using nlohmann::ordered_json;
using shm::State;

constexpr std::chrono::milliseconds kBetweenLooks(50);
constexpr std::int64_t kAskNs = 500'000'000;  // a loop that does not turn for so long does not answer
constexpr std::size_t kMostWorkersShown = 4;

std::string lasting(std::int64_t ns) { return base::human_duration(std::max<std::int64_t>(ns, 0)); }

// One look at everything that a reason may lie in.
class Inquiry {
 public:
  using Where = std::function<std::string(const TaskInfo&)>;

  Inquiry(const Attachment& attachment, const TaskInfo& task, Why& why, const Where& where)
      : attachment_(attachment),
        segment_(attachment.segment()),
        task_(task),
        why_(why),
        where_(where),
        now_ns_(base::monotonic_ns()) {
    for (std::uint32_t q = 0; q < shm::queue_total(segment_); ++q)
      if (shm::queue_name(segment_, q) == task.queue) queue_ = q;
  }

  void run() {
    switch (task_.state) {
      case State::kReady: return ready();
      case State::kDelayed: return delayed();
      case State::kLeased: return running();
      case State::kDead: return dead();
      case State::kDone: return done();
      case State::kWaiting:
        return because(
            "it is not decided yet whether it is a task: the tick of a schedule that is being fired, or one "
            "that its journal is bringing back");
      case State::kOutbox: {
        because("it left this host through the gateway, and waits in Redis or runs on another host");
        return advise(fmt::format("stem task show {} --broker REDIS-URL", to_string(task_.id)));
      }
      case State::kSettling:
      case State::kRetiring: return because("it is over, and being cleared away");
      case State::kQuarantine:
        because("what stood in its slot made no sense, so nobody may run it");
        return advise("stem segment verify");
      default: return because("its slot is free: it is over");
    }
  }

 private:
  void because(std::string text) { why_.because.push_back(std::move(text)); }
  void advise(std::string text) { why_.advice.push_back(std::move(text)); }

  std::vector<WorkerStats> workers() const {
    std::vector<WorkerStats> serving;
    for (WorkerStats& w : engine::Query(attachment_.engine()).workers(engine::HeldBy::kClaim)) {
      if (w.role != shm::Role::kWorker || w.state != shm::RowState::kLive || queue_ == kNone) continue;
      const std::uint64_t bits = segment_.subscription(w.participant)[queue_ / 64].load(std::memory_order_relaxed);
      if ((bits >> (queue_ % 64) & 1) != 0) serving.push_back(std::move(w));
    }
    return serving;
  }

  // Ready tasks of its queue that go first. (Ageing may let an older one of a lower priority pass.)
  std::uint64_t count_ahead() const {
    std::uint64_t ahead = 0;
    const bool lowest_first = segment_.queue(queue_).lowest_first.load(std::memory_order_relaxed) != 0;
    const auto used = segment_.slots_used();
    for (std::uint32_t slot = 0; slot < used; ++slot) {
      const shm::Descriptor& d = segment_.descriptor(slot);
      const shm::ControlWord word = d.control.load();
      if (word.state() != State::kReady || d.queue != queue_ || slot == task_.id.slot()) continue;
      const std::uint32_t priority = d.priority;
      const bool better = lowest_first ? priority < task_.priority : priority > task_.priority;
      const bool older = priority == task_.priority && d.enqueued_ns < task_.enqueued_ns;
      if (better || older) ahead += engine::tasks_in(d, word);
    }
    return ahead;
  }

  void ready() {
    if (queue_ == kNone) return because("its queue has no name any more");
    if (segment_.queue(queue_).paused.load(std::memory_order_relaxed) != 0) {
      because(fmt::format("queue {} is paused", task_.queue));
      advise(fmt::format("stem queue resume {}", task_.queue));
    }
    const auto serving = workers();
    if (serving.empty()) {
      because(fmt::format("no worker serves queue {} on this host", task_.queue));
      return advise(fmt::format("stem worker start --queue {} ...", task_.queue));
    }
    why_.ahead = count_ahead();
    if (why_.ahead != 0) because(fmt::format("{} tasks of its queue go before it", why_.ahead));
    const auto stopping = std::count_if(serving.begin(), serving.end(), [](const auto& w) { return w.stop_mode != 0; });
    if (stopping == static_cast<std::ptrdiff_t>(serving.size()))
      because("every worker that serves its queue is stopping");
    const auto busy = std::count_if(serving.begin(), serving.end(), [](const auto& w) { return !!w.current; });
    because(fmt::format("{} of {} worker processes that serve its queue are busy", busy, serving.size()));
    describe(serving);
    if (busy == static_cast<std::ptrdiff_t>(serving.size()) && why_.ahead != 0) advise("stem capacity");
  }

  // What these workers do, those that have been at it longest first.
  void describe(std::vector<WorkerStats> workers) {
    std::sort(workers.begin(), workers.end(), [](const auto& a, const auto& b) {
      return (a.current ? a.current_since_ns : INT64_MAX) < (b.current ? b.current_since_ns : INT64_MAX);
    });
    if (workers.size() > kMostWorkersShown) workers.resize(kMostWorkersShown);
    std::vector<std::optional<ThreadTimes>> before;
    before.reserve(workers.size());
    for (const WorkerStats& w : workers) before.push_back(times_of(w));
    const std::int64_t began = base::monotonic_ns();
    std::this_thread::sleep_for(kBetweenLooks);
    const std::int64_t between = base::monotonic_ns() - began;
    for (std::size_t i = 0; i < workers.size(); ++i) {
      const WorkerStats& w = workers[i];
      std::string text = fmt::format("{} (pid {}{})", w.name, w.pid, w.cpu >= 0 ? fmt::format(", core {}", w.cpu) : "");
      text += w.current ? fmt::format(" has run {} for {}", to_string(w.current), lasting(now_ns_ - w.current_since_ns))
                        : std::string(" has nothing in hand");
      const auto now = times_of(w);
      if (w.signalled_dead)
        text += ", and is dead";
      else if (before[i] && now)
        text += "; it " + thread_text(*before[i], *now, between);
      because(std::move(text));
      if (now && now->state == 'T') advise(fmt::format("kill -CONT {}", w.pid));
    }
  }

  std::optional<ThreadTimes> times_of(const WorkerStats& w) const {
    if (segment_.row(w.participant).pid_namespace != shm::namespace_inode("pid")) return std::nullopt;
    return thread_times(w.pid, w.tid);
  }

  void delayed() {
    const std::string left = lasting(task_.due_ns - now_ns_);
    const std::size_t before = why_.because.size();
    unique_key();
    limits();
    if (why_.because.size() > before) return;
    if (task_.tally.attempts > 0 && task_.failure) {
      because(fmt::format("attempt {} failed ({}: {}); the next is due in {}", task_.tally.attempts,
                          task_.failure->kind(), task_.failure->message(), left));
    } else if (task_.tally.attempts + task_.tally.releases == 0) {
      because(fmt::format("it was enqueued to start later: in {}", left));
    } else {
      because(fmt::format("it was put off (snoozed, replayed with a delay, or held back by a limit); due in {}", left));
    }
  }

  void unique_key() {
    if (queue_ == kNone || !task_.has_extras || !task_.asked.unique_everywhere || task_.asked.unique_key == 0) return;
    if (task_.due_ns > now_ns_ + engine::kKeyNamedNs) return;
    const auto keys = shm::KeysShared::unpack(segment_.queue(queue_).keys_shared.load(std::memory_order_relaxed));
    if (keys.gateway == 0) return;
    if (now_ns_ < keys.until_ns)
      because("unique keys of this queue hold on all hosts: the gateway asks for its key before it starts");
    else if (keys.fail_closed)
      because("its unique key cannot be asked for (the gateway or Redis is away), and the gateway was told failClosed");
  }

  // What holds it back, of its own limits, its group's and its queue's.
  void limits() {
    if (queue_ == kNone || task_.tally.releases == 0) return;
    engine::Limiter limiter(segment_);
    const shm::QueueRow& row = segment_.queue(queue_);
    const auto places_in_time = [&](std::uint64_t key, engine::Rate rate, const char* whose) {
      if (!rate) return;
      const std::int64_t next = limiter.next_place_ns(key, rate);
      if (next > now_ns_ || task_.tally.rate_paid)
        because(fmt::format("{} rate of {} is used up; {}", whose, limit_text(rate),
                            task_.tally.rate_paid
                                ? fmt::format("its turn comes in {}", lasting(task_.due_ns - now_ns_))
                                : fmt::format("places are taken for the next {}", lasting(next - now_ns_))));
    };
    const auto places = [&](std::uint64_t key, std::uint32_t limit, const char* whose) {
      if (limit == 0) return;
      const std::uint32_t taken = limiter.holders(key);
      if (taken >= limit) because(fmt::format("{} limit of {} running at once is reached", whose, limit));
    };
    places_in_time(engine::queue_rate_key(segment_, queue_),
                   engine::unpack_rate(row.rate.load(std::memory_order_relaxed)), "the queue's");
    places(engine::queue_concurrency_key(segment_, queue_), row.concurrency.load(std::memory_order_relaxed),
           "the queue's");
    if (!task_.has_extras) return;
    places_in_time(task_.asked.group_rate_key, task_.asked.group_rate, "its group's");
    places_in_time(task_.asked.rate_key, task_.asked.rate, "its own");
    places(task_.asked.concurrency_key, task_.asked.concurrency_limit, "its key's");
    if (row.limits_shared_until_ns.load(std::memory_order_relaxed) != 0)
      because("limits of this queue are shared with other hosts: places come by way of the gateway");
  }

  void running() {
    const auto all = engine::Query(attachment_.engine()).workers(engine::HeldBy::kClaim);
    std::vector<WorkerStats> its;
    for (const WorkerStats& w : all)
      if (w.participant + 1 == task_.worker) its.push_back(w);
    if (its.empty()) return because("its worker is gone; it will run again at once");
    const bool this_one = its.front().current == task_.id;
    const std::string where = this_one || !where_ ? std::string() : where_(task_);
    if (!where.empty())
      because(fmt::format("its coroutine handler in {} {}", its.front().name, where));
    else if (!this_one)
      because(fmt::format("{} has it in hand, and runs another first, or its handler is a coroutine that waits",
                          its.front().name));
    describe(its);
    if (task_.has_progress)
      because(fmt::format("it says: {:.1f} % done{}{}", task_.progress * 100, task_.progress_data.empty() ? "" : ", ",
                          task_.progress_data));
    if (this_one && task_.asked.hard_limit_ns > 0)
      because(fmt::format("its hard time limit is {}: after that its process is killed",
                          lasting(task_.asked.hard_limit_ns)));
    if (its.front().signalled_dead) because("its worker is dead: it is about to be made runnable");
  }

  void dead() {
    if (task_.failure)
      because(fmt::format("it is a dead letter ({}) after {} attempts: {}: {}", reason_text(task_.failure->reason),
                          task_.failure->attempts, task_.failure->kind(), task_.failure->message()));
    else
      because("it is a dead letter");
    if (task_.tally.deaths > 0)
      because(fmt::format("{} times its worker's process died while it ran it", task_.tally.deaths));
    advise(fmt::format("stem dlq replay --id {} --dry-run", to_string(task_.id)));
  }

  void done() {
    if (task_.outcome == engine::OutcomeKind::kCancelled)
      return because(task_.failure ? fmt::format("it was cancelled: {}", task_.failure->message())
                                   : "it was cancelled");
    if (task_.outcome == engine::OutcomeKind::kFailed && task_.failure)
      return because(fmt::format("it failed: {}: {}", task_.failure->kind(), task_.failure->message()));
    because(fmt::format("it has succeeded{}; its result is kept",
                        task_.tally.attempts > 0 ? fmt::format(" at attempt {}", task_.tally.attempts + 1) : ""));
  }

  static constexpr std::uint32_t kNone = ~0u;
  const Attachment& attachment_;
  shm::Segment& segment_;
  const TaskInfo& task_;
  Why& why_;
  const Where& where_;
  std::int64_t now_ns_;
  std::uint32_t queue_ = kNone;
};

std::vector<shm::ReadEvent> life_of(const shm::Segment& segment, engine::TaskId id) {
  std::vector<shm::ReadEvent> life;
  const std::uint64_t run = id.handle & engine::TaskId::kSlotLife;  // what befell the run befell its items
  for (shm::ReadEvent& event : shm::EventReader(segment, /*from_now=*/false).read())
    if (event.event.handle == id.handle || (id.item() != 0 && event.event.handle == run))
      life.push_back(std::move(event));
  return life;
}

bool has(const std::vector<shm::ReadEvent>& life, shm::EventKind kind) {
  return std::any_of(life.begin(), life.end(), [kind](const auto& e) { return e.event.kind == kind; });
}

std::string since_text(std::int64_t ns) { return (ns < 0 ? "-" : "+") + base::human_duration(ns < 0 ? -ns : ns); }

}  // namespace

std::string ask_where(shm::Segment& segment, const TaskInfo& task) {
  if (task.worker == 0) return {};
  const std::uint32_t row = task.worker - 1;
  const std::uint64_t status = segment.row(row).status.load(std::memory_order_acquire);
  const std::uint32_t number =
      worker::send_request(segment, row, shm::row_incarnation(status), worker::Command::kWhere, task.id.slot());
  worker::ControlReply reply;
  for (const std::int64_t until = base::monotonic_ns() + kAskNs; !worker::read_reply(segment, row, number, reply);) {
    if (base::monotonic_ns() >= until) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (reply.answer != worker::Answer::kDone) return {};
  const io::WaitsFor waits = io::WaitsFor::unpack(reply.value);
  std::string what;
  if (waits.fd >= 0 && segment.row(row).pid_namespace == shm::namespace_inode("pid")) {
    std::error_code error;
    const auto target =
        std::filesystem::read_symlink(fmt::format("/proc/{}/fd/{}", segment.row(row).pid, waits.fd), error);
    if (!error) what = target.string();
  }
  return to_text(waits, what);
}

WhyTask why(const Attachment& attachment, engine::TaskId id,
            const std::function<std::string(const engine::TaskInfo&)>& where) {
  WhyTask task;
  task.id = id;
  task.info = engine::Query(attachment.engine()).task(id);
  task.why.life = life_of(attachment.segment(), id);
  if (task.info) {
    task.why.state = task.info->state_name;
    Inquiry(attachment, *task.info, task.why, where).run();
    return task;
  }
  task.why.state = "gone";
  if (id.epoch != attachment.segment().epoch())
    task.why.because.push_back(
        fmt::format("it belongs to another segment; ids of this one begin with {:08x}", attachment.segment().epoch()));
  else if (task.why.life.empty())
    task.why.because.emplace_back("it is over and nothing was kept of it, or it never was");
  else
    task.why.because.push_back(event_text(task.why.life.back(), attachment.segment()));
  return task;
}

void print_why(const WhyTask& task, const Attachment& attachment, const Style& style) {
  const shm::Segment& segment = attachment.segment();
  const Moment now = Moment::now();
  fmt::print("{}  {}", style.paint(Tone::kBold, to_string(task.id)),
             style.paint(tone_of_state(task.why.state), task.why.state));
  if (task.info) {
    const TaskInfo& info = *task.info;
    fmt::print("  {}  queue {}, priority {}, attempt {} of {}", printable(info.task), printable(info.queue),
               info.priority, std::min(info.tally.attempts + 1, info.max_retries + 1), info.max_retries + 1);
  }
  fmt::print("\n\n");
  std::int64_t first_ns = task.info ? task.info->enqueued_ns : 0;
  if (first_ns == 0 && !task.why.life.empty()) first_ns = task.why.life.front().event.at_ns;
  const auto line = [&](std::int64_t at_ns, Tone tone, std::string_view text) {
    fmt::print("  {}  {:>9}  {}\n", write_time(now.to_realtime_ns(at_ns)), since_text(at_ns - first_ns),
               style.paint(tone, printable(text)));
  };
  if (task.info && !has(task.why.life, shm::EventKind::kEnqueued)) line(first_ns, Tone::kPlain, "enqueued");
  for (const shm::ReadEvent& event : task.why.life)
    line(event.event.at_ns, tone_of_event(event.event.kind), event_text(event, segment));
  if (task.info) line(now.monotonic_ns, Tone::kBold, "now");
  fmt::print("\n");
  for (const std::string& reason : task.why.because) fmt::print("because  {}\n", printable(reason));
  for (const std::string& advice : task.why.advice) fmt::print("try      {}\n", printable(advice));
}

ordered_json why_json(const WhyTask& task, const Attachment& attachment) {
  const Moment now = Moment::now();
  ordered_json object{
      {"id", to_string(task.id)}, {"state", task.why.state}, {"because", task.why.because}, {"try", task.why.advice}};
  if (task.why.state == "queued") object["ahead"] = task.why.ahead;
  object["task"] = task.info ? task_json(*task.info, attachment) : ordered_json();
  object["life"] = ordered_json::array();
  for (const shm::ReadEvent& event : task.why.life)
    object["life"].push_back(event_json(event, attachment.segment(), now));
  return object;
}

}  // namespace stem::cli
