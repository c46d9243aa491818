// /dev/shm, huge pages, locked memory, and the memory limit of the control group.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/units.hpp"
#include "tools/stem/doctor/finding.hpp"
#include "tools/stem/doctor/host_files.hpp"

namespace stem::cli {
namespace {

constexpr std::uint64_t kMiB = 1ULL << 20;
constexpr std::uint64_t kLeastFree = 16 * kMiB;
constexpr std::uint64_t kComfortableFree = 256 * kMiB;
constexpr std::uint64_t kComfortableMemlock = 8 * kMiB;

struct SharedMemory {
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;
};

// Makes a file, maps it and writes: what a segment needs. The error's text, or nothing.
std::string try_to_use_shared_memory() {
  const int file = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) return fmt::format("cannot make a file: {}", std::strerror(errno));
  constexpr std::size_t kBytes = 65'536;
  std::string problem;
  if (const int error = posix_fallocate(file, 0, kBytes); error != 0) {
    problem = fmt::format("cannot take memory: {}", std::strerror(error));
  } else if (void* map = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0); map == MAP_FAILED) {
    problem = fmt::format("cannot map a file: {}", std::strerror(errno));
  } else {
    std::memset(map, 1, kBytes);
    munmap(map, kBytes);
  }
  close(file);
  return problem;
}

Finding check_shared_memory(SharedMemory& memory) {
  Finding finding{.name = "shared-memory",
                  .found = {},
                  .why = "every segment is a file in /dev/shm; a full one turns producers away",
                  .mend = "give it more room (containers: --shm-size=4g)",
                  .command = "sudo mount -o remount,size=4G /dev/shm"};
  struct statfs stats {};
  if (statfs("/dev/shm", &stats) != 0) {
    finding.verdict = Verdict::kFail;
    finding.found = fmt::format("/dev/shm: {}", std::strerror(errno));
    finding.mend = "mount a tmpfs there";
    finding.command = "sudo mkdir -p /dev/shm && sudo mount -t tmpfs -o mode=1777 tmpfs /dev/shm";
    return finding;
  }
  memory.total_bytes = stats.f_blocks * static_cast<std::uint64_t>(stats.f_frsize);
  memory.free_bytes = stats.f_bavail * static_cast<std::uint64_t>(stats.f_frsize);
  finding.found = fmt::format("/dev/shm has {}, {} free", base::human_size(memory.total_bytes),
                              base::human_size(memory.free_bytes));
  if (const std::string problem = try_to_use_shared_memory(); !problem.empty()) {
    finding.verdict = Verdict::kFail;
    finding.found += "; " + problem;
    finding.mend = "make it a tmpfs that every user may write to, with free room";
    finding.command.clear();
  } else if (memory.free_bytes < kLeastFree) {
    finding.verdict = Verdict::kFail;
  } else if (memory.free_bytes < kComfortableFree) {
    finding.verdict = Verdict::kWarn;
  } else if (stats.f_type != TMPFS_MAGIC) {
    finding.verdict = Verdict::kWarn;
    finding.found += ", but it is no tmpfs";
    finding.why = "pages of a disk's file system are written back, which stalls who touches them";
    finding.mend = "mount a tmpfs there";
    finding.command = "sudo mount -t tmpfs -o mode=1777 tmpfs /dev/shm";
  }
  return finding;
}

// KiB of this process's shared memory that are mapped by huge pages.
std::uint64_t huge_mapped_kib() {
  std::ifstream in("/proc/self/smaps");
  std::uint64_t sum = 0;
  for (std::string line; std::getline(in, line);) {
    constexpr std::string_view kKey = "ShmemPmdMapped:";
    if (line.starts_with(kKey)) sum += std::strtoull(line.c_str() + kKey.size(), nullptr, 10);
  }
  return sum;
}

