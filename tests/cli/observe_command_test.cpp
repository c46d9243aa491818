// `stem observe` and `stem top`: figures of real work.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <clocale>

#include <pty.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>

#include "scene.hpp"
#include "tests/support/attached.hpp"
#include "tools/stem/terminal.hpp"
#include "tools/stem/top/frame.hpp"

namespace stem::cli_test {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::MatchesRegex;
using ::testing::Not;

json row_of(const json& rows, const std::string& key, const std::string& name) {
  for (const json& row : rows) {
    if (row[key] == name) return row;
  }
  return {};
}

// Ten tasks of `good` done, one of `bad` dead, two of `good` waiting, one delayed: all in queue work.
void fill(Scene& scene) {
  const TemporaryDirectory files;
  scene.segment();
  const std::string lines = files.write("ten", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
  ASSERT_EQ(scene.run({"enqueue", "good", "-q", "work", "--jsonl", lines}).exit_code, 0);
  (void)scene.enqueue({"bad", "-q", "work"});
  {
    const TestWorker worker(scene.segment(), "work", [](const auto& task, std::string&) {
      return task.payload.empty() ? End::kBury : End::kSucceed;
    });
    worker.await(11);
  }
  (void)scene.enqueue({"good", "-q", "work"});
  (void)scene.enqueue({"good", "-q", "work"});
  (void)scene.enqueue({"good", "-q", "work", "--delay", "1h"});
}

TEST(Observe, QueuesAreCounted) {
  Scene scene;
  fill(scene);
  const json work = row_of(scene.run_json({"observe", "queues"})["queues"], "queue", "work");
  EXPECT_EQ(work["ready"], 2);
  EXPECT_EQ(work["delayed"], 1);
  EXPECT_EQ(work["inflight"], 0);
  EXPECT_EQ(work["dlq"], 1);
  EXPECT_EQ(work["counters"]["enqueued"], 14);
  EXPECT_EQ(work["counters"]["succeeded"], 10);
  EXPECT_EQ(work["counters"]["deadAdded"], 1);
  EXPECT_EQ(work["lag"]["samples"], 11);
  EXPECT_GT(work["lag"]["p50Ns"], 0);
  EXPECT_LE(work["lag"]["p50Ns"], work["lag"]["p99Ns"]);
  EXPECT_GT(work["oldestAgeNs"], 0);
  EXPECT_EQ(work["paused"], false);
  const auto lines = lines_of(scene.run({"observe", "queues", "-q", "work"}).out);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[0], MatchesRegex("QUEUE +READY +DELAYED +INFLIGHT +DLQ +RATE-IN +RATE-OUT +LAG-P50 "
                                     "+LAG-P99 +OLDEST +PAUSED"));
  EXPECT_THAT(lines[1], MatchesRegex("work +2 +1 +0 +1 +0 +0 .* no"));
  const Outcome unknown = scene.run({"observe", "queues", "-q", "wrok"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean work?"));
}

TEST(Observe, RatesAreOfTheTimeBetweenTwoLooks) {
  Scene scene;
  const auto segment = scene.segment();
  std::atomic<bool> stop{false};
  std::thread producer([&] {
    const test::Attached self(segment);
    const std::uint32_t queue = test::must_queue(*segment, "work");
    const std::uint32_t task = test::must_task(*segment, "t");
    for (std::uint64_t i = 0; !stop.load(); ++i) {
      const test::Numbered numbered(queue, task, i);
      if (self->enqueue(numbered.spec, base::monotonic_ns()).status != engine::EnqueueStatus::kOk) {
        std::this_thread::yield();
      }
    }
  });
  json work;
  {
    const TestWorker worker(segment, "work", [](const auto&, std::string&) { return End::kSucceed; });
    worker.await(1);
    work = row_of(scene.run_json({"observe", "queues"})["queues"], "queue", "work");
    const json workers = scene.run_json({"observe", "workers"})["workers"];
    ASSERT_EQ(workers.size(), 1u);
    EXPECT_GT(workers[0]["done"], 0);
    EXPECT_GT(workers[0]["ratePerSecond"], 0);
    EXPECT_EQ(workers[0]["heartbeat"]["seen"], true);
  }
  stop.store(true);
  producer.join();
  EXPECT_GT(work["rateInPerSecond"], 0);
  EXPECT_GT(work["rateOutPerSecond"], 0);
}

TEST(Observe, TasksAreTimed) {
  Scene scene;
  fill(scene);
  const json good = row_of(scene.run_json({"observe", "tasks"})["tasks"], "task", "good");
  EXPECT_EQ(good["count"], 10);
  EXPECT_LE(good["duration"]["p50Ns"], good["duration"]["p99Ns"]);
  EXPECT_THAT(lines_of(scene.run({"observe", "tasks"}).out)[0],
              MatchesRegex("TASK +COUNT +RATE +MEAN +P50 +P95 +P99 +FAIL% +RETRY%"));
}

TEST(Observe, FollowPrintsALineALookUntilItIsInterrupted) {
  Scene scene;
  fill(scene);
  for (const char* what : {"queues", "workers", "tasks", "dlq", "schedules", "metrics"}) {
    const Outcome outcome = run_program({"/usr/bin/timeout", "--preserve-status", "-s", "INT", "3", stem_path(),
                                         "observe", what, "--follow", "--interval", "100ms", "--json"},
                                        scene.options());
    EXPECT_EQ(outcome.exit_code, 0) << what << outcome.err;
    const auto lines = lines_of(outcome.out);
    EXPECT_GE(lines.size(), 2u) << what;
    for (const std::string& line : lines) {
      const json document = json::parse(line, nullptr, false);
      EXPECT_TRUE(document.is_object()) << line;
      EXPECT_EQ(document["namespace"], "stem");
    }
  }
  // It detached: nobody is left in the roster.
  EXPECT_EQ(scene.run_json({"segment", "info"})["participants"].size(), 0u);
}

TEST(Observe, FollowEndsWhenTheSegmentIsDestroyed) {
  Scene scene;
  scene.segment();
  const Outcome outcome = scene.shell(
      "stem observe queues --follow --interval 50ms --json | { read first; "
      "stem segment destroy --yes --force; cat >/dev/null; echo over; }");
  EXPECT_THAT(outcome.out, HasSubstr("over"));
  EXPECT_THAT(outcome.err, HasSubstr("destroyed"));
}

TEST(Observe, AbsurdIntervalsAreRefused) {
  Scene scene;
  scene.segment();
  for (const char* interval : {"0", "-1s", "soon", "99999999999999d"}) {
    EXPECT_EQ(scene.run({"observe", "queues", "--interval", interval}).exit_code, 2) << interval;
    EXPECT_EQ(scene.run({"top", "--once", "--interval", interval}).exit_code, 2) << interval;
  }
}

// Every line of Prometheus' text form is a comment or a sample; names, types and values are as documented.
TEST(Observe, MetricsAreInPrometheusForm) {
  Scene scene;
  fill(scene);
  const Outcome outcome = scene.run({"observe", "metrics"});
  ASSERT_EQ(outcome.exit_code, 0);
  const std::regex sample(R"(([a-z_]+)\{namespace="stem"((,[a-z]+="[^"]*")*)\} ([0-9.e+-]+|\+Inf))");
  std::map<std::string, double> values;
  std::string family;
  for (const std::string& line : lines_of(outcome.out)) {
    if (line.starts_with("# HELP ")) continue;
    if (line.starts_with("# TYPE ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_THAT(line, MatchesRegex("# TYPE [a-z_]+ (counter|gauge|histogram)"));
      continue;
    }
    std::smatch match;
    ASSERT_TRUE(std::regex_match(line, match, sample)) << line;
    EXPECT_TRUE(match[1].str().starts_with(family)) << line;
    const bool fresh = values.emplace(match[1].str() + match[2].str(), std::stod(match[4])).second;
    EXPECT_TRUE(fresh) << line;
  }
  EXPECT_EQ(values["stem_tasks_enqueued_total,queue=\"work\""], 14);
  EXPECT_EQ(values["stem_tasks_succeeded_total,queue=\"work\""], 10);
  EXPECT_EQ(values["stem_dlq_added_total,queue=\"work\",reason=\"permanent-failure\""], 1);
  EXPECT_EQ(values["stem_queue_depth,queue=\"work\""], 2);
  EXPECT_EQ(values["queue_depth_ready,queue=\"work\""], 2);
  EXPECT_EQ(values["stem_queue_delayed,queue=\"work\""], 1);
  EXPECT_EQ(values["stem_dlq_depth,queue=\"work\""], 1);
  EXPECT_EQ(values["tasks_processed_total,status=\"succeeded\""], 10);
  EXPECT_EQ(values["stem_segment_tasks_used"], 4);
  EXPECT_EQ(values["stem_task_duration_seconds_count,task=\"good\""], 10);
  EXPECT_EQ(values["stem_task_duration_seconds_bucket,task=\"good\",le=\"+Inf\""], 10);
  EXPECT_EQ(values["stem_task_queue_wait_seconds_count,queue=\"work\""], 11);
  double below = 0;
  for (const auto& [name, value] : values) {
    if (!name.starts_with("stem_task_queue_wait_seconds_bucket")) continue;
    EXPECT_LE(value, 11);
    below += value;
  }
  EXPECT_GT(below, 0);
}

TEST(Top, OneFrameFitsEightyColumns) {
  std::setlocale(LC_CTYPE, "C.UTF-8");  // widths are counted in characters, as the program does
  Scene scene;
  fill(scene);
  for (int i = 0; i < 30; ++i) {
    (void)test::must_queue(*scene.segment(), "a-queue-with-a-rather-long-name-" + std::to_string(i));
  }
  const test::Attached worker(scene.segment(), shm::Role::kWorker);
  const Outcome outcome = scene.run({"top", "--once"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("work"));
  EXPECT_THAT(outcome.out, HasSubstr("good"));
  EXPECT_THAT(outcome.out, HasSubstr("0 of 1 workers busy"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("\x1b")));
  for (const std::string& line : lines_of(outcome.out)) {
    EXPECT_LE(cli::display_width(line), 80u) << line;
  }
}

TEST(Top, TheFullestQueueComesFirstAndIsSelected) {
  Scene scene;
  for (const char* name : {"queue-10", "queue-2"}) (void)scene.enqueue({"t", "-q", name});
  for (int i = 0; i < 12; ++i) (void)scene.enqueue({"t", "-q", "zebra"});
  const std::string frame = scene.run({"top", "--once"}).out;
  EXPECT_LT(frame.find("zebra"), frame.find("queue-2"));
  EXPECT_LT(frame.find("queue-2"), frame.find("queue-10"));
  EXPECT_EQ(run_stem_on_terminal({"top"}, "pyq", scene.options()).exit_code, 0);
  EXPECT_EQ(row_of(scene.run_json({"observe", "queues"})["queues"], "queue", "zebra")["paused"], true);
}

// A terminal that has written its last column erases that column when it is told to erase what follows.
TEST(Top, ALineAsWideAsTheScreenKeepsItsLastCharacter) {
  Scene scene;
  fill(scene);
  const std::string screen = run_stem_on_terminal({"top"}, "q", scene.options()).out;
  std::size_t lines = 0;
  for (std::size_t at = screen.find("\x1b[K"); at != std::string::npos; at = screen.find("\x1b[K", at + 1), ++lines)
    EXPECT_TRUE(at >= 3 && (screen[at - 1] == '\n' || screen.compare(at - 3, 3, "\x1b[H") == 0)) << at;
  EXPECT_GT(lines, 0u);
}

TEST(Top, BarsAreAsLongAsTheShare) {
  EXPECT_EQ(cli::bar(0, 4), "    ");
  EXPECT_EQ(cli::bar(1, 4), "████");
  EXPECT_EQ(cli::bar(0.5, 4), "██  ");
  EXPECT_EQ(cli::bar(0.0001, 4), "▏   ");
  EXPECT_EQ(cli::bar(17, 4), "████");
}

TEST(Top, WantsATerminal) {
  Scene scene;
  scene.segment();
  const Outcome outcome = scene.run({"top"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("--once"));
}

TEST(Top, TakesTheScreenAndGivesItBack) {
  Scene scene;
  fill(scene);
  const Outcome outcome = run_stem_on_terminal({"top"}, "q", scene.options());
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("\x1b[?1049h"));
  EXPECT_THAT(outcome.out, HasSubstr("> work"));
  EXPECT_THAT(outcome.out, HasSubstr("q quit"));
  const auto left = outcome.out.rfind("\x1b[?1049l");
  ASSERT_NE(left, std::string::npos);
  EXPECT_EQ(outcome.out.find("\x1b[?1049h", left), std::string::npos);
  // No frame is taller than the terminal, or it would scroll.
  std::size_t begin = outcome.out.find("\x1b[H");
  while (begin != std::string::npos) {
    const std::size_t end = outcome.out.find("\x1b[J", begin);
    const std::string frame = outcome.out.substr(begin, end - begin);
    EXPECT_LT(std::count(frame.begin(), frame.end(), '\n'), 24);
    begin = outcome.out.find("\x1b[H", end);
  }
}

TEST(Top, PausesASelectedQueueAfterAQuestion) {
  Scene scene;
  fill(scene);
  (void)scene.enqueue({"t", "-q", "zebra"});
  const auto paused = [&](const std::string& queue) {
    return row_of(scene.run_json({"observe", "queues"})["queues"], "queue", queue)["paused"] == true;
  };
  const Outcome asked = run_stem_on_terminal({"top"}, "pnq", scene.options());
  EXPECT_EQ(asked.exit_code, 0);
  EXPECT_FALSE(paused("work"));
  EXPECT_EQ(run_stem_on_terminal({"top"}, "\x1b[Bpyq", scene.options()).exit_code, 0);
  EXPECT_FALSE(paused("work"));
  EXPECT_TRUE(paused("zebra"));
  EXPECT_EQ(run_stem_on_terminal({"top"}, "\x1b[B\x1b[B\x1b[B\x1b[ApyjpYq", scene.options()).exit_code, 0);
  EXPECT_TRUE(paused("work"));
  EXPECT_FALSE(paused("zebra"));
}

// Sends the signal once the first frame is there; returns all that the screen got.
std::string signalled_screen(const Scene& scene, int signal, int& status) {
  int terminal = -1;
  winsize size{};
  size.ws_col = 80;
  size.ws_row = 24;
  const pid_t child = forkpty(&terminal, nullptr, nullptr, &size);
  if (child == 0) {
    setenv("STEM_SHM_DIRECTORY", scene.directory().c_str(), 1);
    setenv("TERM", "xterm", 1);
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    execl(stem_path().c_str(), "stem", "top", nullptr);
    _exit(127);
  }
  std::string screen;
  bool sent = false;
  char chunk[4096];
  for (ssize_t got = 0; (got = read(terminal, chunk, sizeof chunk)) > 0;) {
    screen.append(chunk, static_cast<std::size_t>(got));
    if (!sent && screen.find("q quit") != std::string::npos) {
      kill(child, signal);
      sent = true;
    }
  }
  close(terminal);
  waitpid(child, &status, 0);
  return screen;
}

TEST(Top, GivesTheScreenBackWhenItIsEndedFromOutside) {
  Scene scene;
  scene.segment();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGABRT, SIGSEGV}) {
    int status = 0;
    const std::string screen = signalled_screen(scene, signal, status);
    EXPECT_THAT(screen, HasSubstr("\x1b[?1049h"));
    EXPECT_THAT(screen, HasSubstr("\x1b[?1049l")) << strsignal(signal);
    const bool crash = signal == SIGABRT || signal == SIGSEGV;
    EXPECT_EQ(WIFSIGNALED(status), crash) << strsignal(signal);
    if (!crash) {
      EXPECT_EQ(WEXITSTATUS(status), 0) << strsignal(signal);
    }
  }
}

// Whatever is typed after these commands, there is an answer with a documented code.
TEST(EngineCommands, RandomWordsGetADocumentedExitCode) {
  Scene scene;
  fill(scene);
  const std::vector<std::vector<std::string>> commands{{"segment", "info"},
                                                       {"segment", "verify"},
                                                       {"segment", "list"},
                                                       {"task", "show"},
                                                       {"task", "revoke"},
                                                       {"task", "retry"},
                                                       {"dlq", "list"},
                                                       {"dlq", "show"},
                                                       {"dlq", "replay"},
                                                       {"queue", "set"},
                                                       {"queue", "pause"},
                                                       {"queue", "purge"},
                                                       {"observe", "queues"},
                                                       {"observe", "dlq"},
                                                       {"segment", "create"},
                                                       {"enqueue"},
                                                       {"health"},
                                                       {"top", "--once"},
                                                       {"segment", "destroy"}};
  const std::vector<std::string> words{"--json",
                                       "--yes",
                                       "--dry-run",
                                       "--",
                                       "",
                                       "work",
                                       "-q",
                                       "--id",
                                       "--limit",
                                       "0",
                                       "-1",
                                       "--since",
                                       "1h",
                                       "--offset",
                                       "99999999999999999999",
                                       "\xff\xfe",
                                       "\n",
                                       "--rate",
                                       "5/s",
                                       "--args",
                                       "{",
                                       "[1]",
                                       "--slots",
                                       "--header",
                                       "a=b",
                                       "=",
                                       "--delay",
                                       "--reason",
                                       "poison-pill",
                                       "../..",
                                       "--max-length",
                                       "none",
                                       "--fingerprint",
                                       "deadbeef",
                                       "-",
                                       "--create",
                                       "--recover",
                                       "--unique",
                                       "--priority",
                                       "\x1b[2J",
                                       "--help"};
  std::uint64_t state = 2026;
  const auto next = [&state](std::size_t below) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::size_t>(state >> 33) % below;
  };
  for (int i = 0; i < 150; ++i) {
    std::vector<std::string> args = commands[next(commands.size())];
    for (std::size_t left = next(6); left > 0; --left) args.push_back(words[next(words.size())]);
    const Outcome outcome = scene.run(args);
    EXPECT_THAT(outcome.exit_code, AnyOf(0, 1, 2, 3, 70)) << ::testing::PrintToString(args) << outcome.err;
    EXPECT_THAT(outcome.err, Not(HasSubstr("unexpected error"))) << ::testing::PrintToString(args);
    EXPECT_THAT(outcome.err, Not(HasSubstr("\x1b"))) << ::testing::PrintToString(args);
    if (outcome.exit_code != 0) {
      EXPECT_FALSE(outcome.err.empty()) << ::testing::PrintToString(args);
    }
  }
}

}  // namespace
}  // namespace stem::cli_test
