// `stem top`: a live screen of queues, workers and task names.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/clock.hpp"
#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "shm/names.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/interrupts.hpp"
#include "tools/stem/top/frame.hpp"
#include "tools/stem/top/screen.hpp"

namespace stem::cli {
namespace {

constexpr unsigned kAllParts = kQueuePart | kWorkerPart | kTaskPart;
constexpr std::int64_t kFirstGapNs = 250'000'000;
constexpr std::size_t kWidthOfPipes = 80;

struct TopOptions {
  bool once = false;
  std::int64_t interval_ns = 1'000'000'000;
};

// What the keys change.
class Session {
 public:
  Session(const Attachment& attachment, const Context& context)
      : attachment_(attachment), context_(context), before_(take_look(attachment, kAllParts)), now_(before_) {
    const auto order = fullest_first(now_.queues);
    if (!order.empty()) selected_ = order.front();
  }

  void look() {
    before_ = std::move(now_);
    now_ = take_look(attachment_, kAllParts);
    if (below_ == Below::kLimits) limits_ = watch_.look(attachment_.segment(), now_.at_ns);
  }

  // False: quit.
  bool press(Key key) {
    notice_.clear();
    if (asked_ != Key::kNo) {
      if (key == Key::kYes) act();
      asked_ = Key::kNo;
      return key != Key::kQuit;
    }
    const std::size_t count = now_.queues.size();
    switch (key) {
      case Key::kQuit: return false;
      case Key::kUp: select(-1); break;
      case Key::kDown: select(+1); break;
      case Key::kTimes: turn_to(Below::kTimes); break;
      case Key::kLimits: turn_to(Below::kLimits); break;
      case Key::kPause:
      case Key::kDrain:
      case Key::kReplay:
        if (selected_ < count) asked_ = key;
        break;
      default: break;
    }
    return true;
  }

  void draw(Screen& screen) const {
    screen.draw(frame_lines({.attachment = attachment_,
                             .before = before_,
                             .now = now_,
                             .selected = selected_,
                             .below = below_,
                             .limits = &limits_,
                             .interactive = true,
                             .bottom = asked_ == Key::kNo ? notice_ : question(),
                             .style = context_.style,
                             .width = terminal_width(),
                             .height = terminal_height()}));
  }

  void print() const {
    const std::size_t width = terminal_width();
    for (const std::string& line : frame_lines({.attachment = attachment_,
                                   .before = before_,
                                   .now = now_,
                                   .style = context_.style,
                                   .width = width == 0 ? kWidthOfPipes : width})) {
      fmt::print("{}\n", line);
    }
  }

 private:
  // The next one on the screen, up or down.
  void select(int step) {
    const auto order = fullest_first(now_.queues);
    const auto at = std::find(order.begin(), order.end(), selected_) - order.begin() + step;
    if (at >= 0 && at < static_cast<std::ptrdiff_t>(order.size())) selected_ = order[static_cast<std::size_t>(at)];
  }

  [[nodiscard]] bool paused() const {
    const auto& row = attachment_.segment().queue(now_.queues[selected_].id);
    return row.paused.load(std::memory_order_relaxed) != 0;
  }

  [[nodiscard]] const engine::QueueStats& queue() const { return now_.queues[selected_]; }

  [[nodiscard]] std::string question() const {
    const std::string name = printable(queue().name);
    if (asked_ == Key::kPause) return fmt::format("{} queue {}? y/n", paused() ? "Resume" : "Pause", name);
    if (asked_ == Key::kDrain)
      return fmt::format("Cancel the {} tasks that wait in queue {}? y/n", queue().ready + queue().delayed, name);
    return fmt::format("Replay the {} dead letters of queue {}? y/n", queue().dead, name);
  }

