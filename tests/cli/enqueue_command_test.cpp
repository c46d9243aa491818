// `stem enqueue`, one and many, and `stem task` on what came of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "scene.hpp"

namespace stem::cli_test {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

json shown(const Scene& scene, const std::string& id) { return scene.run_json({"task", "show", id})[0]; }

json queue_figures(const Scene& scene, const std::string& queue) {
  const json report = scene.run_json({"observe", "queues"});  // outlives the loop below
  for (const json& row : report["queues"]) {
    if (row["queue"] == queue) return row;
  }
  return {};
}

TEST(EnqueueCommand, PrintsTheIdAndStoresWhatWasAsked) {
  Scene scene;
  scene.segment();
  const Outcome outcome =
      scene.run({"enqueue", "img.resize", "--args", R"({"file":"a.jpg","width":64})", "-q", "img", "--priority", "7",
                 "--max-retries", "2", "--header", "tenant=acme", "--header", "note=a=b", "--meta", R"({"k":[1]})"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, MatchesRegex("[0-9a-f]+-[0-9a-f]+\n"));
  EXPECT_THAT(outcome.err, IsEmpty());
  const json task = shown(scene, outcome.out.substr(0, outcome.out.size() - 1));
  EXPECT_EQ(task["task"], "img.resize");
  EXPECT_EQ(task["queue"], "img");
  EXPECT_EQ(task["state"], "queued");
  EXPECT_EQ(task["priority"], 7);
  EXPECT_EQ(task["maxRetries"], 2);
  EXPECT_EQ(task["payload"], json::parse(R"({"file":"a.jpg","width":64})"));
  EXPECT_EQ(task["headers"], json::parse(R"({"tenant":"acme","note":"a=b"})"));
  EXPECT_EQ(task["meta"], json::parse(R"({"k":[1]})"));
}

TEST(EnqueueCommand, JsonValuesAreMessagePackAndFilesAreBytes) {
  Scene scene;
  const auto segment = scene.segment();
  for (const char* text : {"null", "true", "0", "-7", "1.5", "\"text\"", "[1,\"a\",null]", "{}"}) {
    const std::string id = scene.enqueue({"t", "--args", text});
    EXPECT_EQ(shown(scene, id)["payload"], json::parse(text)) << text;
  }
  const TemporaryDirectory files;
  const std::string raw("\x00\x01\xff raw", 8);
  const std::string id = scene.enqueue({"t", "--payload-file", files.write("raw", raw)});
  const json task = shown(scene, id);
  EXPECT_EQ(task["payloadBytes"], 8);
  engine::TaskId parsed;
  ASSERT_TRUE(engine::parse_task_id(id, parsed));
  const auto& d = segment->descriptor(parsed.slot());
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(d.inline_payload), 8), raw);

  const std::string most(1 << 20, 'x');
  EXPECT_EQ(scene.run({"enqueue", "t", "--payload-file", files.write("most", most)}).exit_code, 0);
  const Outcome more = scene.run({"enqueue", "t", "--payload-file", files.write("more", most + "x")});
  EXPECT_EQ(more.exit_code, 70);
  EXPECT_THAT(more.err, HasSubstr("1.0 MiB"));
}

