// `stem segment`: makes, describes, proves and removes real segments.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "scene.hpp"
#include "tests/support/attached.hpp"

namespace stem::cli_test {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

json invariant(const json& document, const std::string& name) {
  for (const json& one : document["invariants"]) {
    if (one["name"] == name) return one;
  }
  return {{"state", "missing"}};
}

TEST(SegmentCommand, MadeDescribedProvedListedRemoved) {
  const Scene scene;
  const json made = scene.run_json(
      {"segment", "create", "--slots", "1000", "--queues", "50", "--participants", "20", "--block-bytes", "8MiB"});
  EXPECT_EQ(made["geometry"]["slots"], 1000);
  EXPECT_EQ(made["geometry"]["blockBytes"], 8 << 20);

  const Outcome again = scene.run({"segment", "create"});
  EXPECT_EQ(again.exit_code, 70);
  EXPECT_THAT(again.err, HasSubstr("exists already"));

  const json info = scene.run_json({"segment", "info"});
  EXPECT_EQ(info["geometry"]["participants"], 20);
  EXPECT_EQ(info["tasks"], 0);
  EXPECT_EQ(info["slotsByState"]["free"], 1000);
  std::uint64_t written = 0;
  std::uint64_t size = 0;
  for (const json& section : info["sections"]) {
    EXPECT_LE(section["writtenBytes"], section["sizeBytes"]) << section;
    written += section["writtenBytes"].get<std::uint64_t>();
    size += section["sizeBytes"].get<std::uint64_t>();
  }
  EXPECT_EQ(size, info["geometry"]["totalBytes"]);
  const auto section = [&info](std::string_view name) {
    for (const json& one : info["sections"])
      if (one["name"] == name) return one;
    return json();
  };
  EXPECT_EQ(section("events")["room"], 20) << "a ring for each participant";
  EXPECT_EQ(section("events")["used"], 0) << "and nobody has noted anything";
  for (const char* name : {"schedules", "journal marks", "former ids", "inboxes", "limiter calls", "gateway figures"})
    EXPECT_FALSE(section(name).is_null()) << name;
  EXPECT_LE(written, info["memoryBytes"]);
  EXPECT_THAT(scene.run({"segment", "info"}).out, HasSubstr("none: delayed tasks"));

  const json list = scene.run_json({"segment", "list"});
  ASSERT_EQ(list["segments"].size(), 1u);
  EXPECT_EQ(list["segments"][0]["namespace"], "stem");

  const json proof = scene.run_json({"segment", "verify"});
  EXPECT_EQ(proof["ok"], true);
  ASSERT_GE(proof["invariants"].size(), 10u);
  for (const json& one : proof["invariants"]) EXPECT_EQ(one["state"], "ok") << one;

  EXPECT_EQ(scene.run({"segment", "destroy"}).exit_code, 2);
  EXPECT_EQ(scene.run({"segment", "destroy", "--dry-run"}).exit_code, 0);
  EXPECT_EQ(scene.run({"segment", "info"}).exit_code, 0);
  EXPECT_EQ(scene.run({"segment", "destroy", "--yes"}).exit_code, 0);
  EXPECT_EQ(scene.run({"segment", "info"}).exit_code, 1);
  EXPECT_EQ(scene.run({"segment", "destroy", "--yes"}).exit_code, 1);
  EXPECT_THAT(scene.run({"segment", "list"}).out, HasSubstr("no segments"));
}

// What only looks must not be able to hurt: it works on a file that it may not write.
TEST(SegmentCommand, WhoLooksNeedsNoRightToWrite) {
  Scene scene;
  const auto segment = scene.segment();
  TestWorker worker(segment, "mail", [](const engine::TaskView&, std::string&) { return End::kBury; });
  const std::string id = scene.enqueue({"t", "-q", "mail"});
  (void)scene.enqueue({"t", "-q", "mail", "--delay", "1h"});
  worker.await(1);
  std::filesystem::permissions(segment->path(), std::filesystem::perms::owner_read);
  RunOptions options = scene.options();
  options.in_child = [] { ::prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0); };  // root's way around permissions
  EXPECT_NE(run_stem({"queue", "pause", "mail"}, options).exit_code, 0);
  for (const auto& command : std::vector<std::vector<std::string>>{{"segment", "list"},
                                                                   {"segment", "info"},
                                                                   {"segment", "verify"},
                                                                   {"segment", "destroy", "--force", "--dry-run"},
                                                                   {"top", "--once"},
                                                                   {"observe", "queues"},
                                                                   {"observe", "federation"},
                                                                   {"events"},
                                                                   {"why", id},
                                                                   {"task", "show", id},
                                                                   {"dlq", "list"},
                                                                   {"schedule", "list"},
                                                                   {"journal", "info"},
                                                                   {"capacity"}}) {
    const Outcome outcome = run_stem(command, options);
    EXPECT_EQ(outcome.exit_code, 0) << command.front() << ' ' << command.back() << ": " << outcome.err;
    EXPECT_THAT(outcome.out, Not(HasSubstr("wrong-owner"))) << command.front() << ' ' << command.back();
  }
}

