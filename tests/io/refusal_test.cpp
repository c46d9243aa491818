// A kernel that refuses: the loop falls back, works, and says so once. A seccomp filter stands for the container.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>

#include "base/log.hpp"
#include "io/loop.hpp"
#include "tests/io/peer.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"

namespace stem::io {
namespace {

// For the calling process alone, and for good.
void refuse(long call, int error) {
  std::array<sock_filter, 4> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    _exit(125);
  }
}

// 0 when a fresh loop is an epoll loop that receives.
int receives_over_epoll() {
  const auto loop = Loop::create();
  if (!loop.ok() || (*loop)->backend() != Backend::kEpoll) return 1;
  if (Loop::create(Backend::kUring).ok()) return 2;
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()) != 0) return 3;
  std::array<char, 8> buffer{};
  int got = -1;
  (*loop)->receive(ends[0], buffer, [&](std::int32_t n) { got = n; });
  test::write_all(ends[1], "abc");
  for (int turn = 0; got < 0 && turn < 1000; ++turn) {
    if (!(*loop)->run_once(10'000'000).ok()) return 4;
  }
  return got == 3 ? 0 : 5;
}

class Refusal : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Errors, Refusal, testing::Values(EPERM, ENOSYS, ENOMEM), [](const auto& one) {
  return one.param == EPERM ? "EPERM" : one.param == ENOSYS ? "ENOSYS" : "ENOMEM";
});

TEST_P(Refusal, OfIoUringIsSaidOnceAndEpollServes) {
  const test::ScratchDirectory directory;
  const std::string said = directory.file("said");
  test::Process child([&] {
    const int log_file = ::open(said.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
    ::dup2(log_file, STDERR_FILENO);
    log::configure({log::Level::kInfo, log::Format::kPretty});
    refuse(SYS_io_uring_setup, GetParam());
    const int first = receives_over_epoll();
    return first != 0 ? first : receives_over_epoll();
  });
  EXPECT_EQ(child.wait(), 0);
  std::ifstream file(said);
  const std::string lines{std::istreambuf_iterator<char>(file), {}};
  const std::size_t at = lines.find("io_uring is not to be had");
  EXPECT_NE(at, std::string::npos) << lines;
  EXPECT_EQ(lines.find("io_uring is not to be had", at + 1), std::string::npos) << lines;
}

TEST(ExactWaits, AreDispensable) {
  test::Process child([] {
    refuse(SYS_epoll_pwait2, ENOSYS);
    refuse(SYS_io_uring_setup, EPERM);
    return receives_over_epoll();
  });
  EXPECT_EQ(child.wait(), 0);
}

}  // namespace
}  // namespace stem::io
