// A kernel, a container or a file system that refuses io_uring or O_DIRECT: the journal is written all the same.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "journal/disk_store.hpp"
#include "journal/reader.hpp"
#include "tests/journal/disk_directory.hpp"
#include "tests/support/process.hpp"

namespace stem::journal {
namespace {

constexpr std::uint64_t kBatches = 30;
constexpr std::uint64_t kBytes = 16 * kBlockBytes;  // so that files are turned over too

// From now on this process gets these errors. Ends it when the kernel refuses even that.
void refuse(bool io_uring, bool direct) {
  const std::uint32_t uring = io_uring ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_ALLOW;
  const std::uint32_t open = direct ? SECCOMP_RET_ERRNO | EINVAL : SECCOMP_RET_ALLOW;
  std::array<sock_filter, 8> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, uring),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_DIRECT, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, open),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
    ::_exit(125);
}

// What a process to which that is refused has written, read back by one to which it is not.
void expect_written(bool io_uring, bool direct) {
  const test::DiskDirectory disk;
  test::Process writer([&] {
    refuse(io_uring, direct);
    // That it is refused indeed, is seen here.
    if (io_uring && (::syscall(SYS_io_uring_setup, 4, nullptr) != -1 || errno != EPERM)) return 2;
    if (direct && (::open(disk.path().c_str(), O_RDONLY | O_DIRECT) != -1 || errno != EINVAL)) return 3;
    const auto store = open_disk_store(disk.path());
    if (!store.ok()) return 4;
    Log log(**store, kBytes, {});
    for (std::uint64_t i = 1; i <= kBatches; ++i) {
      Batch batch;
      batch.begin(7);
      batch.put(i);
      batch.put_bytes(std::vector<std::byte>(i * 100));
      batch.end();
      if (!log.start(batch).ok() || !log.finish().ok()) return 5;
    }
    return log.recycle(1).ok() ? 0 : 6;
  });
  ASSERT_EQ(writer.wait(), 0);
  const auto store = open_disk_store(disk.path());
  ASSERT_TRUE(store.ok());
  std::vector<std::uint64_t> seen;
  const auto report = read_journal(**store, OnDamage::kStop, [&seen](const Record& record) {
    std::memcpy(&seen.emplace_back(), record.body.data(), sizeof(std::uint64_t));
    return true;
  });
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->damage.empty());
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back(), kBatches);
  EXPECT_EQ(seen.back() - seen.front() + 1, seen.size()) << "none is missing";
}

TEST(JournalRefusal, WithoutIoUring) { expect_written(/*io_uring=*/true, /*direct=*/false); }
TEST(JournalRefusal, WithoutDirectWrites) { expect_written(/*io_uring=*/false, /*direct=*/true); }
TEST(JournalRefusal, WithoutBoth) { expect_written(/*io_uring=*/true, /*direct=*/true); }

}  // namespace
}  // namespace stem::journal
