// A TCP link that takes its time: what comes in at its port goes out to another one later, in both directions.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace stem::test {

class SlowLink {
 public:
  // To 127.0.0.1:`to`; every byte is that much later.
  SlowLink(std::uint16_t to, std::chrono::milliseconds delay);
  ~SlowLink();
  SlowLink(const SlowLink&) = delete;
  SlowLink& operator=(const SlowLink&) = delete;

  std::uint16_t port() const { return port_; }
  // From now on it carries; before that a connection is made and waits. After the test's last fork.
  void start();

 private:
  void carry();

  std::uint16_t to_, port_ = 0;
  std::chrono::milliseconds delay_;
  int listener_ = -1;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace stem::test