  // The screen only looks: to act, a row in the roster is wanted, for as long as that takes.
  void act() {
    const auto attached = Attachment::open(context_);
    if (!attached.ok()) {
      notice_ = attached.error().message;
      return;
    }
    if (attached->segment().epoch() != attachment_.segment().epoch()) return;  // made anew: the screen ends soon
    engine::Control control(attached->engine());
    const std::uint32_t id = queue().id;
    const std::int64_t now_ns = base::monotonic_ns();
    if (asked_ == Key::kPause) {
      paused() ? control.resume(id, now_ns) : control.pause(id, now_ns);
      now_.queues[selected_].paused = paused();
    } else if (asked_ == Key::kDrain) {
      notice_ = fmt::format("{} tasks cancelled", control.purge(id, now_ns));
    } else {
      engine::DeadLetters dead(attached->engine());
      std::uint64_t replayed = 0;
      for (const auto& letter : dead.list({.queue = id})) replayed += dead.replay(letter, 0, now_ns) ? 1 : 0;
      notice_ = fmt::format("{} dead letters run again", replayed);
    }
  }

  void turn_to(Below below) {
    below_ = below_ == below ? Below::kWorkersAndTasks : below;
    if (below_ == Below::kLimits) limits_ = watch_.look(attachment_.segment(), base::monotonic_ns());
  }

  const Attachment& attachment_;
  const Context& context_;
  Look before_, now_;
  std::size_t selected_ = 0;  // an index of now_.queues, where queues stay where they are
  Key asked_ = Key::kNo;      // what the question is about; kNo = none
  std::string notice_;        // what came of it
  Below below_ = Below::kWorkersAndTasks;
  LimitWatch watch_;
  std::vector<LimitFigures> limits_;
};

// Looks again when it is time; answers keys at once.
void run_live(Session& session, std::int64_t interval_ns, const Attachment& attachment) {
  Interrupts interrupts;
  Screen screen;
  session.draw(screen);
  std::int64_t next_ns = base::monotonic_ns() + kFirstGapNs;
  while (screen.open()) {
    const std::int64_t left_ns = std::max<std::int64_t>(next_ns - base::monotonic_ns(), 0);
    if (interrupts.wait_ns(left_ns, STDIN_FILENO)) return;
    if (base::monotonic_ns() >= next_ns) {
      if (!is_named(attachment.segment())) return;
      session.look();
      next_ns = base::monotonic_ns() + interval_ns;
    } else {
      for (const Key key : screen.keys()) {
        if (!session.press(key)) return;
      }
    }
    session.draw(screen);
  }
}

int run_top(const TopOptions& options, const Context& context) {
  if (options.interval_ns <= 0) {
    return fail("top", {Errc::kInvalidArgument, "--interval: must be above 0"});
  }
  const bool terminal = stdout_is_terminal() && isatty(STDIN_FILENO) != 0;
  if (!options.once && !terminal) {
    return fail("top", {Errc::kInvalidArgument, "wants a terminal; --once prints one frame"});
  }
  const auto attached = Attachment::watch(context);
  if (!attached.ok()) return fail("top", attached.error());
  Session session(*attached, context);
  if (options.once) {
    Interrupts interrupts;
    if (interrupts.wait_ns(kFirstGapNs)) return kExitOk;
    session.look();
    session.print();
    return kExitOk;
  }
  run_live(session, options.interval_ns, *attached);
  if (is_named(attached->segment())) return kExitOk;
  return fail("top", {Errc::kNotFound, "the segment was destroyed"});
}

Run build_top(CommandLine& line) {
  auto options = std::make_shared<TopOptions>();
  line.flag("--once", &options->once, "print one frame and end");
  line.duration_ns("--interval", &options->interval_ns, "how often it looks (default 1s)");
  return [options](const Context& context) { return run_top(*options, context); };
}

}  // namespace

std::vector<Command> top_commands() {
  return {{.path = "top",
           .group = Group::kWatch,
           .help = "A live screen of queues, workers and tasks",
           .details = "Keys: q quits, the arrows select a queue. After a question p pauses or resumes it, d drains "
                      "it (cancels what waits in it), r replays its dead letters. h shows how long its tasks waited, "
                      "as bars, and l the limits that hold back most. The bar is the share of a queue's maximum "
                      "length, or of the deepest "
                      "queue where it has none.",
           .examples = {{"stem top", ""}, {"stem top --once", "one frame, for a log"}},
           .build = build_top}};
}

}  // namespace stem::cli