TEST(SegmentCommand, AbsurdSizesAreRefusedWithTheRange) {
  const Scene scene;
  for (const auto& flag : std::vector<std::vector<std::string>>{{"--slots", "0"},
                                                                {"--slots", "63"},
                                                                {"--slots", "4294967296"},
                                                                {"--slots", "99999999999999999999"},
                                                                {"--slots", "-5"},
                                                                {"--slots", "1e6"},
                                                                {"--queues", "0"},
                                                                {"--queues", "18446744073709551615"},
                                                                {"--participants", "3"},
                                                                {"--participants", "1025"},
                                                                {"--task-names", "0"},
                                                                {"--block-bytes", "1"},
                                                                {"--block-bytes", "99999999TiB"},
                                                                {"--block-bytes", "1 parsec"}}) {
    const Outcome outcome = scene.run({"segment", "create", flag[0], flag[1]});
    EXPECT_EQ(outcome.exit_code, 2) << flag[1];
    EXPECT_FALSE(outcome.err.empty());
  }
  EXPECT_EQ(scene.run({"segment", "info"}).exit_code, 1);
}

TEST(SegmentCommand, AnUnknownNamespaceIsNotFoundAndTheNearestNamed) {
  const Scene scene;
  ASSERT_EQ(scene.run({"segment", "create", "--namespace", "orders", "--slots", "64"}).exit_code, 0);
  for (const auto& command : std::vector<std::vector<std::string>>{{"segment", "info"},
                                                                   {"segment", "verify"},
                                                                   {"segment", "destroy", "--yes"},
                                                                   {"top", "--once"},
                                                                   {"observe", "queues"},
                                                                   {"dlq", "list"},
                                                                   {"queue", "pause", "x"}}) {
    auto args = command;
    args.insert(args.end(), {"--namespace", "ordres"});
    const Outcome outcome = scene.run(args);
    EXPECT_EQ(outcome.exit_code, 1) << command[0];
    EXPECT_THAT(outcome.err, HasSubstr("did you mean orders?")) << command[0];
  }
}

// That of the one task there is.
std::uint32_t slot_in_use(const shm::Segment& segment) {
  std::uint32_t slot = 0;
  while (slot + 1 < segment.slots_used() && segment.descriptor(slot).control.load().state() != shm::State::kReady)
    ++slot;
  return slot;
}

TEST(SegmentCommand, VerifyNamesABrokenDescriptor) {
  Scene scene;
  const auto segment = scene.segment();
  (void)scene.enqueue({"a"});
  const std::uint32_t slot = slot_in_use(*segment);
  segment->descriptor(slot).queue = 60'000;
  const json proof = scene.run_json({"segment", "verify"}, 70);
  EXPECT_EQ(proof["ok"], false);
  EXPECT_EQ(invariant(proof, "descriptor")["state"], "broken");
  EXPECT_THAT(invariant(proof, "descriptor")["findings"][0]["detail"].get<std::string>(),
              HasSubstr("slot " + std::to_string(slot)));
  EXPECT_EQ(invariant(proof, "state")["state"], "ok");
  const Outcome shown = scene.run({"segment", "verify"});
  EXPECT_EQ(shown.exit_code, 70);
  EXPECT_THAT(shown.out, HasSubstr("contradicts itself"));
}

TEST(SegmentCommand, VerifyNamesALostTask) {
  Scene scene;
  const auto segment = scene.segment();
  (void)scene.enqueue({"a"});
  auto& control = segment->descriptor(slot_in_use(*segment)).control;
  shm::ControlWord word = control.load();
  // Freed without being counted: enqueued = live + ended no longer holds.
  std::memset(static_cast<void*>(&control), 0, sizeof control);
  const json proof = scene.run_json({"segment", "verify"}, 70);
  EXPECT_EQ(invariant(proof, "counts")["state"], "broken");
  std::memcpy(static_cast<void*>(&control), &word, sizeof word);
  EXPECT_EQ(scene.run({"segment", "verify"}).exit_code, 0);
}

