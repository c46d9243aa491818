// A small segment with tasks in every state, spoilt at places that the input names, while the input also says who
// does what. Nobody may crash, leave the mapping, or go on for ever.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <vector>

#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/keeper.hpp"
#include "engine/query.hpp"
#include "engine/verify.hpp"
#include "input.hpp"
#include "shm/names.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::fuzz {
namespace {

using engine::Begin;
using engine::Lease;
using engine::TaskExtras;
using engine::TaskView;
using shm::State;
using test::Attached;
using test::Numbered;

constexpr std::int64_t kNow = 1'000'000'000'000;
constexpr int kMostSteps = 80;

shm::SegmentOptions small(const test::ScratchDirectory& scratch) {
  shm::SegmentOptions options = test::small_segment(scratch);
  options.slot_count = 64;
  options.participant_count = 6;
  options.queue_count = 2;
  options.task_count = 2;
  options.block_bytes = 16ull << 20;
  return options;
}

// The pieces of a file that have memory behind them.
struct Image {
  struct Piece {
    off_t at;
    std::vector<char> bytes;
  };
  off_t size = 0;
  std::vector<Piece> pieces;
};

Image picture_of(const shm::Segment& segment) {
  Image image;
  image.size = static_cast<off_t>(segment.layout().total_bytes);
  for (off_t at = 0;;) {
    const off_t data = ::lseek(segment.fd(), at, SEEK_DATA);
    if (data < 0) break;
    at = ::lseek(segment.fd(), data, SEEK_HOLE);
    Image::Piece piece{data, std::vector<char>(static_cast<std::size_t>(at - data))};
    std::memcpy(piece.bytes.data(), segment.base() + data, piece.bytes.size());
    image.pieces.push_back(std::move(piece));
  }
  return image;
}

// Tasks with blocks, extras, results, dead letters, leases of somebody who is gone, a run.
void populate(const std::shared_ptr<shm::Segment>& segment) {
  const std::uint32_t queue = test::must_queue(*segment, "q"), task = test::must_task(*segment, "t");
  Attached mine(segment, shm::Role::kWorker);
  for (std::uint64_t n = 0; n < 14; ++n) {
    Numbered one(queue, task, n);
    TaskExtras extras;
    extras.headers = R"({"tenant":"a"})";
    extras.unique_key = n + 1;
    extras.concurrency_key = 5;
    extras.concurrency_limit = 3;
    if (n % 2 == 0) one.spec.extras = &extras;
    one.spec.keep_result = n % 3 == 0;
    if (n % 4 == 3) one.spec.due_ns = kNow + 1'000'000;
    one.spec.priority = n % 5 == 0 ? 3 : 0;
    (void)mine->enqueue(one.spec, kNow);
  }
  std::vector<std::unique_ptr<Numbered>> many;
  std::vector<engine::TaskSpec> specs;
  for (std::uint64_t n = 0; n < 10; ++n) {
    many.push_back(std::make_unique<Numbered>(queue, task, 100 + n));
    specs.push_back(many.back()->spec);
  }
  std::size_t done = 0;
  (void)mine->enqueue_many(specs.data(), specs.size(), nullptr, done, kNow);
  Lease leases[6];
  const std::uint32_t n = mine->claim(queue, leases, 6, kNow);
  for (std::uint32_t i = 0; i + 2 < n; ++i) {
    TaskView view;
    if (!mine->view(leases[i], view) || mine->begin(leases[i], view, kNow) != Begin::kStart) continue;
    if (i == 0)
      (void)mine->bury(leases[i], view, engine::DeadReason::kPermanentFailure, {"kind", "text"}, kNow);
    else
      (void)mine->succeed(leases[i], view, std::as_bytes(std::span("a result")), kNow);
  }
}

const Image& template_image() {
  static const Image image = [] {
    test::ScratchDirectory scratch;
    const auto segment = test::must_create(small(scratch));
    populate(segment);
    return picture_of(*segment);
  }();
  return image;
}

void write_image(const Image& image, const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  expect(fd >= 0 && ::ftruncate(fd, image.size) == 0, "no room for a segment");
  for (const Image::Piece& piece : image.pieces)
    expect(::pwrite(fd, piece.bytes.data(), piece.bytes.size(), piece.at) == static_cast<ssize_t>(piece.bytes.size()),
           "no room for a segment");
  ::close(fd);
}

class Host {
 public:
  explicit Host(std::shared_ptr<shm::Segment> segment)
      : segment_(std::move(segment)), self_(segment_, shm::Role::kWorker), keeper_(*self_) {}

