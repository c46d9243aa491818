// Where a stream socket connects to.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "io/loop.hpp"

namespace stem::io {

struct Address {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
  std::string text;  // "127.0.0.1:6379", "[::1]:6379", "unix:/run/redis.sock"

  int domain() const { return storage.ss_family; }
};

// kInvalidArgument when the path is empty or longer than the kernel takes (107 bytes).
Result<Address> unix_address(const std::string& path);

// Numbers are taken at their word; a name is looked up by a thread of its own, because the C library can
// only do that by blocking. `found` is called from the loop, with at least one address or the reason. A lookup
// cannot be called off: the callback must know when it is no longer wanted.
using Found = std::function<void(Result<std::vector<Address>>)>;
void resolve(Loop& loop, const std::string& host, std::uint16_t port, Found found);

}  // namespace stem::io
