// Handlers from a shared object, and what the worker says before it works.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>
#include <fstream>

#include "tests/worker/fleet.hpp"

namespace stem::test {
namespace {

TEST(App, HandlersOfASharedObjectRun) {
  Fleet fleet;
  const auto loaded = worker::load_app(std::string(STEM_BUILD_BIN_DIR) + "/worker_greeter.so", fleet.handlers);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(fleet.handlers.find("greet")->kind, "app");
  fleet.start();
  const auto id = fleet.put("greet", "world");
  ASSERT_TRUE(wait_until([&] { return fleet.task(id) && fleet.task(id)->state_name == "succeeded"; }, kPatience));
  const auto result = fleet.task(id)->result;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(result.data()), result.size()), "hello world");
}

TEST(App, WhatIsNoAppIsRefusedByName) {
  worker::HandlerTable table;
  const auto missing = worker::load_app("/nonexistent/app.so", table);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("/nonexistent/app.so"), std::string::npos);
  const auto wrong = worker::load_app("/lib/x86_64-linux-gnu/libm.so.6", table);
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("stem_register"), std::string::npos);
}

TEST(Banner, SaysWhatTheWorkerWillDo) {
  Fleet fleet;
  fleet.options.print_banner = true;
  fleet.options.queues = {"default", "mail"};
  fleet.handlers.on("send", [](worker::TaskContext&) { return worker::Outcome::success(); });
  fleet.handlers.note("send", "its leases end");
  const std::string file = fleet.directory() + "/banner";
  Process supervisor([&] {
    if (std::freopen(file.c_str(), "w", stdout) == nullptr) return 2;
    return worker::run(fleet.options, fleet.handlers) ? 0 : 1;
  });
  std::string text;
  ASSERT_TRUE(wait_until(
      [&] {
        std::ifstream in(file);
        text.assign(std::istreambuf_iterator<char>(in), {});
        return text.ends_with("ready\n");
      },
      kPatience));
  for (const char* word :
       {"node-1", "default, mail", "send (function); its leases end", "core ", "spins for 50us", "this supervisor"})
    EXPECT_NE(text.find(word), std::string::npos) << word << "\n" << text;
  EXPECT_NE(text.find(fleet.segment().path()), std::string::npos);
  supervisor.signal(SIGTERM);
  EXPECT_EQ(supervisor.wait(), 0);
}

TEST(Worker, WithoutAHandlerIsRefused) {
  Fleet fleet;
  const auto refused = worker::run(fleet.options, fleet.handlers);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalidArgument);
}

}  // namespace
}  // namespace stem::test