// Makes a file in /dev/shm, asks for huge pages, touches it, and looks at what the kernel gave. What
// decides is the mount's huge= option (and not shmem_enabled alone), so trying is the only sure way.
bool huge_pages_are_given() {
  constexpr std::size_t kHuge = 2 * kMiB;
  const int file = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) return false;
  bool given = false;
  // Room for one page at a border of 2 MiB, wherever the reservation begins.
  void* reserved = mmap(nullptr, 2 * kHuge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (reserved != MAP_FAILED && ftruncate(file, kHuge) == 0) {
    const auto address = (reinterpret_cast<std::uintptr_t>(reserved) + kHuge - 1) / kHuge * kHuge;
    void* map = mmap(reinterpret_cast<void*>(address), kHuge, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
    if (map != MAP_FAILED) {
      madvise(map, kHuge, MADV_HUGEPAGE);
      *static_cast<volatile char*>(map) = 1;
      given = huge_mapped_kib() >= kHuge / 1024;
    }
  }
  if (reserved != MAP_FAILED) munmap(reserved, 2 * kHuge);
  close(file);
  return given;
}

Finding check_huge_pages() {
  Finding finding{.name = "huge-pages",
                  .found = "/dev/shm gives pages of 2 MiB to who asks",
                  .why =
                      "a segment in 4 KiB pages misses the TLB on nearly every task once it is deep, "
                      "and each first touch of a page costs a fault",
                  .mend = "mount /dev/shm with huge=advise, in /etc/fstab to keep it",
                  .command = "sudo mount -o remount,huge=advise /dev/shm"};
  if (huge_pages_are_given()) return finding;
  finding.verdict = Verdict::kWarn;
  finding.found = "/dev/shm gives pages of 4 KiB only";
  // "deny" overrules every mount.
  constexpr const char* kFile = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
  const auto line = read_first_line(kFile);
  if (!line) {
    finding.found += "; this kernel has no huge pages for shared memory";
    finding.mend = "a kernel with CONFIG_TRANSPARENT_HUGEPAGE";
    finding.command.clear();
  } else if (chosen_word(*line) == "deny") {
    finding.found += fmt::format("; {} says deny", kFile);
    finding.command = fmt::format("echo never | sudo tee {} && {}", kFile, finding.command);
  }
  return finding;
}

Finding check_memlock() {
  Finding finding{.name = "memlock",
                  .found = {},
                  .why =
                      "the journal's and the loop's buffers are registered with io_uring, which "
                      "counts them as locked memory",
                  .mend = "allow more (systemd: LimitMEMLOCK=infinity; Docker: --ulimit memlock=-1)",
                  .command = "ulimit -l unlimited"};
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) {
    finding.found = "locked memory is not limited";
    return finding;
  }
  finding.found = fmt::format("up to {} may be locked", base::human_size(limit.rlim_cur));
  if (limit.rlim_cur < kComfortableMemlock) finding.verdict = Verdict::kWarn;
  return finding;
}

std::optional<std::uint64_t> number_in(const std::string& path) {
  const auto line = read_first_line(path);
  if (!line) return std::nullopt;
  const auto parsed = base::parse_count(*line);
  return parsed.ok() ? std::optional(*parsed) : std::nullopt;  // "max" is no number: no limit
}

Finding check_memory_limit(const SharedMemory& memory) {
  Finding finding{.name = "memory-limit",
                  .found = "the control group sets no memory limit",
                  .why =
                      "pages of a segment count against the group of whoever touches them first; past "
                      "the limit the kernel kills a process of the group",
                  .mend = "raise the limit above the segment's size plus the workers' own memory"};
  const auto group = control_group("memory");
  if (!group) return finding;
  const char* file = group->version == 2 ? "memory.max" : "memory.limit_in_bytes";
  std::optional<std::uint64_t> limit;
  for (const std::string& directory : group->directories) {
    const auto here = number_in(directory + "/" + file);
    if (here && (!limit || *here < *limit)) limit = here;
  }
  // Version 1 writes "no limit" as a number near 2^63.
  if (!limit || *limit > (1ULL << 60)) return finding;
  finding.found = fmt::format("the control group is limited to {}", base::human_size(*limit));
  if (*limit < memory.total_bytes) {
    finding.verdict = Verdict::kWarn;
    finding.found += fmt::format(", less than /dev/shm's {}", base::human_size(memory.total_bytes));
  }
  return finding;
}

}  // namespace

void check_memory(std::vector<Finding>& findings) {
  SharedMemory memory;
  findings.push_back(check_shared_memory(memory));
  findings.push_back(check_huge_pages());
  findings.push_back(check_memlock());
  findings.push_back(check_memory_limit(memory));
}

}  // namespace stem::cli
