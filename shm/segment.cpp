#include "shm/segment.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/check.hpp"
#include "base/histogram.hpp"
#include "base/moment.hpp"
#include "base/random.hpp"

namespace stem::shm {
namespace {

// Names become file names: letters, digits, dot, dash, underscore; not starting with a dot.
bool good_name(const std::string& name) {
  if (name.empty() || name.size() > 64 || name[0] == '.') return false;
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_'; });
}

Error bad_name(const std::string& name) {
  return {Errc::kInvalidArgument, "namespace '" + name +
                                      "' is not usable: 1 to 64 letters, digits, '.', '-' or '_', not "
                                      "starting with '.'"};
}

std::string file_of(const std::string& directory, const std::string& name_space) {
  return (directory.empty() ? default_directory() : directory) + "/" + name_space;
}

Result<Geometry> checked_geometry(const SegmentOptions& o) {
  const auto bad = [](const char* what, std::uint64_t value, std::uint64_t low, std::uint64_t high) {
    return Error{Errc::kInvalidArgument, std::string(what) + " is " + std::to_string(value) + "; it must be between " +
                                             std::to_string(low) + " and " + std::to_string(high)};
  };
  if (o.slot_count < 64 || o.slot_count > kMaxSlots) return bad("slot_count", o.slot_count, 64, kMaxSlots);
  if (o.participant_count < 4 || o.participant_count > kMaxParticipants)
    return bad("participant_count", o.participant_count, 4, kMaxParticipants);
  if (o.queue_count < 1 || o.queue_count > kMaxQueues) return bad("queue_count", o.queue_count, 1, kMaxQueues);
  if (o.task_count < 1 || o.task_count > kMaxTaskNames) return bad("task_count", o.task_count, 1, kMaxTaskNames);
  if (o.block_bytes < kSuperblockBytes || o.block_bytes > (std::uint64_t{1} << 38))
    return bad("block_bytes", o.block_bytes, kSuperblockBytes, std::uint64_t{1} << 38);
  Geometry g;
  g.slot_count = o.slot_count;
  g.participant_count = o.participant_count;
  g.queue_count = o.queue_count;
  g.task_count = o.task_count;
  // Seven entries each: also in a segment full of unique tasks hardly any bucket is too full for the next key.
  g.unique_buckets = std::bit_ceil(std::max(o.slot_count, 16u));
  g.limiter_count = 16384;
  // Rings grow by powers: a lane that once held every slot has used 4/3 of that; a few lanes may, and
  // every queue may have a first ring per priority.
  g.ring_bytes = std::uint64_t{std::bit_ceil(o.slot_count)} * 8 * 16 +
                 std::uint64_t{o.queue_count} * kPriorities * ring_bytes(kFirstRingLog2);
  g.block_bytes = o.block_bytes / kSuperblockBytes * kSuperblockBytes;
  return g;
}

Result<void> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return system_error("mkdir " + path);
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return system_error("stat " + path);
  if (!S_ISDIR(st.st_mode)) return Error{Errc::kRefused, path + " is not a directory"};
  if (st.st_uid != ::geteuid())
    return Error{Errc::kWrongOwner, path + " belongs to user " + std::to_string(st.st_uid) +
                                        ", not to you; set STEM_SHM_DIRECTORY to a directory of your own"};
  return {};
}

}  // namespace

std::string default_directory() {
  if (const char* set = std::getenv("STEM_SHM_DIRECTORY"); set != nullptr && *set != '\0') return set;
  return "/dev/shm/stem-" + std::to_string(::geteuid());
}

std::uint64_t boot_id_hash() {
  static const std::uint64_t hash = [] {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string text;
    file >> text;
    std::uint64_t h = 1;
    for (const char c : text) h = base::mix64(h ^ static_cast<unsigned char>(c));
    return h;
  }();
  return hash;
}

std::uint64_t namespace_inode(const char* kind) {
  struct stat st {};
  const std::string path = std::string("/proc/self/ns/") + kind;
  return ::stat(path.c_str(), &st) == 0 ? st.st_ino : 0;
}

Segment::~Segment() {
  if (pid_ != ::getpid()) return;  // a forked child has neither the mapping nor the right to the descriptor
  if (base_ != nullptr) ::munmap(base_, layout_.total_bytes);
  if (fd_ >= 0) ::close(fd_);
}

std::atomic<std::uint64_t>* Segment::wait_histogram(std::uint32_t participant, std::uint32_t queue) const noexcept {
  const std::uint64_t index = std::uint64_t{participant} * geometry_.queue_count + queue;
  return at<std::atomic<std::uint64_t>>(layout_.wait_histograms + index * kHistogramRowBytes);
}

