// Networks of a test's own, so that a host can be cut off without touching the machine's.
#pragma once

#include <sys/types.h>

#include <string>

namespace stem::test {

// Moves this process (not its threads: there must be none) into a network of its own, with a loopback. As root or by
// a user namespace; false when this machine allows neither.
[[nodiscard]] bool enter_private_network();

[[nodiscard]] bool is_in_another_network(pid_t pid);

// A cable between this process's network and that of `pid`, which has called enter_private_network() too. This end has
// the address 10.77.0.1, the other 10.77.0.2. Goes when either network goes.
class Cable {
 public:
  explicit Cable(pid_t pid);
  void cut();  // every packet is lost, nobody is told
  void mend();
};

}  // namespace stem::test
