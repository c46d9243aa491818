// What the dashboard sees with, in this process.
#include "tools/stem/dashboard/observer.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <future>

#include "tests/cli/scene.hpp"
#include "tests/support/attached.hpp"

namespace stem::dashboard_test {
namespace {

class ObserverTest : public ::testing::Test {
 protected:
  ObserverTest() {
    ::setenv("STEM_SHM_DIRECTORY", scene_.directory().c_str(), 1);
    context_.namespace_name = "stem";
  }
  ~ObserverTest() override { ::unsetenv("STEM_SHM_DIRECTORY"); }

  cli_test::Scene scene_;
  cli::Context context_;
};

// A probe that is late is a probe that failed: it asks neither the one who looks nor those who read.
TEST_F(ObserverTest, ReadinessWaitsForNoReader) {
  (void)scene_.segment();
  cli::Observer observer(context_);
  EXPECT_TRUE(observer.blind());
  (void)observer.tick();
  EXPECT_FALSE(observer.blind());
  std::promise<void> reading, go_on;
  std::thread reader([&] {
    (void)observer.with([&](const cli::Sight&) {
      reading.set_value();
      go_on.get_future().wait();
    });
  });
  reading.get_future().wait();
  auto answer = std::async(std::launch::async, [&] { return observer.blind(); });
  EXPECT_EQ(answer.wait_for(std::chrono::seconds(30)), std::future_status::ready);
  go_on.set_value();
  reader.join();
  EXPECT_FALSE(answer.get());
}

// With every row taken, the one who wants to see why is not shut out.
TEST_F(ObserverTest, AFullRosterKeepsNobodyFromLooking) {
  auto segment = scene_.segment();
  std::vector<std::unique_ptr<shm::Participant>> all;
  for (;;) {
    auto one = shm::Participant::join(segment, {.role = shm::Role::kSupervisor, .name = "x"});
    if (!one.ok()) break;
    all.push_back(*std::move(one));
  }
  cli::Observer observer(context_);
  (void)observer.tick();
  EXPECT_FALSE(observer.blind());
  std::size_t seen = 0;
  EXPECT_FALSE(observer.with([&](const cli::Sight& sight) { seen = sight.now.workers.size(); }));
  EXPECT_EQ(seen, all.size());
  EXPECT_EQ(scene_.run({"top", "--once"}).exit_code, 0);
  EXPECT_EQ(scene_.run_json({"observe", "queues"}).contains("queues"), true);
}

}  // namespace
}  // namespace stem::dashboard_test