std::atomic<std::uint64_t>* Segment::task_histogram(std::uint32_t participant, std::uint32_t task) const noexcept {
  const std::uint64_t index = std::uint64_t{participant} * geometry_.task_count + task;
  return at<std::atomic<std::uint64_t>>(layout_.task_histograms + index * kHistogramRowBytes);
}

bool Segment::commit(Offset offset, std::uint64_t bytes) const noexcept {
  const Offset first = offset / kPageBytes * kPageBytes;
  const Offset last = (offset + bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  int rc = 0;
  do {
    rc = ::fallocate(fd_, 0, static_cast<off_t>(first), static_cast<off_t>(last - first));
  } while (rc != 0 && errno == EINTR);
  if (rc != 0) return false;
  // Mapped here in one call rather than fault by fault. Only for speed: where the kernel does not know it (before
  // 5.14), the faults come.
  (void)::madvise(base_ + first, last - first, MADV_POPULATE_WRITE);
  return true;
}

// Not a hole of the file; as far as it was written, which is all that can be read of it.
static bool has_memory(int fd, Offset offset) noexcept {
  const Offset page = offset / kPageBytes * kPageBytes;
  const off_t data = ::lseek(fd, static_cast<off_t>(page), SEEK_DATA);
  return data >= 0 && static_cast<Offset>(data) < page + kPageBytes;
}

bool Segment::commit_row(Offset offset, std::uint64_t bytes) noexcept {
  const std::uint64_t page = (offset - layout_.unique) / kPageBytes;  // rows do not straddle pages
  std::atomic<std::uint64_t>& word = committed_rows_[page / 64];
  const std::uint64_t bit = std::uint64_t{1} << (page % 64);
  if ((word.load(std::memory_order_relaxed) & bit) != 0) return true;
  // Who only looks puts no memory behind it, and sees the row when others have.
  if ((::fcntl(fd_, F_GETFL) & O_ACCMODE) == O_RDONLY ? !has_memory(fd_, offset) : !commit(offset, bytes)) return false;
  word.fetch_or(bit, std::memory_order_relaxed);
  return true;
}

std::uint32_t Segment::schedule_total() const noexcept {
  return std::min(header().schedules_used.load(std::memory_order_acquire), kScheduleRows);
}

bool Segment::read(Offset offset, void* into, std::size_t bytes) const noexcept {
  auto* out = static_cast<std::byte*>(into);
  while (bytes > 0) {
    const ssize_t n = ::pread(fd_, out, bytes, static_cast<off_t>(offset));
    if (n <= 0) {
      if (n < 0 && errno == EINTR) continue;
      return false;
    }
    out += n;
    offset += static_cast<Offset>(n);
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

std::uint64_t Segment::used_bytes() const noexcept {
  struct stat st {};
  return ::fstat(fd_, &st) == 0 ? static_cast<std::uint64_t>(st.st_blocks) * 512 : 0;
}

Result<std::shared_ptr<Segment>> Segment::map(int fd, std::string path, std::string name_space,
                                              const Geometry& geometry, Access access) {
  std::shared_ptr<Segment> segment(new Segment);
  segment->pid_ = ::getpid();
  segment->fd_ = fd;
  segment->layout_ = make_layout(geometry);
  segment->geometry_ = geometry;
  segment->path_ = std::move(path);
  segment->name_space_ = std::move(name_space);
  void* base = ::mmap(nullptr, segment->layout_.total_bytes,
                      access == Access::kFull ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return system_error("mmap " + segment->path_);
  const std::uint64_t row_pages = (segment->layout_.superblock_rows - segment->layout_.unique) / kPageBytes;
  segment->committed_rows_ = std::make_unique<std::atomic<std::uint64_t>[]>(row_pages / 64 + 1);
  segment->base_ = static_cast<std::byte*>(base);
  segment->slab_ = segment->at<Descriptor>(segment->layout_.slab);
  // A forked child must attach by itself; a core dump need not carry everybody's tasks.
  ::madvise(base, segment->layout_.total_bytes, MADV_DONTFORK);
  ::madvise(base, segment->layout_.total_bytes, MADV_DONTDUMP);
  return segment;
}

Result<std::shared_ptr<Segment>> Segment::create(const SegmentOptions& options) {
  if (!good_name(options.name_space)) return bad_name(options.name_space);
  auto geometry = checked_geometry(options);
  if (!geometry) return geometry.error();
  const std::string directory = options.directory.empty() ? default_directory() : options.directory;
  if (auto made = make_directory(directory); !made) return made.error();
  const std::string path = file_of(directory, options.name_space);

  const mode_t mode = options.group.empty() ? 0600 : 0660;
  const int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
  if (fd < 0) return system_error("create a segment in " + directory);
  auto mapped = map(fd, path, options.name_space, *geometry, Access::kFull);
  if (!mapped) return mapped.error();
  Segment& s = **mapped;
  if (!options.group.empty()) {
    const ::group* entry = ::getgrnam(options.group.c_str());
    if (entry == nullptr) return Error{Errc::kNotFound, "no group named '" + options.group + "'"};
    if (::fchown(fd, static_cast<uid_t>(-1), entry->gr_gid) != 0 || ::fchmod(fd, mode) != 0)
      return system_error("give " + path + " to group " + options.group);
    if (::chmod(directory.c_str(), 0710) != 0 || ::chown(directory.c_str(), static_cast<uid_t>(-1), entry->gr_gid) != 0)
      return system_error("give " + directory + " to group " + options.group);
  }
  const Layout& l = s.layout();
  if (::ftruncate(fd, static_cast<off_t>(l.total_bytes)) != 0) return system_error("size " + path);
  // What every participant touches; the rest is committed when first used.
  const bool fits = s.commit(0, sizeof(Header)) && s.commit(l.queue_keys, std::uint64_t{geometry->queue_count} * 8) &&
                    s.commit(l.task_keys, std::uint64_t{geometry->task_count} * 8) &&
                    s.commit(l.superblock_rows, std::uint64_t{l.superblock_count} * sizeof(SuperblockRow)) &&
                    s.commit(l.free_ring, sizeof(RingHeader)) && s.commit(l.delayed, ring_bytes(kDelayedRingLog2));
  if (!fits)
    return Error{Errc::kNoMemory, "no room for a segment in " + directory +
                                      ": enlarge it (mount -o remount,size=…) or ask for fewer slots"};
  s.at<RingHeader>(l.free_ring)->capacity_log2 = l.free_ring_log2;
  s.at<RingHeader>(l.delayed)->capacity_log2 = kDelayedRingLog2;

  Header& h = s.header();
  h.magic = kMagic;
  h.version = kLayoutVersion;
  h.signature = layout_signature();
  h.total_bytes = l.total_bytes;
  h.geometry = *geometry;
  if (::getrandom(&h.epoch, sizeof h.epoch, 0) != sizeof h.epoch) return system_error("getrandom");
  if (h.epoch == 0) h.epoch = 1;
  s.epoch_ = h.epoch;
  h.owner_uid = ::geteuid();
  h.boot_id_hash = boot_id_hash();
  h.time_namespace = namespace_inode("time");
  const base::Moment born = base::moment_now();
  h.created_realtime_ns = born.realtime_ns;
  h.created_monotonic_ns = born.monotonic_ns;
  // order(segment.ready): release; pairs with the acquire in attach(); the header above is complete.
  h.ready.store(1, std::memory_order_release);

  if (options.prepare)
    if (auto prepared = options.prepare(s); !prepared) return prepared.error();

  const std::string self = "/proc/self/fd/" + std::to_string(fd);
  if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    if (errno == EEXIST)
      return Error{Errc::kRefused, "segment " + path +
                                       " exists already; attach to it, or remove it with "
                                       "`stem segment destroy`"};
    return system_error("name " + path);
  }
  return mapped;
}

namespace {

// One branch per reason to refuse; the last accepts.
Result<void> acceptable(const Header& h, const struct stat& st, const std::string& path) {
  // order(segment.ready): acquire; pairs with the release in create().
  if (h.magic == 0 && h.ready.load(std::memory_order_acquire) == 0)
    return Error{Errc::kNotReady, path + " is not ready: its creator has not finished; try again"};
  if (h.magic != kMagic) return Error{Errc::kCorrupt, path + " is not a Stem segment"};
  if (h.ready.load(std::memory_order_acquire) != 1)
    return Error{Errc::kNotReady, path + " is not ready: its creator has not finished; try again"};
  if (h.version != kLayoutVersion)
    return Error{Errc::kWrongVersion, path + " has layout version " + std::to_string(h.version) +
                                          ", this program speaks " + std::to_string(kLayoutVersion) +
                                          "; use programs of one release"};
  if (h.signature != layout_signature())
    return Error{Errc::kWrongSignature,
                 path + " was made by a build with other sizes or features; use programs of one build"};
  const Geometry& g = h.geometry;
  const bool sane = g.slot_count >= 64 && g.slot_count <= kMaxSlots && g.participant_count >= 4 &&
                    g.participant_count <= kMaxParticipants && g.queue_count >= 1 && g.queue_count <= kMaxQueues &&
                    g.task_count >= 1 && g.task_count <= kMaxTaskNames && std::has_single_bit(g.unique_buckets) &&
                    g.unique_buckets <= kMaxSlots && std::has_single_bit(g.limiter_count) &&
                    g.limiter_count <= kMaxSlots && g.block_bytes >= kSuperblockBytes &&
                    g.block_bytes <= (std::uint64_t{1} << 38) && g.block_bytes % kSuperblockBytes == 0 &&
                    g.ring_bytes >= kPageBytes && g.ring_bytes <= (std::uint64_t{1} << 38);
  if (!sane || make_layout(g).total_bytes != h.total_bytes)
    return Error{Errc::kCorrupt, path + " has an impossible header (geometry and size disagree)"};
  if (static_cast<std::uint64_t>(st.st_size) < h.total_bytes)
    return Error{Errc::kTruncated, path + " is " + std::to_string(st.st_size) + " bytes long, its header says " +
                                       std::to_string(h.total_bytes) + "; destroy it and start anew"};
  return {};
}

}  // namespace

Result<std::shared_ptr<Segment>> Segment::attach(const std::string& name_space, const std::string& directory) {
  return open(name_space, directory, Access::kFull);
}

Result<std::shared_ptr<Segment>> Segment::watch(const std::string& name_space, const std::string& directory) {
  return open(name_space, directory, Access::kReading);
}

Result<std::shared_ptr<Segment>> Segment::open(const std::string& name_space, const std::string& directory,
                                               Access access) {
  if (!good_name(name_space)) return bad_name(name_space);
  const std::string path = file_of(directory, name_space);
  const int rights = access == Access::kFull ? O_RDWR : O_RDONLY;
  const int fd = ::open(path.c_str(), rights | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    if (errno == ENOENT)
      return Error{Errc::kNotFound, "no segment for namespace '" + name_space + "' (" + path +
                                        "); start a worker or create it with `stem segment create`"};
    if (errno == EACCES)
      return Error{Errc::kWrongOwner, path + " belongs to another user, who has not shared it with a group"};
    return system_error("open " + path);
  }
  const auto refuse = [fd](Error error) -> Result<std::shared_ptr<Segment>> {
    ::close(fd);
    return error;
  };
  struct stat st {};
  if (::fstat(fd, &st) != 0) return refuse(system_error("stat " + path));
  if (!S_ISREG(st.st_mode)) return refuse({Errc::kCorrupt, path + " is not a regular file"});
  const bool group_shared = (st.st_mode & 0060) == 0060;
  if (st.st_uid != ::geteuid() && !group_shared)
    return refuse({Errc::kWrongOwner, path + " belongs to user " + std::to_string(st.st_uid)});
  if (st.st_size < static_cast<off_t>(sizeof(Header)))
    return refuse({Errc::kTruncated, path + " is shorter than a segment header"});
  // The header is copied once and judged as a copy; an enemy who changes it later changes nothing for us.
  alignas(Header) std::byte copy[sizeof(Header)];
  if (::pread(fd, copy, sizeof copy, 0) != static_cast<ssize_t>(sizeof copy))
    return refuse(system_error("read " + path));
  const auto& header = *reinterpret_cast<const Header*>(copy);
  if (auto good = acceptable(header, st, path); !good) return refuse(good.error());
  if (header.boot_id_hash != boot_id_hash())
    return refuse({Errc::kCorrupt, path + " was made during another boot of this host; destroy it"});
  auto mapped = map(fd, path, name_space, header.geometry, access);
  if (!mapped) return mapped.error();
  (*mapped)->epoch_ = header.epoch;
  return mapped;
}

Result<std::shared_ptr<Segment>> Segment::open_or_create(const SegmentOptions& options) {
  // Two may create at once: one wins the name, the other attaches. Destroyed in between: once more.
  for (int attempt = 0;; ++attempt) {
    auto attached = attach(options.name_space, options.directory);
    if (attached || attached.error().code != Errc::kNotFound) return attached;
    auto created = create(options);
    if (created || created.error().code != Errc::kRefused || attempt == 8) return created;
  }
}

Result<void> Segment::destroy(const std::string& name_space, const std::string& directory) {
  if (!good_name(name_space)) return bad_name(name_space);
  const std::string path = file_of(directory, name_space);
  if (::unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return Error{Errc::kNotFound, "no segment for namespace '" + name_space + "'"};
    return system_error("remove " + path);
  }
  return {};
}

std::vector<SegmentEntry> Segment::list(const std::string& directory) {
  std::vector<SegmentEntry> found;
  const std::string where = directory.empty() ? default_directory() : directory;
  DIR* dir = ::opendir(where.c_str());
  if (dir == nullptr) return found;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    struct stat st {};
    const std::string path = where + "/" + name;
    if (!good_name(name) || ::lstat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
    found.push_back({name, path, static_cast<std::uint64_t>(st.st_blocks) * 512});
  }
  ::closedir(dir);
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name_space < b.name_space; });
  return found;
}

}  // namespace stem::shm
