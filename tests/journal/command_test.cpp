// `stem journal ...` and what `sync` means to `stem enqueue`, with the real program.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "journal/serve.hpp"
#include "tests/cli/run_stem.hpp"
#include "tests/journal/disk_directory.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/wait.hpp"

namespace stem::cli_test {
namespace {

using nlohmann::json;

class JournalCommand : public ::testing::Test {
 protected:
  Outcome run(const std::vector<std::string>& args) const {
    return run_stem(args,
                    {.environment = {{"STEM_SHM_DIRECTORY", shm_.path()}, {"STEM_JOURNAL_DIRECTORY", disk_.path()}}});
  }
  json run_json(std::vector<std::string> args, int exit_code = 0) const {
    args.emplace_back("--json");
    const Outcome outcome = run(args);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.out << outcome.err;
    auto document = json::parse(outcome.out, nullptr, /*allow_exceptions=*/false);
    EXPECT_FALSE(document.is_discarded()) << outcome.out;
    return document.is_discarded() ? json::object() : document;
  }
  test::Process serve() const {
    return test::Process([this] {
      ::setenv("STEM_SHM_DIRECTORY", shm_.path().c_str(), 1);
      ::setenv("STEM_JOURNAL_DIRECTORY", disk_.path().c_str(), 1);
      const std::string program = stem_path();
      ::execl(program.c_str(), program.c_str(), "journal", "serve", nullptr);
      return 127;
    });
  }
  bool takes_records() const {
    const json info = run_json({"journal", "info"});
    return info["segment"].is_object() && info["segment"]["takesRecords"].get<bool>();
  }
  // The journal's only file.
  std::string file() const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(disk_.path()))
      if (entry.path().extension() == ".journal") return entry.path().string();
    return {};
  }

  test::ScratchDirectory shm_;
  test::DiskDirectory disk_;
};

TEST_F(JournalCommand, FromTheFirstTaskToARepair) {
  EXPECT_EQ(run({"journal", "verify"}).exit_code, 1);
  test::Process writer = serve();
  ASSERT_TRUE(test::wait_until(
      [this] {
        return run({"segment", "info"}).exit_code == 0 && takes_records();
      },
      std::chrono::seconds(30)));
  EXPECT_EQ(run_json({"queue", "set", "mail", "--create", "--durability", "sync"})["durability"], "sync");
  ASSERT_EQ(run({"enqueue", "send", "-q", "mail", "--args", R"({"to":"a"})"}).exit_code, 0);
  const json info = run_json({"journal", "info"});
  EXPECT_EQ(info["files"]["alive"], 1);
  EXPECT_EQ(info["segment"]["queues"][0]["durability"], "sync");
  EXPECT_NE(run({"journal", "compact", "--yes"}).exit_code, 0);  // its writer does that

  writer.signal(SIGTERM);
  EXPECT_EQ(writer.wait(), 0);
  const Outcome refused = run({"enqueue", "send", "-q", "mail", "--args", "{}"});
  EXPECT_EQ(refused.exit_code, 70);
  EXPECT_NE(refused.err.find("journal"), std::string::npos) << refused.err;
  EXPECT_EQ(run({"enqueue", "send", "-q", "other", "--args", "{}"}).exit_code, 0);

  EXPECT_EQ(run_json({"journal", "verify"})["alive"], 1);
  EXPECT_EQ(run_json({"journal", "compact", "--yes"})["alive"], 1);

  // One changed byte in its first batch, which another one follows.
  std::fstream bytes(file(), std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekp(4096 + 70);
  bytes.put('\x7f');
  bytes.close();
  const json broken = run_json({"journal", "verify"}, 70);
  ASSERT_EQ(broken["damage"].size(), 1u);
  EXPECT_EQ(broken["damage"][0]["offset"], 4096);
  EXPECT_EQ(run({"journal", "compact", "--yes"}).exit_code, 70);
  const Outcome told = run({"journal", "repair", "--dry-run"});
  EXPECT_EQ(told.exit_code, 0);
  EXPECT_NE(told.out.find("at byte 4096"), std::string::npos) << told.out;
  EXPECT_EQ(run({"journal", "verify"}).exit_code, 70);  // nothing was changed
  EXPECT_EQ(run({"journal", "repair", "--yes"}).exit_code, 0);
  EXPECT_EQ(run_json({"journal", "verify"})["alive"], 0);
}

TEST_F(JournalCommand, ARebootBringsTheTaskBackToAWorkersSupervisor) {
  test::Process writer = serve();
  ASSERT_TRUE(test::wait_until(
      [this] {
        return run({"segment", "info"}).exit_code == 0 && takes_records();
      },
      std::chrono::seconds(30)));
  ASSERT_EQ(run({"queue", "set", "mail", "--create", "--durability", "sync"}).exit_code, 0);
  ASSERT_EQ(run({"enqueue", "send", "-q", "mail", "--args", R"({"to":"a"})"}).exit_code, 0);
  writer.kill();
  for (const auto& entry : std::filesystem::directory_iterator(shm_.path())) std::filesystem::remove(entry.path());

  const std::string done = disk_.path() + "/done";
  test::Process worker([&] {
    ::setenv("STEM_SHM_DIRECTORY", shm_.path().c_str(), 1);
    ::setenv("STEM_JOURNAL_DIRECTORY", disk_.path().c_str(), 1);
    const std::string program = stem_path();
    const std::string handler = "send=cat > " + done;
    ::execl(program.c_str(), program.c_str(), "worker", "start", "-q", "mail", "-c", "1", "--pin", "none", "--exec",
            handler.c_str(), nullptr);
    return 127;
  });
  EXPECT_TRUE(test::wait_until([&] { return std::filesystem::exists(done) && std::filesystem::file_size(done) > 0; },
                               std::chrono::seconds(30)));
  EXPECT_TRUE(test::wait_until(
      [this] {
        return run_json({"journal", "info"})["files"]["alive"] == 0;
      },
      std::chrono::seconds(30)));
  worker.signal(SIGTERM);
  EXPECT_EQ(worker.wait(), 0);
}

}  // namespace
}  // namespace stem::cli_test