TEST(EnqueueCommand, WhatMakesNoSenseIsRefusedAndNothingEnqueued) {
  Scene scene;
  scene.segment();
  const TemporaryDirectory files;
  for (const auto& args : std::vector<std::vector<std::string>>{{},
                                                                {""},
                                                                {"a b"},
                                                                {"t", "extra"},
                                                                {"t", "--args", "{"},
                                                                {"t", "--args", std::string(100'000, '[')},
                                                                {"t", "--args", "1", "--payload-file", "/dev/null"},
                                                                {"t", "--payload-file", "/nonexistent"},
                                                                {"t", "--payload-file", "/"},
                                                                {"t", "--jsonl", "/nonexistent"},
                                                                {"t", "--jsonl", files.path()},
                                                                {"t", "--jsonl", "/dev/null", "--wait"},
                                                                {"t", "--priority", "10"},
                                                                {"t", "--priority", "-1"},
                                                                {"t", "--max-retries", "65536"},
                                                                {"t", "--max-retries", "99999999999999999999"},
                                                                {"t", "--delay", "1"},
                                                                {"t", "--delay", "5s", "--eta", "1h"},
                                                                {"t", "--eta", "yesterday"},
                                                                {"t", "--expires", "2001-01-01T00:00:00Z"},
                                                                {"t", "--header", "tenant"},
                                                                {"t", "--header", "=x"},
                                                                {"t", "--meta", "[1]"},
                                                                {"t", "--meta", R"({"stem.x":1})"},
                                                                {"t", "--result-ttl", "0", "--wait"},
                                                                {"t", "--keep-going"},
                                                                {"t", "-q", ""},
                                                                {"t", "-q", "a\nb"},
                                                                {std::string(200, 'n')}}) {
    std::vector<std::string> words{"enqueue"};
    words.insert(words.end(), args.begin(), args.end());
    const Outcome outcome = scene.run(words);
    EXPECT_EQ(outcome.exit_code, 2) << ::testing::PrintToString(args).substr(0, 200);
    EXPECT_THAT(outcome.out, IsEmpty());
    EXPECT_THAT(outcome.err, Not(HasSubstr("unexpected error")));
    EXPECT_FALSE(outcome.err.empty());
  }
  EXPECT_EQ(scene.run_json({"segment", "info"})["tasks"], 0);
}

TEST(EnqueueCommand, TimesAreKept) {
  Scene scene;
  scene.segment();
  EXPECT_EQ(shown(scene, scene.enqueue({"t", "--delay", "1h"}))["state"], "delayed");
  const json later = shown(scene, scene.enqueue({"t", "--eta", "2090-01-01T00:00:00Z"}));
  EXPECT_THAT(later["dueAt"].get<std::string>(),
              AnyOf(StartsWith("2090-01-01T00:00:00"), StartsWith("2089-12-31T23:59:59")));
  // Beyond what a segment can name, 71 years, it is the last moment of these: not soon, and not refused.
  EXPECT_EQ(shown(scene, scene.enqueue({"t", "--eta", "2150-01-01T00:00:00Z"}))["state"], "delayed");
  EXPECT_EQ(shown(scene, scene.enqueue({"t", "--eta", "2001-01-01T00:00:00Z"}))["state"], "queued");
}

TEST(EnqueueCommand, AUniqueTaskIsThereOnce) {
  Scene scene;
  scene.segment();
  const std::string first = scene.enqueue({"t", "--unique", "--args", "[1]"});
  const json second = scene.run_json({"enqueue", "t", "--unique", "--args", "[1]"});
  EXPECT_EQ(second["id"], first);
  EXPECT_EQ(second["duplicate"], true);
  EXPECT_NE(scene.enqueue({"t", "--unique", "--args", "[2]"}), first);
  EXPECT_EQ(scene.run_json({"segment", "info"})["tasks"], 2);
}

TEST(EnqueueCommand, WaitsForTheResult) {
  Scene scene;
  {
    const TestWorker worker(scene.segment(), "default", [](const auto& task, std::string& result) {
      result.assign(reinterpret_cast<const char*>(task.payload.data()), task.payload.size());
      return task.payload.empty() ? End::kBury : End::kSucceed;
    });
    const Outcome good = scene.run({"enqueue", "t", "--args", R"({"n":1})", "--wait"});
    EXPECT_EQ(good.exit_code, 0) << good.err;
    EXPECT_THAT(good.out, HasSubstr("\n{\"n\":1}\n"));
    const json document = scene.run_json({"enqueue", "t", "--args", R"({"n":1})", "--wait"});
    EXPECT_EQ(document["state"], "succeeded");
    EXPECT_EQ(document["result"]["n"], 1);

    const Outcome bad = scene.run({"enqueue", "t", "--wait"});
    EXPECT_EQ(bad.exit_code, 70);
    EXPECT_THAT(bad.err, HasSubstr("TestError: it was told to"));
  }
  const Outcome late = scene.run({"enqueue", "t", "--wait", "--timeout", "50ms"});
  EXPECT_EQ(late.exit_code, 3);
  EXPECT_THAT(late.out, MatchesRegex("[0-9a-f]+-[0-9a-f]+\n"));
  EXPECT_THAT(late.err, HasSubstr("not over yet"));
}

TEST(EnqueueCommand, AFullQueueSaysSo) {
  Scene scene;
  scene.segment();
  ASSERT_EQ(scene.run({"queue", "set", "small", "--create", "--max-length", "2"}).exit_code, 0);
  (void)scene.enqueue({"t", "-q", "small"});
  (void)scene.enqueue({"t", "-q", "small"});
  const Outcome third = scene.run({"enqueue", "t", "-q", "small"});
  EXPECT_EQ(third.exit_code, 70);
  EXPECT_THAT(third.err, HasSubstr("maximum length"));
  const TemporaryDirectory files;
  const json bulk =
      scene.run_json({"enqueue", "t", "-q", "small", "--timeout", "10ms", "--jsonl", files.write("l", "1\n2\n")}, 70);
  EXPECT_EQ(bulk["enqueued"], 0);
  EXPECT_EQ(bulk["errors"][0]["code"], "full");
}

// ---- bulk

TEST(EnqueueCommand, BulkTakesALineATask) {
  Scene scene;
  scene.segment();
  const TemporaryDirectory files;
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += "{\"n\":" + std::to_string(i) + "}\n";
  const json report = scene.run_json({"enqueue", "bulk", "-q", "b", "--jsonl", files.write("good", lines + "\n  \n")});
  EXPECT_EQ(report["enqueued"], 1000);
  EXPECT_EQ(report["bad"], 0);
  EXPECT_EQ(queue_figures(scene, "b")["ready"], 1000);

  const Outcome ids = scene.run({"enqueue", "bulk", "-q", "b", "--ids", "--jsonl", files.write("two", "[1]\n[2]")});
  const auto printed = lines_of(ids.out);
  ASSERT_EQ(printed.size(), 2u);
  EXPECT_EQ(shown(scene, printed[1])["payload"], json::parse("[2]"));
}

TEST(EnqueueCommand, BulkStopsAtABadLineWithTheLinesBeforeIt) {
  Scene scene;
  scene.segment();
  const TemporaryDirectory files;
  std::string lines;
  for (int i = 1; i <= 600; ++i) lines += i == 300 ? "{\"n\":\n" : "[1]\n";
  const std::string path = files.write("lines", lines);
  const Outcome stopped = scene.run({"enqueue", "bulk", "--jsonl", path});
  EXPECT_EQ(stopped.exit_code, 70);
  EXPECT_THAT(stopped.err, HasSubstr(path + ":300: "));
  EXPECT_THAT(stopped.out, HasSubstr("enqueued 299 tasks"));
  EXPECT_EQ(queue_figures(scene, "default")["ready"], 299);

  const json gone_on = scene.run_json({"enqueue", "bulk", "--jsonl", path, "--keep-going"});
  EXPECT_EQ(gone_on["enqueued"], 599);
  EXPECT_EQ(gone_on["bad"], 1);
  EXPECT_EQ(gone_on["errors"][0]["line"], 300);
  EXPECT_EQ(scene.run({"enqueue", "t", "--jsonl", files.write("none", "x\ny\n"), "--keep-going"}).exit_code, 70);
}

TEST(EnqueueCommand, BulkLinesMayBeOrdersOfTheirOwn) {
  Scene scene;
  scene.segment();
  const TemporaryDirectory files;
  const std::string orders =
      "{\"task\":\"one\",\"args\":{\"a\":1},\"queue\":\"q1\",\"priority\":3,\"delay\":\"1h\"}\n"
      "{\"task\":\"two\",\"headers\":{\"tenant\":\"x\"},\"maxRetries\":9,\"delay\":1}\n";
  const Outcome outcome = scene.shell("stem enqueue --ids --jsonl - < " + files.write("o", orders));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto ids = lines_of(outcome.out);
  ASSERT_EQ(ids.size(), 2u);
  const json one = shown(scene, ids[0]);
  EXPECT_EQ(one["queue"], "q1");
  EXPECT_EQ(one["priority"], 3);
  EXPECT_EQ(one["state"], "delayed");
  EXPECT_EQ(one["payload"]["a"], 1);
  const json two = shown(scene, ids[1]);
  EXPECT_EQ(two["task"], "two");
  EXPECT_EQ(two["headers"]["tenant"], "x");
  EXPECT_EQ(two["maxRetries"], 9);
  EXPECT_EQ(two["payloadBytes"], 0);

  // An order for the named task, and arguments that only look like one.
  const Outcome mixed =
      scene.run({"enqueue", "named", "--ids", "--jsonl",
                 files.write("m", "{\"args\":[1],\"priority\":5}\n{\"args\":[1],\"other\":5}\n{\"task\":\"x\"}\n")});
  const auto mixed_ids = lines_of(mixed.out);
  ASSERT_EQ(mixed_ids.size(), 3u) << mixed.err;
  EXPECT_EQ(shown(scene, mixed_ids[0])["priority"], 5);
  EXPECT_EQ(shown(scene, mixed_ids[0])["payload"], json::parse("[1]"));
  EXPECT_EQ(shown(scene, mixed_ids[1])["payload"]["other"], 5);
  EXPECT_EQ(shown(scene, mixed_ids[2])["task"], "named");
}

TEST(EnqueueCommand, BadOrdersAreNamed) {
  Scene scene;
  scene.segment();
  const TemporaryDirectory files;
  for (const auto& [line, news] :
       std::vector<std::pair<std::string, std::string>>{{"[1]", "an object with \"task\""},
                                                        {"{\"args\":1}", "names no task"},
                                                        {"{\"task\":5}", "\"task\": wants a text"},
                                                        {"{\"task\":\"t\",\"prioritty\":1}", "did you mean priority?"},
                                                        {"{\"task\":\"t\",\"priority\":11}", "from 0 to 9"},
                                                        {"{\"task\":\"t\",\"priority\":-1}", "from 0 to 9"},
                                                        {"{\"task\":\"t\",\"delay\":\"soon\"}", "\"delay\""},
                                                        {"{\"task\":\"t\",\"eta\":7}", "\"eta\""},
                                                        {"{\"task\":\"t\",\"expires\":\"2001-01-01\"}", "in the past"},
                                                        {"{\"task\":\"t\",\"headers\":{\"a\":1}}", "\"headers\""},
                                                        {"{\"task\":\"t\",\"meta\":1}", "\"meta\""},
                                                        {"{\"task\":\"t\",\"unique\":\"yes\"}", "true or false"},
                                                        {"{\"task\":\"\"}", "names no task"},
                                                        {std::string(5000, '['), "levels"},
                                                        {"{\"task\":\"t\xff\"}", "not JSON"}}) {
    const Outcome outcome = scene.run({"enqueue", "--jsonl", files.write("line", line + "\n")});
    EXPECT_EQ(outcome.exit_code, 70) << line.substr(0, 80);
    EXPECT_THAT(outcome.err, HasSubstr(news)) << line.substr(0, 80);
    EXPECT_THAT(outcome.err, HasSubstr(":1: "));
  }
  EXPECT_EQ(scene.run_json({"segment", "info"})["tasks"], 0);
}

TEST(EnqueueCommand, AProgressBarOnATerminalAlone) {
  Scene scene;
  scene.segment();
  const TemporaryDirectory files;
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += "[1]\n";
  const std::string path = files.write("lines", lines);
  EXPECT_THAT(scene.run({"enqueue", "t", "--jsonl", path}).err, IsEmpty());
  const Outcome shown = run_stem_on_terminal({"enqueue", "t", "--jsonl", path}, "", scene.options());
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_THAT(shown.out, HasSubstr(" %  "));
  EXPECT_THAT(shown.out, HasSubstr("enqueued 1000 tasks"));
}

// ---- task

TEST(TaskCommand, ShowsARunningTaskAndItsProgress) {
  Scene scene;
  const auto segment = scene.segment();
  const std::string id = scene.enqueue({"slow", "--args", "[1]"});
  std::atomic<bool> go{false};
  std::atomic<bool> started{false};
  {
    const TestWorker worker(segment, "default", [&](const auto&, std::string& result) {
      started.store(true);
      while (!go.load()) std::this_thread::yield();
      result = "done";
      return End::kSucceed;
    });
    while (!started.load()) std::this_thread::yield();
    const json running = shown(scene, id);
    EXPECT_EQ(running["state"], "running");
    EXPECT_FALSE(running["worker"].is_null());
    EXPECT_THAT(scene.run({"task", "show", id}).out, HasSubstr("worker"));

    const Outcome left_alone = scene.run({"task", "revoke", id});
    EXPECT_EQ(left_alone.exit_code, 70);
    EXPECT_THAT(left_alone.err, HasSubstr("--terminate"));
    EXPECT_EQ(scene.run_json({"task", "revoke", id, "--terminate"})[0]["outcome"], "asked");
    EXPECT_EQ(scene.run({"task", "wait", id, "--timeout", "20ms"}).exit_code, 3);
    go.store(true);
    worker.await(1);
  }
  const json over = shown(scene, id);
  EXPECT_EQ(over["state"], "succeeded");
  EXPECT_EQ(over["result"], "done");
  EXPECT_EQ(scene.run_json({"task", "wait", id})[0]["result"], "done");
  EXPECT_EQ(scene.run({"task", "revoke", id}).exit_code, 70);
  EXPECT_EQ(scene.run({"task", "retry", id}).exit_code, 70);
}

TEST(TaskCommand, UnknownIdsAreNotFoundAndBadOnesUsage) {
  Scene scene;
  scene.segment();
  const std::string id = scene.enqueue({"t"});
  std::string other_life = id;
  other_life[other_life.size() - 7] = '9';
  std::string other_segment = id;
  other_segment[0] = other_segment[0] == '1' ? '2' : '1';
  std::string far_slot = id;
  far_slot.replace(far_slot.size() - 6, 6, "ffffff");
  for (const char* command : {"show", "wait", "revoke", "retry"}) {
    for (const std::string& unknown : {other_life, other_segment, far_slot}) {
      EXPECT_EQ(scene.run({"task", command, unknown}).exit_code, 1) << command << " " << unknown;
    }
    for (const std::string& bad : {std::string(), std::string("x"), id + "0", id.substr(1), std::string(5000, 'f'),
                                   std::string("../../etc/passwd"), std::string("\x1b[2J")}) {
      const Outcome outcome = scene.run({"task", command, bad});
      EXPECT_EQ(outcome.exit_code, 2) << command << " " << bad.substr(0, 40);
      EXPECT_THAT(outcome.err, Not(HasSubstr("\x1b")));
    }
    // One bad id, and nothing is done.
    EXPECT_EQ(scene.run({"task", command, id, "x"}).exit_code, 2);
    EXPECT_EQ(scene.run({"task", command}).exit_code, 2);
  }
  EXPECT_EQ(shown(scene, id)["state"], "queued");
  // The known one is shown beside the unknown.
  const json both = scene.run_json({"task", "show", id, other_life}, 1);
  EXPECT_EQ(both[0]["state"], "queued");
  EXPECT_EQ(both[1]["state"], nullptr);
}

TEST(TaskCommand, RevokesWhatHasNotStarted) {
  Scene scene;
  scene.segment();
  const std::string id = scene.enqueue({"t"});
  const std::string delayed = scene.enqueue({"t", "--delay", "1h"});
  const json outcomes = scene.run_json({"task", "revoke", id, delayed});
  EXPECT_EQ(outcomes[0]["outcome"], "cancelled");
  EXPECT_EQ(outcomes[1]["outcome"], "cancelled");
  EXPECT_EQ(shown(scene, id)["state"], "cancelled");
  EXPECT_EQ(scene.run({"task", "wait", id}).exit_code, 70);
}

}  // namespace
}  // namespace stem::cli_test
