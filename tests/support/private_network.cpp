#include "tests/support/private_network.hpp"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/check.hpp"

namespace stem::test {
namespace {

void run(const std::string& command) { STEM_CHECK(std::system(command.c_str()) == 0); }

void write_to(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)!::write(fd, text.data(), text.size());
  ::close(fd);
}

}  // namespace

bool enter_private_network() {
  if (::unshare(CLONE_NEWNET) != 0) {
    const std::string user = std::to_string(::geteuid()), group = std::to_string(::getegid());
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
    write_to("/proc/self/setgroups", "deny");
    write_to("/proc/self/uid_map", "0 " + user + " 1");
    write_to("/proc/self/gid_map", "0 " + group + " 1");
  }
  run("PATH=$PATH:/usr/sbin:/sbin ip link set lo up");
  return true;
}

bool is_in_another_network(pid_t pid) {
  std::error_code failed;
  const auto mine = std::filesystem::read_symlink("/proc/self/ns/net", failed);
  const auto other = std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/ns/net", failed);
  return !failed && mine != other;
}

Cable::Cable(pid_t pid) {
  const std::string other = std::to_string(pid);
  run("PATH=$PATH:/usr/sbin:/sbin && ip link add cable type veth peer name cable netns " + other +
      " && ip addr add 10.77.0.1/24 dev cable && ip link set cable up && nsenter -t " + other +
      " -n sh -c 'ip addr add 10.77.0.2/24 dev cable && ip link set cable up'");
}

// The link stays up for whoever looks; a blackhole route eats what should go over it.
void Cable::cut() { run("PATH=$PATH:/usr/sbin:/sbin ip route add blackhole 10.77.0.2/32"); }
void Cable::mend() { run("PATH=$PATH:/usr/sbin:/sbin ip route del blackhole 10.77.0.2/32"); }

}  // namespace stem::test
