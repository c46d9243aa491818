#include "shm/death.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <vector>

namespace stem::shm {
namespace {

// Bytes far beyond any segment: locks need no data under them.
constexpr off_t kLockBase = off_t{1} << 60;
// High numbers, out of the way of programs that close low descriptors one by one.
constexpr int kHighDescriptor = 700;

// The open byte-lock descriptors of this process, for the child side of fork().
struct LockDescriptors {
  std::mutex mutex;
  std::vector<int> open;
};

LockDescriptors& lock_descriptors() {
  static LockDescriptors* all = [] {
    auto* made = new LockDescriptors;  // never destroyed: threads may detach during exit
    ::pthread_atfork([] { lock_descriptors().mutex.lock(); }, [] { lock_descriptors().mutex.unlock(); },
                     [] {
                       for (const int fd : lock_descriptors().open) ::close(fd);
                       lock_descriptors().open.clear();
                       lock_descriptors().mutex.unlock();
                     });
    return made;
  }();
  return *all;
}

static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0, "glibc keeps the futex word first");

}  // namespace

std::atomic<std::uint32_t>* alive_word(RosterRow& row) noexcept {
  return reinterpret_cast<std::atomic<std::uint32_t>*>(&row.alive);
}

bool signalled_dead(RosterRow& row) noexcept {
  return (alive_word(row)->load(std::memory_order_acquire) & FUTEX_OWNER_DIED) != 0;
}

int lock_row_byte(const Segment& segment, std::uint32_t participant) noexcept {
  // Opened through /proc so that the description is our own even after the name was removed.
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", segment.fd());
  LockDescriptors& all = lock_descriptors();
  const std::lock_guard guard(all.mutex);
  const int low = ::open(path, O_RDWR | O_CLOEXEC);
  if (low < 0) return -1;
  int fd = ::fcntl(low, F_DUPFD_CLOEXEC, kHighDescriptor);
  if (fd >= 0) {
    ::close(low);
  } else {
    fd = low;
  }
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = kLockBase + participant;
  lock.l_len = 1;
  if (::fcntl(fd, F_OFD_SETLK, &lock) != 0) {
    ::close(fd);
    return -1;
  }
  all.open.push_back(fd);
  return fd;
}

void release_row_byte(int fd) noexcept {
  LockDescriptors& all = lock_descriptors();
  const std::lock_guard guard(all.mutex);
  std::erase(all.open, fd);
  ::close(fd);
}

std::optional<DeathProof> DeathProof::obtain(const Segment& segment, std::uint32_t participant) noexcept {
  const int fd = lock_row_byte(segment, participant);
  if (fd < 0) return std::nullopt;
  return DeathProof(fd);
}

DeathProof::~DeathProof() {
  if (fd_ >= 0) release_row_byte(fd_);
}

}  // namespace stem::shm
