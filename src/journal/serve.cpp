#include "journal/serve.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <thread>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "journal/disk_store.hpp"
#include "shm/doorbell.hpp"
#include "shm/journal_line.hpp"
#include "shm/names.hpp"

namespace stem::journal {
namespace {

constexpr std::int64_t kAskAgainNs = 50'000'000;       // for the lock: how long a killed writer stays unreplaced
constexpr std::int64_t kOpenAgainNs = 1'000'000'000;   // after a refusal
constexpr std::int64_t kLongestEndNs = 1'000'000'000;  // a whole look and two batches, on a slow disk

// Says a thing once, until it changes.
class Complaint {
 public:
  void say(const std::string& text) {
    if (text == said_) return;
    said_ = text;
    log::error("journal", {{"error", text}});
  }
  void forget() {
    if (!said_.empty()) log::info("the journal takes records again");
    said_.clear();
  }

 private:
  std::string said_;
};

void pause(shm::Participant& self, std::int64_t ns) {
  (void)shm::park(self, shm::prepare_sleep(self), ns);
  self.beat();
}

// What was marked until now goes to disk, unless that takes too long.
void write_the_rest(Writer& writer, shm::Participant& self) {
  shm::Header& h = self.segment().header();
  const std::uint64_t position = shm::journal_position(self.segment());
  const std::int64_t until_ns = base::monotonic_ns() + kLongestEndNs;
  while (h.journal_durable.load(std::memory_order_acquire) < position && base::monotonic_ns() < until_ns) {
    shm::hurry_journal(self.segment(), position);
    if (!writer.step(base::monotonic_ns()).ok()) break;
  }
  if (h.journal_durable.load(std::memory_order_acquire) < position)
    log::warn("the journal's writer ends before all that has changed is on disk",
              {{"namespace", self.segment().name_space()}});
}

void write_until(Writer& writer, shm::Participant& self, const std::function<bool()>& stop, Complaint& complaint) {
  while (!stop() && self.still_ours()) {
    if (const auto done = writer.step(base::monotonic_ns()); !done.ok())
      complaint.say(done.error().message);
    else if (writer.takes_work())
      complaint.forget();
    writer.rest(base::monotonic_ns());
  }
  if (self.still_ours() && writer.takes_work()) write_the_rest(writer, self);
}

}  // namespace

Result<std::string> directory_of(const ServeOptions& options) {
  if (!options.directory.empty()) return options.directory;
  auto base = default_directory();
  if (!base.ok()) return base.error();
  // A segment that lies elsewhere is another one, whatever its name.
  const std::string shm = options.shm_directory.empty() ? shm::default_directory() : options.shm_directory;
  if (shm == "/dev/shm/stem-" + std::to_string(::geteuid())) return *base + "/" + options.name_space;
  return fmt::format("{}/{}@{:016x}", *base, options.name_space, shm::name_hash(shm));
}

bool has_files(const std::string& directory) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    if (sequence_of(it->path().filename().string())) return true;
  return false;
}

Result<void> serve(const ServeOptions& options, const std::function<bool()>& stop) {
  const auto directory = directory_of(options);
  if (!directory.ok()) return directory.error();
  auto segment = shm::Segment::attach(options.name_space, options.shm_directory);
  if (!segment.ok()) return segment.error();
  auto self = shm::Participant::join(*segment, {shm::Role::kTool, "journal"});
  if (!self.ok()) return self.error();
  engine::Engine engine(**self);
  Complaint complaint;
  const auto mark = SegmentMark::take(*directory, (*segment)->epoch());
  if (!mark.ok()) return mark.error();
  WriterOptions writing = options.writer;
  writing.lives = [&directory](std::uint32_t epoch) { return SegmentMark::is_held(*directory, epoch); };
  std::optional<WriterLock> lock;
  while (!stop() && (*self)->still_ours()) {
    if (!lock) {
      auto taken = WriterLock::take(*directory);
      if (!taken.ok()) {
        if (taken.error().code != Errc::kRefused) complaint.say(taken.error().message);
        pause(**self, kAskAgainNs);
        continue;
      }
      lock.emplace(std::move(*taken));
    }
    auto store = open_disk_store(*directory);
    if (store.ok()) {
      Writer writer(engine, **store, writing);
      if (const auto opened = writer.open(); opened.ok()) {
        complaint.forget();
        log::info("journal", {{"directory", *directory},
                              {"restored", opened->restored},
                              {"results", opened->results},
                              {"schedules", opened->schedules},
                              {"gave_way", opened->gave_way},
                              {"torn_tails", opened->torn_tails}});
        write_until(writer, **self, stop, complaint);
        break;
      } else {
        complaint.say(opened.error().message);
        if (opened.error().code == Errc::kRefused) lock.reset();  // for whoever may write it
      }
    } else {
      complaint.say(store.error().message);
    }
    for (std::int64_t waited = 0; waited < kOpenAgainNs && !stop(); waited += kAskAgainNs) pause(**self, kAskAgainNs);
  }
  return {};
}

}  // namespace stem::journal
