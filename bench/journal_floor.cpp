// The disk by itself: what a journal could do if it had nothing else to do.
#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <vector>

#include "bench/failure.hpp"
#include "bench/journal.hpp"

namespace stem::bench {

namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::uint64_t kFileBytes = 64u << 20;  // as a journal's file has
constexpr long kXfsMagic = 0x58465342;           // not in linux/magic.h

struct AlignedDelete {
  void operator()(std::byte* p) const { std::free(p); }
};
using Page = std::unique_ptr<std::byte, AlignedDelete>;

Page aligned_page(std::uint64_t bytes) {
  auto* data = static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, bytes));
  if (data == nullptr) throw Failure("no memory for what is to be written");
  std::fill(data, data + bytes, std::byte{0x5a});
  return Page(data);
}

// A file whose blocks have all been written once, or of no bytes one that grows with each write; it has no name any more.
class FloorFile {
 public:
  FloorFile(const std::string& directory, std::uint64_t bytes, int flags) : bytes_(bytes) {
    const std::string path = directory + "/floor";
    const int made = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (made < 0) fail_with_errno("create " + path);
    const std::vector<std::byte> zeros(1u << 20);
    bool ok = true;
    for (std::uint64_t at = 0; ok && at < bytes; at += zeros.size())
      ok = ::pwrite(made, zeros.data(), zeros.size(), static_cast<off_t>(at)) == static_cast<ssize_t>(zeros.size());
    ok = ok && ::fsync(made) == 0;
    const int error = errno;
    ::close(made);
    if (ok) fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags);
    if (ok && fd_ < 0 && errno == EINVAL) fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | (flags & ~O_DIRECT));
    const int open_error = ok ? errno : error;
    ::unlink(path.c_str());
    errno = open_error;
    if (fd_ < 0) fail_with_errno("write " + path);
  }
  ~FloorFile() { ::close(fd_); }
  FloorFile(const FloorFile&) = delete;
  FloorFile& operator=(const FloorFile&) = delete;

  int fd() const noexcept { return fd_; }
  // Where the next write goes: on and on, and from the front again.
  std::uint64_t next(std::uint64_t bytes) noexcept {
    if (bytes_ != 0 && at_ + bytes > bytes_) at_ = 0;
    const std::uint64_t here = at_;
    at_ += bytes;
    return here;
  }

 private:
  int fd_ = -1;
  std::uint64_t bytes_;
  std::uint64_t at_ = 0;
};

class BareUring {
 public:
  BareUring() {
    const int rc = io_uring_queue_init(4, &uring_, 0);
    if (rc < 0) {
      errno = -rc;
      fail_with_errno("set up io_uring");
    }
  }
  ~BareUring() { io_uring_queue_exit(&uring_); }
  BareUring(const BareUring&) = delete;
  BareUring& operator=(const BareUring&) = delete;

  void write(FloorFile& file, const std::byte* from, std::uint64_t bytes) {
    io_uring_sqe* entry = io_uring_get_sqe(&uring_);
    io_uring_prep_write(entry, file.fd(), from, static_cast<unsigned>(bytes), file.next(bytes));
    io_uring_cqe* done = nullptr;
    int rc = io_uring_submit_and_wait(&uring_, 1);
    while ((rc = io_uring_wait_cqe(&uring_, &done)) == -EINTR) {
    }
    if (rc < 0) throw Failure(fmt::format("io_uring: {}", strerror(-rc)));
    const int wrote = done->res;
    io_uring_cqe_seen(&uring_, done);
    if (wrote != static_cast<int>(bytes)) throw Failure(fmt::format("io_uring wrote {} of {} bytes", wrote, bytes));
  }

 private:
  io_uring uring_{};
};

}  // namespace

std::string disk_of(const std::string& directory) {
  struct statfs s {};
  if (::statfs(directory.c_str(), &s) != 0) fail_with_errno("look at " + directory);
  switch (static_cast<long>(s.f_type)) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC: throw Failure(directory + " is in memory; name a directory on a disk (--directory)");
    case EXT4_SUPER_MAGIC: return "ext4 (or ext3, ext2)";
    case kXfsMagic: return "xfs";
    case BTRFS_SUPER_MAGIC: return "btrfs";
    case OVERLAYFS_SUPER_MAGIC: return "overlayfs";
    default: return fmt::format("file system {:#x}", static_cast<unsigned long>(s.f_type));
  }
}

double bare_append_bytes_per_s(const std::string& directory, std::uint64_t write_bytes, std::uint64_t most_bytes,
                               Blocks blocks) {
  const std::uint64_t bytes =
      std::clamp((write_bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes, kBlockBytes, kFileBytes);
  const std::uint64_t writes = std::max<std::uint64_t>(most_bytes / bytes, 1);
  FloorFile file(directory, blocks == Blocks::kNew ? 0 : kFileBytes, O_DIRECT | O_DSYNC);
  const Page page = aligned_page(bytes);
  BareUring uring;
  const std::uint64_t start = ticks_now();
  for (std::uint64_t i = 0; i < writes; ++i) uring.write(file, page.get(), bytes);
  return static_cast<double>(writes * bytes) / (static_cast<double>(ticks_now() - start) * ns_per_tick() * 1e-9);
}

Percentiles bare_append_times(const std::string& directory, std::uint64_t writes) {
  FloorFile file(directory, kFileBytes, O_DIRECT | O_DSYNC);
  const Page page = aligned_page(kBlockBytes);
  BareUring uring;
  std::vector<std::uint64_t> ticks(writes);
  for (std::uint64_t& one : ticks) {
    const std::uint64_t start = ticks_now();
    uring.write(file, page.get(), kBlockBytes);
    one = ticks_now() - start;
  }
  return percentiles_of_ticks(ticks);
}

Percentiles fdatasync_times(const std::string& directory, std::uint64_t writes) {
  FloorFile file(directory, kFileBytes, 0);
  const Page page = aligned_page(kBlockBytes);
  std::vector<std::uint64_t> ticks(writes);
  for (std::uint64_t& one : ticks) {
    const auto at = static_cast<off_t>(file.next(kBlockBytes));
    const std::uint64_t start = ticks_now();
    if (::pwrite(file.fd(), page.get(), kBlockBytes, at) != static_cast<ssize_t>(kBlockBytes) ||
        ::fdatasync(file.fd()) != 0)
      fail_with_errno("write 4 KiB and fdatasync");
    one = ticks_now() - start;
  }
  return percentiles_of_ticks(ticks);
}

}  // namespace stem::bench
