// The process that writes the journal, as a supervisor's would; what goes to disk is counted on the way.
#include <ctime>
#include <utility>

#include "base/clock.hpp"
#include "bench/failure.hpp"
#include "bench/journal.hpp"
#include "engine/control.hpp"
#include "journal/disk_store.hpp"
#include "journal/writer.hpp"
#include "shm/journal_line.hpp"

namespace stem::bench {

namespace {

constexpr std::int64_t kReadyTimeoutNs = 300'000'000'000;
constexpr std::int64_t kSliceNs = 50'000'000;

void nap() noexcept {
  const timespec time{0, 50'000};
  nanosleep(&time, nullptr);
}

template <class T>
T must(Result<T> result) {
  if (!result.ok()) throw Failure(result.error().message);
  return std::move(result).value();
}

// One of the files below, whose writes are counted.
class CountedFile final : public journal::StoreFile {
 public:
  CountedFile(std::unique_ptr<journal::StoreFile> file, JournalHost::State& count)
      : file_(std::move(file)), count_(count) {}

  std::uint64_t bytes() const override { return file_->bytes(); }
  Result<void> start(std::uint64_t offset, std::span<const std::byte> from) override {
    bytes_ = from.size();
    return file_->start(offset, from);
  }
  Result<void> finish() override {
    auto done = file_->finish();
    if (!done.ok()) return done;
    count_.writes.fetch_add(1, std::memory_order_relaxed);
    count_.bytes.fetch_add(bytes_, std::memory_order_relaxed);
    return done;
  }

 private:
  std::unique_ptr<journal::StoreFile> file_;
  JournalHost::State& count_;
  std::uint64_t bytes_ = 0;
};

class CountedStore final : public journal::Store {
 public:
  CountedStore(journal::Store& store, JournalHost::State& count) : store_(store), count_(count) {}

  Result<std::vector<std::string>> names() override { return store_.names(); }
  void prepare(const std::string& name, std::uint64_t bytes) override { store_.prepare(name, bytes); }
  Result<std::unique_ptr<journal::StoreFile>> create(const std::string& name, std::uint64_t bytes) override {
    return counted(store_.create(name, bytes));
  }
  Result<std::unique_ptr<journal::StoreFile>> open(const std::string& name) override {
    return counted(store_.open(name));
  }
  Result<journal::Contents> read(const std::string& name) override { return store_.read(name); }
  Result<void> rename(const std::string& from, const std::string& to) override { return store_.rename(from, to); }
  Result<void> remove(const std::string& name) override { return store_.remove(name); }
  Result<void> sync_names() override { return store_.sync_names(); }

 private:
  Result<std::unique_ptr<journal::StoreFile>> counted(Result<std::unique_ptr<journal::StoreFile>> file) {
    if (!file.ok()) return file;
    return std::unique_ptr<journal::StoreFile>(std::make_unique<CountedFile>(std::move(*file), count_));
  }

  journal::Store& store_;
  JournalHost::State& count_;
};

void write_journal(const Scene& scene, const std::string& directory, JournalHost::State& state) {
  Seat seat(scene, shm::Role::kTool, "journal");
  const auto lock = must(journal::WriterLock::take(directory));
  const auto store = must(journal::open_disk_store(directory, &state.zero_bytes));
  CountedStore counted(*store, state);
  const std::int64_t start_ns = base::monotonic_ns();
  journal::Writer writer(seat.engine(), counted, {});
  const journal::Opened opened = must(writer.open());
  state.restored.store(opened.restored);
  state.opened_ns.store(base::monotonic_ns() - start_ns);
  while (state.users.load(std::memory_order_acquire) != 0) {
    if (const auto done = writer.step(base::monotonic_ns()); !done.ok()) throw Failure(done.error().message);
    if (state.ready_ns.load(std::memory_order_relaxed) == 0 && writer.takes_work())
      state.ready_ns.store(base::monotonic_ns() - start_ns, std::memory_order_release);
    writer.rest(base::monotonic_ns());
  }
}

}  // namespace

Role JournalHost::writer(const Scene& scene, std::uint32_t users) {
  state_->users.store(users);
  state_->opened_ns.store(0);
  state_->ready_ns.store(0);
  state_->restored.store(0);
  return {kAnyCpu, [this, &scene] { write_journal(scene, directory_, *state_); }};
}

void JournalHost::await_ready(Seat& seat) const {
  const std::int64_t until_ns = base::monotonic_ns() + kReadyTimeoutNs;
  while (state_->ready_ns.load(std::memory_order_acquire) == 0 ||
         !shm::journal_runs(seat.segment(), base::monotonic_ns())) {
    if (base::monotonic_ns() > until_ns) throw Failure("the journal's writer did not begin in time");
    seat.participant().beat();
    nap();
  }
}

void JournalHost::await_disk(Seat& seat) const {
  const std::uint64_t position = shm::journal_position(seat.segment());
  const std::int64_t until_ns = base::monotonic_ns() + kReadyTimeoutNs;
  while (!shm::await_journal(seat.segment(), position, base::monotonic_ns() + kSliceNs)) {
    if (base::monotonic_ns() > until_ns) throw Failure("the journal did not come to rest");
    seat.participant().beat();
  }
}

DiskUse JournalHost::use() const noexcept {
  return {state_->writes.load(), state_->bytes.load(), state_->zero_bytes.load()};
}

void make_durable(const Scene& scene, shm::Durability durability) {
  Seat seat(scene, shm::Role::kTool, "settings");
  if (!engine::Control(seat.engine()).set_durability(seat.queue(), durability))
    throw Failure("no room in /dev/shm for the journal's marks");
}

}  // namespace stem::bench
