#include "tests/support/stepper.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "shm/names.hpp"

namespace stem::test {

std::uint64_t picture(const shm::Segment& s) {
  const shm::Layout& l = s.layout();
  const shm::Header& h = s.header();
  std::uint64_t hash = 0;
  const auto look = [&](shm::Offset at, std::uint64_t bytes) {
    hash = XXH3_64bits_withSeed(s.base() + at, bytes, hash);
  };
  look(0, sizeof(shm::Header));
  const std::uint32_t queues = shm::queue_total(s);
  const std::uint32_t rows = h.roster_used.load();
  look(l.queues, queues * sizeof(shm::QueueRow));
  look(l.roster, rows * sizeof(shm::RosterRow));
  look(l.unique, s.geometry().unique_buckets * sizeof(shm::UniqueBucket));
  look(l.slab, s.geometry().slot_count * sizeof(shm::Descriptor));
  look(l.delayed, 256);
  look(l.free_ring, 256);
  for (std::uint32_t i = 0; i < rows; ++i) {
    look(l.returns + i * sizeof(shm::ReturnRing), 256 + 4 * s.geometry().slot_count);
    look(s.offset_of(&s.counters(i, 0)), queues * sizeof(shm::CounterRow));
  }
  look(l.rings, std::min<std::uint64_t>(h.ring_used_bytes.load(), 16384));
  if (const std::uint32_t schedules = s.schedule_total(); schedules != 0) {
    look(l.schedules, offsetof(shm::ScheduleTable, drift));
    look(l.schedules + sizeof(shm::ScheduleTable), schedules * sizeof(shm::ScheduleRow));
  }
  if (h.superblocks_used.load() != 0) {
    look(l.superblock_rows, l.superblock_count * sizeof(shm::SuperblockRow));
    for (std::uint64_t b = 0; b < h.superblocks_used.load(); ++b) look(l.blocks + b * shm::kSuperblockBytes, 8192);
  }
  return hash;
}

void Stepper::copy(const std::string& path) const {
  const int to = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (to < 0 || ::ftruncate(to, static_cast<off_t>(segment_->layout().total_bytes)) != 0) {
    std::perror(path.c_str());
    std::abort();
  }
  // Only what has memory behind it.
  for (off_t at = 0;;) {
    const off_t data = ::lseek(segment_->fd(), at, SEEK_DATA);
    if (data < 0) break;
    const off_t hole = ::lseek(segment_->fd(), data, SEEK_HOLE);
    const auto bytes = static_cast<std::size_t>(hole - data);
    if (::pwrite(to, segment_->base() + data, bytes, data) != static_cast<ssize_t>(bytes)) {
      std::perror("copy a segment");
      std::abort();
    }
    at = hole;
  }
  ::close(to);
}

SteppedChild::SteppedChild(const Prepare& prepare) {
  std::fflush(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(98);
    const std::function<void()> work = prepare();
    ::raise(SIGSTOP);
    work();
    ::raise(SIGSTOP);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(pid_, &status, 0);
  if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP) {
    std::fprintf(stderr, "the stepped child did not get ready (status %#x)\n", static_cast<unsigned>(status));
    std::abort();
  }
}

bool SteppedChild::stands_at_end(int request) {
  int status = 0;
  ::ptrace(static_cast<__ptrace_request>(request), pid_, nullptr, nullptr);
  ::waitpid(pid_, &status, 0);
  if (!WIFSTOPPED(status)) {
    std::fprintf(stderr, "the stepped child ended by itself (status %#x)\n", static_cast<unsigned>(status));
    std::abort();
  }
  return WSTOPSIG(status) == SIGSTOP;  // the second one
}

bool SteppedChild::step() {
  ++steps_;
  over_ = stands_at_end(PTRACE_SINGLESTEP);
  return !over_;
}

bool SteppedChild::step_to(const shm::Segment& segment, std::uint64_t changes) {
  std::uint64_t before = picture(segment);
  for (std::uint64_t seen = 0; seen < changes;) {
    if (!step()) return false;
    const std::uint64_t now = picture(segment);
    if (now != before) ++seen;
    before = now;
  }
  return true;
}

void SteppedChild::finish() {
  while (!over_) over_ = stands_at_end(PTRACE_CONT);
}

void SteppedChild::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  int status = 0;
  // A stop that was under way is reported first.
  while (::waitpid(pid_, &status, 0) == pid_ && WIFSTOPPED(status)) {
  }
  pid_ = -1;
}

std::uint64_t Stepper::walk(const Prepare& prepare, const Visit& visit) { return walk(prepare, 1, visit); }

std::uint64_t Stepper::walk(const Prepare& prepare, std::uint64_t every, const Visit& visit) {
  SteppedChild child(prepare);
  const std::string directory = segment_->path().substr(0, segment_->path().rfind('/') + 1);
  std::uint64_t changes = 0;
  std::uint64_t before = picture(*segment_);
  for (bool going = true; going;) {
    const bool finished = !child.step();
    const std::uint64_t now = picture(*segment_);
    if (now == before && !finished) continue;
    before = now;
    if (++changes % every != 0 && !finished) continue;
    const std::string name = segment_->name_space() + "-" + std::to_string(changes);
    copy(directory + name);
    going = visit(name, changes, finished) && !finished;
    ::unlink((directory + name).c_str());
  }
  return child.steps();
}

}  // namespace stem::test
