#include "world.hpp"

#include <cstdio>
#include <cstdlib>
#include <new>

#include "shm/death.hpp"
#include "shm/journal_line.hpp"
#include "shm/names.hpp"

namespace explorer {

using namespace stem;

namespace {

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "explorer: %s\n", why.c_str());
  std::abort();
}

}  // namespace

World::World(int participants, std::uint32_t slots) {
  unwatch();
  char directory[] = "/dev/shm/stem-test-explorer-XXXXXX";
  if (::mkdtemp(directory) == nullptr) give_up("no directory in /dev/shm");
  shm::SegmentOptions options;
  options.name_space = "explorer";
  options.directory = directory;
  options.slot_count = slots;
  options.participant_count = 8;
  options.queue_count = 1;
  options.task_count = 1;
  options.block_bytes = shm::kSuperblockBytes;
  auto made = shm::Segment::create(options);
  if (!made) give_up(made.error().message);
  // The mapping stays; nothing of it is left behind in the file system.
  (void)shm::Segment::destroy(options.name_space, directory);
  ::rmdir(directory);
  segment_ = *made;
  segment_->header().created_monotonic_ns = kNow - engine::kSecondNs;
  (void)shm::intern_queue(*segment_, "q");
  (void)shm::intern_task(*segment_, "t");
  for (int i = 0; i < participants; ++i) {
    auto joined = shm::Participant::join(segment_, {shm::Role::kWorker, "actor"});
    if (!joined) give_up(joined.error().message);
    participants_.push_back(std::move(*joined));
    rooms_.push_back(std::make_unique<std::byte[]>(sizeof(engine::Engine) + alignof(engine::Engine)));
    const auto* bytes = reinterpret_cast<const std::byte*>(participants_.back().get());
    as_joined_.emplace_back(bytes, bytes + sizeof(shm::Participant));
    segment_->row(static_cast<std::uint32_t>(i)).serves_all.store(1, std::memory_order_relaxed);
  }
  engines_.resize(participants_.size());
  watch(segment_->base(), segment_->layout().total_bytes);
  const auto& l = segment_->layout();
  call_it(&segment_->header(), "header");
  call_it(&segment_->header().sleepers, "sleepers");
  call_it(&segment_->header().journal_writer, "journal");
  call_it(&segment_->queue(0).lanes, "lanes");
  call_it(&segment_->queue(0).rings, "rings");
  for (std::uint32_t i = 0; i < 4; ++i) call_it(&segment_->row(i), "row" + std::to_string(i));
  for (std::uint32_t i = 0; i < 64; ++i) call_it(&descriptor(i), "task" + std::to_string(i));
  call_it(segment_->base() + l.returns, "returns");
  call_it(segment_->base() + l.unique, "unique");
  call_it(segment_->base() + l.limiters, "limiters");
  call_it(segment_->base() + l.delayed, "delayed");
  call_it(segment_->base() + l.rings, "ring");
  call_it(segment_->base() + l.blocks, "block");
}

World::~World() { unwatch(); }

void World::begin() {
  for (std::size_t i = 0; i < participants_.size(); ++i) {
    // As it was when it had joined; what its pointers name has stayed.
    __builtin_memcpy(static_cast<void*>(participants_[i].get()), as_joined_[i].data(), as_joined_[i].size());
    void* room = rooms_[i].get();
    std::size_t bytes = sizeof(engine::Engine) + alignof(engine::Engine);
    engines_[i] = new (std::align(alignof(engine::Engine), sizeof(engine::Engine), room, bytes))
        engine::Engine(*participants_[i]);
  }
}

void World::forget() {
  // One that was left in the middle of something is not destroyed: it may hold its own lock.
  if (whole())
    for (engine::Engine* e : engines_) e->~Engine();
  for (std::uint32_t* word : killed_) *word &= ~static_cast<std::uint32_t>(FUTEX_OWNER_DIED);
  killed_.clear();
}

void World::died(int actor) {
  const auto row = static_cast<std::uint32_t>(actor);
  auto* word = shm::alive_word(segment_->row(row));
  word->fetch_or(FUTEX_OWNER_DIED, std::memory_order_release);
  killed_.push_back(reinterpret_cast<std::uint32_t*>(word));
  mark_row_dead(row);
}

engine::EnqueueResult World::enqueue(int i, const std::uint64_t& payload, std::int64_t due_ns,
                                     const engine::TaskExtras* extras) {
  engine::TaskSpec spec;
  spec.payload = std::as_bytes(std::span(&payload, 1));
  spec.due_ns = due_ns;
  spec.extras = extras;
  return engine(i).enqueue(spec, kNow);
}

engine::Lease World::claim(int i) {
  engine::Lease lease;
  if (engine(i).claim(0, &lease, 1, kNow) == 0) lease.slot = ~0u;
  return lease;
}

void World::take_all_slots(int i) {
  std::uint32_t slot = 0;
  shm::ControlWord word;
  while (self(i).take_slot(slot, word)) {
  }
}

std::uint64_t World::counted(shm::Counter counter) {
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < participants_.size(); ++i)
    total += segment_->counters(i, 0).value[static_cast<int>(counter)].load(std::memory_order_relaxed);
  return total;
}

std::uint64_t World::word_of(std::span<const std::byte> payload) {
  std::uint64_t word = 0;
  if (payload.size() == sizeof word) __builtin_memcpy(&word, payload.data(), sizeof word);
  return word;
}

}  // namespace explorer