TEST(SegmentCommand, AFileThatIsNoSegmentHasABrokenHeader) {
  Scene scene;
  scene.segment();
  const std::string path = scene.directory() + "/stem";
  std::filesystem::resize_file(path, 10'000);
  const json cut = scene.run_json({"segment", "verify"}, 70);
  EXPECT_EQ(invariant(cut, "header")["state"], "broken");
  std::filesystem::resize_file(path, 10);
  EXPECT_EQ(scene.run({"segment", "verify"}).exit_code, 70);
  std::ofstream(path, std::ios::trunc) << std::string(8192, 'x');
  EXPECT_EQ(invariant(scene.run_json({"segment", "verify"}, 70), "header")["state"], "broken");
  EXPECT_EQ(scene.run({"segment", "info"}).exit_code, 70);
  const json list = scene.run_json({"segment", "list"});
  EXPECT_EQ(list["segments"][0]["error"], "corrupt");
  // Nobody can tell whether it is in use.
  EXPECT_EQ(scene.run({"segment", "destroy", "--yes"}).exit_code, 70);
  EXPECT_EQ(scene.run({"segment", "destroy", "--yes", "--force"}).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(path));
}

// A process that ends while it holds a lease and a slot leaves work for recovery, and nothing broken.
TEST(SegmentCommand, RecoverySweepsTheDead) {
  Scene scene;
  const auto segment = scene.segment();
  (void)scene.enqueue({"a", "-q", "work"});
  const pid_t child = fork();
  if (child == 0) {
    auto mine = shm::Segment::attach("stem", scene.directory());
    if (!mine.ok()) _exit(1);
    test::Attached self(*mine, shm::Role::kWorker);
    engine::Lease lease;
    const std::uint32_t queue = test::must_queue(**mine, "work");
    _exit(self->claim(queue, &lease, 1, base::monotonic_ns()) == 1 ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 0);

  const json before = scene.run_json({"segment", "verify"});
  EXPECT_EQ(before["ok"], true);
  EXPECT_EQ(invariant(before, "owner-alive")["state"], "pending");
  EXPECT_THAT(scene.run({"segment", "info"}).out, HasSubstr("1 gone"));

  const json after = scene.run_json({"segment", "verify", "--recover"});
  EXPECT_EQ(after["recovery"]["sweptParticipants"], 1);
  EXPECT_EQ(after["recovery"]["patrolled"], true);
  for (const json& one : after["invariants"]) EXPECT_EQ(one["state"], "ok") << one;
  EXPECT_EQ(after["slotsByState"]["ready"], 1);
}

TEST(SegmentCommand, DestroyRefusesWhileSomebodyIsAttached) {
  Scene scene;
  const auto segment = scene.segment();
  {
    const test::Attached worker(segment, shm::Role::kWorker);
    const Outcome refused = scene.run({"segment", "destroy", "--yes"});
    EXPECT_EQ(refused.exit_code, 70);
    EXPECT_THAT(refused.err, HasSubstr("1 participant is still attached"));
    EXPECT_EQ(scene.run({"segment", "info"}).exit_code, 0);
    const Outcome forced = scene.run({"segment", "destroy", "--yes", "--force"});
    EXPECT_EQ(forced.exit_code, 0) << forced.err;
    EXPECT_THAT(forced.out, HasSubstr("1 participant cut off"));
  }
  EXPECT_EQ(scene.run({"segment", "info"}).exit_code, 1);
}

TEST(SegmentCommand, HealthSaysWhatIsMissing) {
  Scene scene;
  const Outcome nothing = scene.run({"health"});
  EXPECT_EQ(nothing.exit_code, 70);
  scene.segment();
  const json alone = scene.run_json({"health"});
  EXPECT_EQ(alone["ok"], true);
  ASSERT_EQ(alone["components"].size(), 2u);
  EXPECT_GT(alone["components"][0]["roundTripNs"], 0);
  EXPECT_EQ(alone["components"][0]["warnings"].size(), 2u);
  const Outcome elsewhere = scene.run({"health", "--broker", "redis://user:secret@host:6379/0"});
  EXPECT_EQ(elsewhere.exit_code, 70);
  EXPECT_THAT(elsewhere.out, HasSubstr("failed"));
  EXPECT_THAT(elsewhere.out, Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace stem::cli_test
