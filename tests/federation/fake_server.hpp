// A server of the test's own that greets as Redis does and then says whatever the test wants it to say.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/scratch.hpp"

namespace stem::test {

class FakeServer {
 public:
  // Called on the server's thread, with the descriptor, once the client has been greeted and has sent something more.
  using Behaviour = std::function<void(int fd)>;

  explicit FakeServer(Behaviour behaviour);
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::string url() const { return "unix://" + directory_.file("fake.sock"); }
  int connections() const { return connections_; }

  // Writes all, or what fits until the client leaves; false when it left.
  static bool say(int fd, std::string_view bytes);
  static void wait_for_the_end(int fd);

 private:
  void serve();
  bool greet(int fd);

  ScratchDirectory directory_;
  Behaviour behaviour_;
  int listener_ = -1;
  std::atomic<int> connections_{0};
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace stem::test
