// A connected stream socket that gathers what is to be sent and hands over what arrives.
//
//   Stream stream(loop, {.connected = ..., .received = ..., .closed = ...});
//   stream.connect(address);
//   stream.output() += "PING\r\n";  stream.flush();
//
// Handlers are called from the loop. `closed` comes once, with the reason, and nothing after it; it does not
// come for close() or destruction by the owner. A handler may close or destroy the stream it was called by: what the
// kernel still holds lives on until the kernel lets go of it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "io/address.hpp"
#include "io/loop.hpp"

namespace stem::io {

struct StreamHandlers {
  std::function<void()> connected;
  std::function<void(std::string_view bytes)> received;  // valid during the call
  std::function<void(const std::string& reason)> closed;
};

class Stream {
 public:
  static constexpr std::size_t kReceiveBytes = 64 * 1024;

  Stream(Loop& loop, StreamHandlers handlers);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Once per stream.
  void connect(const Address& to);
  // Append here, then flush(). What is appended while a send is under way leaves with the next one.
  std::string& output();
  void flush();
  // Appended and not yet taken by the kernel, as far as we know.
  std::size_t unsent_bytes() const;
  // Appended and never offered to the kernel: of these the peer has seen nothing for certain.
  std::size_t unoffered_bytes() const;
  void close();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace stem::io