  void step(Input& input) {
    now_ += static_cast<std::int64_t>(input.byte()) * 10'000'000;
    switch (input.byte() % 16) {
      case 0:
      case 1:
      case 2:
      case 3: spoil(input); break;
      case 4:
      case 5: enqueue(input); break;
      case 6:
      case 7:
      case 8: work(input); break;
      case 9:
      case 10: (void)keeper_.step(now_); break;
      case 11: (void)self_->sweep_all(now_); break;
      case 12: look(); break;
      case 13: command(input); break;
      case 14: (void)engine::verify(*self_); break;
      default: keeper_.patrol_all(now_); break;
    }
  }

 private:
  void spoil(Input& input) {
    const shm::Layout& l = segment_->layout();
    const struct {
      shm::Offset at;
      std::uint64_t bytes;
    } sections[] = {{0, sizeof(shm::Header)},
                    {l.queues, 2 * sizeof(shm::QueueRow)},
                    {l.roster, 2 * sizeof(shm::RosterRow)},
                    {l.slab, 64 * sizeof(shm::Descriptor)},
                    {l.slab, 64 * sizeof(shm::Descriptor)},
                    {l.rings, 4096},
                    {l.unique, 4096},
                    {l.limiters, 4096},
                    {l.superblock_rows, 64},
                    {l.blocks, 8192},
                    {l.returns, 4096},
                    {l.delayed, 4096},
                    {l.inboxes, 4096},
                    {l.free_ring, 1024},
                    {l.counters, 4096},
                    {l.queue_keys, 1024}};
    const auto& section = sections[input.byte() % std::size(sections)];
    const std::uint64_t at = section.at + input.below(section.bytes);
    if (at + 8 > l.total_bytes) return;
    // The mutex that the kernel looks at belongs to whoever holds it: what is written there is between him and
    // the kernel.
    const std::uint64_t in_row = (at - l.roster) % sizeof(shm::RosterRow);
    if (at >= l.roster && at < l.roster + 6 * sizeof(shm::RosterRow) && in_row + 8 > offsetof(shm::RosterRow, alive) &&
        in_row < offsetof(shm::RosterRow, alive) + sizeof(pthread_mutex_t))
      return;
    const std::uint64_t value = input.number<std::uint64_t>();
    if (input.byte() % 2 == 0)
      segment_->base()[at] = static_cast<std::byte>(value);
    else
      std::memcpy(segment_->base() + at, &value, sizeof value);
  }

