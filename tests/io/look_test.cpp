// A look at a loop that has nothing to do stays out of the kernel, and does not miss what comes. A seccomp filter ends
// the process that enters it.
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>

#include "io/loop.hpp"
#include "tests/io/peer.hpp"
#include "tests/support/process.hpp"

namespace stem::io {
namespace {

constexpr int kLooks = 10'000;

// For the calling process alone, and for good.
void end_on(long call) {
  std::array<sock_filter, 4> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
    _exit(125);
}

// Looks with a receive under way, and then, if it is to, looks on when something has come. 0 = nobody entered the kernel.
int looks(bool something_comes) {
  const auto loop = Loop::create(Backend::kUring);
  std::array<int, 2> ends{};
  if (!loop.ok() || ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) return 1;
  std::array<char, 8> buffer{};
  int got = -1;
  (*loop)->receive(ends[0], buffer, [&](std::int32_t n) { got = n; });
  for (int look = 0; look < 3; ++look)
    if (!(*loop)->run_once(0).ok()) return 2;  // the kernel learns of it
  end_on(SYS_io_uring_enter);
  for (int look = 0; look < kLooks; ++look)
    if (!(*loop)->run_once(0).ok() || got >= 0) _exit(3);  // whose way out would enter it
  if (something_comes) {
    test::write_all(ends[1], "abc");
    for (int look = 0; look < kLooks; ++look) (void)(*loop)->run_once(0);
  }
  _exit(0);
}

TEST(Look, StaysOutOfTheKernelWhileNothingComes) {
  test::Process child([] { return looks(false); });
  EXPECT_EQ(child.wait(), 0);
}

TEST(Look, EntersItForWhatHasCome) {
  test::Process child([] { return looks(true); });
  EXPECT_EQ(child.wait(), 128 + SIGSYS);
}

}  // namespace
}  // namespace stem::io
