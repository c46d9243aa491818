// `stem top`: a live screen of queues, workers and task names.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/clock.hpp"
#include "engine/control.hpp"
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
      : attachment_(attachment), context_(context), before_(take_look(attachment, kAllParts)), now_(before_) {}

  void look() {
    before_ = std::move(now_);
    now_ = take_look(attachment_, kAllParts);
  }

  // False: quit.
  bool press(Key key) {
    if (asking_) {
      if (key == Key::kYes) toggle_pause();
      asking_ = false;
      return key != Key::kQuit;
    }
    const std::size_t count = now_.queues.size();
    if (key == Key::kQuit) return false;
    if (key == Key::kUp && selected_ > 0) --selected_;
    if (key == Key::kDown && selected_ + 1 < count) ++selected_;
    asking_ = key == Key::kPause && selected_ < count;
    return true;
  }

  void draw(Screen& screen) const {
    screen.draw(frame_lines({.attachment = attachment_,
                             .before = before_,
                             .now = now_,
                             .selected = selected_,
                             .interactive = true,
                             .bottom = question(),
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
  [[nodiscard]] bool paused() const {
    const auto& row = attachment_.segment().queue(now_.queues[selected_].id);
    return row.paused.load(std::memory_order_relaxed) != 0;
  }

  [[nodiscard]] std::string question() const {
    if (!asking_) return "";
    return fmt::format("{} queue {}? y/n", paused() ? "Resume" : "Pause", printable(now_.queues[selected_].name));
  }

  void toggle_pause() {
    engine::Control control(attachment_.engine());
    const std::uint32_t queue = now_.queues[selected_].id;
    paused() ? control.resume(queue, base::monotonic_ns()) : control.pause(queue, base::monotonic_ns());
    now_.queues[selected_].paused = paused();
  }

  const Attachment& attachment_;
  const Context& context_;
  Look before_, now_;
  std::size_t selected_ = 0;
  bool asking_ = false;
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
  const auto attached = Attachment::open(context);
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
           .details = "Keys: q quits, the arrows select a queue, p pauses or resumes it after a "
                      "question. The bar is the share of a queue's maximum length, or of the deepest "
                      "queue where it has none.",
           .examples = {{"stem top", ""}, {"stem top --once", "one frame, for a log"}},
           .build = build_top}};
}

}  // namespace stem::cli