  void enqueue(Input& input) {
    Numbered one(input.byte() % 2, input.byte() % 2, 7);
    const std::vector<std::byte> large(100 + input.below(20'000));
    TaskExtras extras;
    const std::uint8_t kind = input.byte();
    if ((kind & 1) != 0) one.spec.payload = large;
    if ((kind & 2) != 0) {
      extras.unique_key = 1 + input.byte() % 16;
      extras.affinity_key = kind & 4;
      extras.rate_key = kind & 8;
      extras.rate = {5, 1};
      one.spec.extras = &extras;
    }
    if ((kind & 16) != 0) one.spec.due_ns = now_ + 1000;
    one.spec.priority = kind % 10;
    one.spec.keep_result = (kind & 32) != 0;
    (void)self_->enqueue(one.spec, now_);
    if ((kind & 64) == 0) return;
    const engine::TaskSpec specs[] = {one.spec, one.spec, one.spec};
    std::size_t done = 0;
    (void)self_->enqueue_many(specs, 3, nullptr, done, now_);
  }

  void work(Input& input) {
    Lease leases[8];
    const std::uint32_t n = self_->claim(input.byte() % 2, leases, 1 + input.byte() % 8, now_);
    for (std::uint32_t i = 0; i < n; ++i) {
      TaskView view;
      if (!self_->view(leases[i], view)) continue;
      // Every byte that the view promises is there.
      unsigned sum = 0;
      for (const std::byte b : view.payload) sum += std::to_integer<unsigned>(b);
      if (sum == 0x7fff'ffff) spoil(input);
      if (self_->begin(leases[i], view, now_) != Begin::kStart) continue;
      bool retried = false;
      const auto result = std::as_bytes(std::span("a result"));
      switch (input.byte() % 8) {
        case 0: (void)self_->fail(leases[i], view, {"kind", "text"}, 0, now_, retried); break;
        case 1: (void)self_->snooze(leases[i], view, 1000, now_); break;
        case 2: (void)self_->bury(leases[i], view, engine::DeadReason::kPoisonPill, {"kind", "text"}, now_); break;
        case 3: (void)self_->release(leases[i], now_); break;
        case 4: (void)set_progress(*self_, leases[i], 0.5, "half"); [[fallthrough]];
        case 5: (void)self_->succeed_later(leases[i], view, now_); break;
        case 6: spoil(input); [[fallthrough]];
        default: (void)self_->succeed(leases[i], view, result, now_); break;
      }
    }
  }

  void look() {
    engine::Query query(*self_);
    (void)query.queues();
    (void)query.workers();
    (void)query.task_names();
    for (std::uint32_t slot = 0; slot < 64; ++slot) {
      const auto id =
          engine::TaskId::make(segment_->epoch(), slot, segment_->descriptor(slot).control.load().generation());
      (void)query.task(id);
      std::vector<std::byte> bytes;
      engine::FailureRecord failure;
      (void)engine::read_result(*self_, id, bytes, failure);
    }
  }

  void command(Input& input) {
    engine::Control control(*self_);
    engine::DeadLetters dead(*self_);
    switch (input.byte() % 4) {
      case 0: (void)control.purge(input.byte() % 2, now_); break;
      case 1:
        for (const auto& letter : dead.list({})) (void)dead.replay(letter, 0, now_);
        break;
      case 2:
        for (const auto& letter : dead.list({})) (void)dead.purge(letter);
        break;
      default: {
        const auto slot = static_cast<std::uint32_t>(input.below(64));
        const auto word = segment_->descriptor(slot).control.load();
        (void)control.revoke(engine::TaskId::make(segment_->epoch(), slot, word.generation()), true, now_);
      }
    }
  }

  std::shared_ptr<shm::Segment> segment_;
  Attached self_;
  engine::Keeper keeper_;
  std::int64_t now_ = kNow;
};

}  // namespace

void run_segment(Bytes bytes) {
  static const test::ScratchDirectory scratch;
  write_image(template_image(), scratch.file("test"));
  Input input(bytes);
  auto segment = shm::Segment::attach("test", scratch.path());
  expect(segment.ok(), "a sound segment was refused");
  Host host(*segment);
  for (int i = 0; i < kMostSteps && !input.empty(); ++i) host.step(input);
}

// The first bytes are the header's; the file behind it may be shorter than it says.
void run_header(Bytes bytes) {
  static const test::ScratchDirectory scratch;
  write_image(template_image(), scratch.file("test"));
  Input input(bytes);
  const int fd = ::open(scratch.file("test").c_str(), O_RDWR | O_CLOEXEC);
  if (input.byte() % 4 == 0)
    expect(::ftruncate(fd, static_cast<off_t>(input.below(static_cast<std::uint64_t>(template_image().size)))) == 0,
           "truncate");
  while (!input.empty()) {
    const auto at = static_cast<off_t>(input.byte() % 2 == 0 ? input.below(sizeof(shm::Header)) : input.below(160));
    const auto value = input.number<std::uint64_t>();
    const std::size_t width = std::size_t{1} << input.byte() % 4;
    expect(::pwrite(fd, &value, width, at) == static_cast<ssize_t>(width), "write");
  }
  ::close(fd);
  auto segment = shm::Segment::attach("test", scratch.path());
  if (!segment.ok()) {
    expect(!segment.error().message.empty(), "refused without a reason");
    return;
  }
  auto joined = shm::Participant::join(*segment, {shm::Role::kWorker, "test"});
  if (!joined.ok()) return;
  engine::Engine engine(**joined);
  (void)engine::verify(engine);
  const Numbered one(0, 0, 7);
  (void)engine.enqueue(one.spec, kNow);
  Lease leases[4];
  const std::uint32_t n = engine.claim(0, leases, 4, kNow);
  for (std::uint32_t i = 0; i < n; ++i) {
    TaskView view;
    if (engine.view(leases[i], view)) (void)engine.succeed(leases[i], view, {}, kNow);
  }
}

}  // namespace stem::fuzz
