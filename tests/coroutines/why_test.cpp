// `stem why` of a task whose handler is a coroutine: its process says what that waits for.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <string>

#include "stem/co.hpp"
#include "tests/worker/fleet.hpp"

namespace stem::test {
namespace {

using worker::CoHandler;
using worker::Outcome;
using worker::TaskContext;

TEST(Why, ATaskTakesSoLongIsWhatItsCoroutineHandlerWaitsFor) {
  Fleet fleet;
  fleet.handlers.on("sleeps", CoHandler([](TaskContext&) -> Co<Outcome> {
                      (void)co_await sleep(std::chrono::hours(1));
                      co_return Outcome::success();
                    }));
  const std::string fifo = fleet.directory() + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  fleet.handlers.on("reads", CoHandler([fifo](TaskContext&) -> Co<Outcome> {
                      const int fd = ::open(fifo.c_str(), O_RDWR | O_CLOEXEC);
                      co_await with_nursery([fd](Nursery& nursery) -> Co<void> {
                        const auto wait = [](int of) -> Co<void> { (void)co_await readable(of); };
                        nursery.start(wait(fd));
                        co_return;
                      });
                      co_return Outcome::success();
                    }));
  fleet.start();
  const auto because = [&](engine::TaskId id) {
    const std::string command = "STEM_SHM_DIRECTORY=" + fleet.directory() +
                                " " STEM_BUILD_BIN_DIR "/stem --namespace test why " + engine::to_string(id) + " 2>&1";
    std::string text;
    if (std::FILE* out = ::popen(command.c_str(), "r")) {
      for (int c; (c = std::fgetc(out)) != EOF;) text += static_cast<char>(c);
      (void)::pclose(out);
    }
    return text;
  };
  const auto says = [&](engine::TaskId id, const std::string& what) {
    std::string said;
    EXPECT_TRUE(wait_until([&] { return (said = because(id)).find(what) != std::string::npos; }, kPatience)) << said;
  };
  const auto sleeping = fleet.put("sleeps");
  says(sleeping, "its coroutine handler in node-1 sleeps for another ");
  const auto reading = fleet.put("reads");
  says(reading, "waits for something to read from descriptor ");
  says(reading, fifo);
}

}  // namespace
}  // namespace stem::test
