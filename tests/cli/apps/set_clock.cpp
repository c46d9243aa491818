// For LD_PRELOAD: the wall clock of a program is off by as many seconds as the file says that
// STEM_TEST_CLOCK names; the file is read at every look. Every other clock is the machine's.
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace {

std::int64_t offset_seconds() {
  const char* path = std::getenv("STEM_TEST_CLOCK");
  const int fd = path == nullptr ? -1 : ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  std::int64_t seconds = 0;
  const bool whole = ::read(fd, &seconds, sizeof seconds) == sizeof seconds;
  ::close(fd);
  return whole ? seconds : 0;
}

}  // namespace

extern "C" int clock_gettime(clockid_t id, timespec* into) noexcept {
  if (::syscall(SYS_clock_gettime, id, into) != 0) return -1;
  if (id == CLOCK_REALTIME) into->tv_sec += offset_seconds();
  return 0;
}

extern "C" int gettimeofday(timeval* into, void*) noexcept {
  timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  *into = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

extern "C" time_t time(time_t* into) noexcept {
  timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  if (into != nullptr) *into = now.tv_sec;
  return now.tv_sec;
}
