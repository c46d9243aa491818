// A journal that somebody has made up. Its records are those that a writer has written, spoilt where the input says so,
// or the input's own; the checksums around them are right, for a wrong one ends a file at its first byte. It is refused,
// with a reason, or recovered: then the segment is sound, and what is written from there can be read again.
#include <algorithm>
#include <cstring>
#include <deque>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "beat/entry.hpp"
#include "beat/store.hpp"
#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/links.hpp"
#include "engine/query.hpp"
#include "engine/queue_settings.hpp"
#include "engine/run.hpp"
#include "input.hpp"
#include "journal/rewrite.hpp"
#include "journal/writer.hpp"
#include "shm/names.hpp"
#include "tests/journal/power_store.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::fuzz {
namespace {

using engine::Lease;
using engine::TaskExtras;
using engine::TaskView;
using journal::Batch;
using journal::BatchHeader;
using journal::FileHeader;
using journal::OnDamage;
using journal::PowerStore;
using journal::RecordType;
using test::Numbered;

constexpr std::uint64_t kJournalFileBytes = 1u << 20;
constexpr std::size_t kMostRecords = 300;
constexpr std::uint64_t kMostForgedFileBytes = 256u << 10;
constexpr std::int64_t kRealNs = 1'900'000'000'000'000'000;  // of schedules

bool is_fine(const auto& answer) {
  expect(answer.ok() || !answer.error().message.empty(), "refused without a reason");
  return answer.ok();
}

shm::SegmentOptions journalled(const test::ScratchDirectory& scratch) {
  shm::SegmentOptions options = test::small_segment(scratch);
  options.slot_count = 1024;
  options.participant_count = 8;
  options.queue_count = 8;
  options.task_count = 8;
  options.block_bytes = 64ull << 20;
  return options;
}

// A host that begins with nothing but its journal.
class Booted {
 public:
  explicit Booted(PowerStore& store)
      : segment_(test::must_create(journalled(scratch_))),
        worker_(segment_, shm::Role::kWorker),
        writing_(segment_, shm::Role::kTool),
        writer_(*writing_, store, {.file_bytes = kJournalFileBytes}) {}

  shm::Segment& segment() { return *segment_; }
  engine::Engine& engine() { return *worker_; }
  Result<journal::Opened> open() { return writer_.open(); }

  // Until what there is to say is on disk.
  void write() {
    for (int i = 0; i < 6; ++i)
      expect(writer_.step(now_ns_ += 600'000'000).ok(), "a sound disk takes a sound segment's records");
  }

  void look() {
    expect(test::broken_invariants(*worker_).empty(), "what came back breaks an invariant");
    engine::Query query(*worker_);
    (void)query.queues();
    (void)query.task_names();
    for (std::uint32_t slot = 0; slot < segment_->slots_used(); ++slot) {
      const auto id =
          engine::TaskId::make(segment_->epoch(), slot, segment_->descriptor(slot).control.load().generation());
      (void)query.task(id);
      std::vector<std::byte> bytes;
      engine::FailureRecord failure;
      (void)engine::read_result(*worker_, id, bytes, failure);
    }
    (void)beat::ScheduleStore(*worker_).list();
  }

  void work() {
    const std::int64_t now = base::monotonic_ns();
    engine::DeadLetters dead(*worker_);
    for (const auto& letter : dead.list({})) (void)dead.replay(letter, 0, now);
    for (std::uint32_t queue = 0; queue < shm::queue_total(*segment_); ++queue) {
      Lease leases[8];
      const std::uint32_t n = worker_->claim(queue, leases, 8, now);
      for (std::uint32_t i = 0; i < n; ++i) {
        TaskView view;
        if (!worker_->view(leases[i], view)) continue;
        unsigned sum = 0;  // every byte that the view promises is there
        for (const std::byte b : view.payload) sum += std::to_integer<unsigned>(b);
        if (worker_->begin(leases[i], view, now) != engine::Begin::kStart) continue;
        bool retried = false;
        if (sum % 3 == 0)
          (void)worker_->fail(leases[i], view, {"kind", "text"}, 0, now, retried);
        else
          (void)worker_->succeed(leases[i], view, std::as_bytes(std::span("a result")), now);
      }
    }
  }

 private:
  test::ScratchDirectory scratch_;
  std::shared_ptr<shm::Segment> segment_;
  test::Attached worker_, writing_;
  journal::Writer writer_;
  std::int64_t now_ns_ = base::monotonic_ns();
};

struct Said {
  std::uint32_t type;
  std::vector<std::byte> body;
};

beat::Entry entry(const char* json) {
  auto parsed = beat::Entry::parse(nlohmann::json::parse(json));
  expect(parsed.ok(), "an entry");
  return *parsed;
}

// A run: one of its items is over, and one has moved out. In a queue without limits, for the others have none.
void fill_run(Booted& host) {
  engine::Engine& mine = host.engine();
  const std::int64_t now = base::monotonic_ns();
  const std::uint32_t queue = test::must_queue(host.segment(), "r"), task = test::must_task(host.segment(), "t");
  engine::QueueSettings settings;
  settings.durability = shm::Durability::kJournal;
  expect(engine::apply_settings(host.segment(), queue, settings), "settings");
  std::deque<Numbered> numbered;
  std::vector<engine::TaskSpec> specs;
  for (std::uint64_t n = 0; n < engine::kRunItems; ++n)
    specs.push_back(numbered.emplace_back(queue, task, 100 + n).spec);
  std::size_t done = 0;
  expect(mine.enqueue_many(specs.data(), specs.size(), nullptr, done, now) == engine::EnqueueStatus::kOk, "a run");
  host.write();
  Lease leases[engine::kRunItems];
  TaskView view;
  bool retried = false;
  expect(mine.claim(queue, leases, engine::kRunItems, now) == engine::kRunItems, "a claim of all of it");
  const auto begin = [&](const Lease& lease) {
    expect(mine.view(lease, view) && mine.begin(lease, view, now) == engine::Begin::kStart, "an item");
  };
  begin(leases[0]);
  (void)mine.succeed(leases[0], view, {}, now);
  begin(leases[1]);
  (void)mine.fail(leases[1], view, {"kind", "text"}, 0, now, retried);
  host.write();
}

void fill(Booted& host) {
  engine::Engine& mine = host.engine();
  const std::int64_t now = base::monotonic_ns();
  const std::uint32_t queue = test::must_queue(host.segment(), "q"), task = test::must_task(host.segment(), "t");
  engine::QueueSettings settings;
  settings.durability = shm::Durability::kJournal;
  settings.max_length = 1000;
  settings.concurrency = 7;
  expect(engine::apply_settings(host.segment(), queue, settings), "settings");
  beat::ScheduleStore schedules(mine);
  expect(schedules.put(entry(R"({"id":"a","task":"t","spec":"every:60s","args":[1]})"), kRealNs).ok(), "a schedule");
  expect(schedules.put(entry(R"({"id":"b","task":"t","spec":"0 3 * * *"})"), kRealNs).ok(), "a schedule");
  const std::string large(700, 'x');
  std::string links;
  const Numbered child(queue, task, 99);
  engine::append_link(links, child.spec);
  const auto put = [&](std::uint64_t n, auto change) {
    Numbered one(queue, task, n);
    TaskExtras extras;
    change(one.spec, extras);
    one.spec.extras = &extras;
    expect(mine.enqueue(one.spec, now).status == engine::EnqueueStatus::kOk, "a task");
  };
  const auto take = [&](auto then) {
    Lease lease;
    TaskView view;
    expect(mine.claim(queue, &lease, 1, now) == 1 && mine.view(lease, view) &&
               mine.begin(lease, view, now) == engine::Begin::kStart,
           "a claim");
    then(lease, view);
  };
  const auto succeed = [&](const Lease& lease, TaskView& view) {
    (void)mine.succeed(lease, view, std::as_bytes(std::span("a result")), now);
  };
  const auto kept = [](engine::TaskSpec& spec, TaskExtras& extras) {
    spec.keep_result = true;
    extras.result_ttl_ns = 100'000 * engine::kSecondNs;
  };
  put(1, kept);
  take(succeed);
  put(2, [&](auto& spec, auto& extras) {
    kept(spec, extras);
    spec.max_retries = 0;
  });
  take([&](const Lease& lease, TaskView& view) {
    (void)mine.bury(lease, view, engine::DeadReason::kPermanentFailure, {"kind", "text"}, now);
  });
  put(3, [&](auto& spec, auto& extras) {
    spec.payload = std::as_bytes(std::span(large));
    spec.due_ns = now + 100'000 * engine::kSecondNs;
    extras.headers = R"({"tenant":"a"})";
    extras.meta = R"({"by":"b"})";
    extras.unique_key = 17;
    extras.unique_for_ns = 100'000 * engine::kSecondNs;
    extras.concurrency_key = 5;
    extras.concurrency_limit = 3;
    extras.rate_key = 6;
    extras.rate = {5, 1};
    extras.link = links;
    extras.link_error = links;
    extras.expires_ns = now + 200'000 * engine::kSecondNs;
  });
  put(4, [](auto&, auto& extras) { extras.idempotency_key = "key"; });
  take(succeed);
  host.write();
  put(5, [](auto& spec, auto&) { spec.priority = 3; });
  host.write();
  take([&](const Lease& lease, TaskView& view) {  // a change of what has been said
    bool retried = false;
    (void)mine.fail(lease, view, {"kind", "text"}, 0, now, retried);
  });
  const auto stored = schedules.find("a");
  expect(stored.has_value(), "the schedule");
  const Numbered tick(queue, task, 6);
  const shm::TurnWord turn(host.segment().schedule(stored->row).turn.load());
  (void)mine.fire_tick(tick.spec, stored->row, kRealNs + 60 * engine::kSecondNs, turn, now);
  host.write();
  take(succeed);  // an end
  put(7, [](auto&, auto&) {});
  expect(schedules.remove("b").ok(), "the other schedule");
  host.write();
  fill_run(host);
}

// What a writer says, in order: every kind of record, of tasks in every state.
const std::vector<Said>& sound_records() {
  static const std::vector<Said> records = [] {
    PowerStore store;
    Booted host(store);
    expect(host.open().ok(), "an empty journal");
    fill(host);
    std::vector<Said> all;
    std::uint32_t kinds = 0;
    const auto read = journal::read_journal(store, OnDamage::kStop, [&](const journal::Record& record) {
      all.push_back({record.type, {record.body.begin(), record.body.end()}});
      kinds |= 1u << record.type;
      return true;
    });
    expect(read.ok() && read->damage.empty(), "what was just written is read");
    Batch old;  // of format 1
    old.begin(0);
    old.put(journal::QueueHead{2, 1});
    old.put('q');
    old.end();
    const auto bytes =
        old.seal({}).subspan(sizeof(BatchHeader) + sizeof(journal::RecordHeader), sizeof(journal::QueueHead) + 1);
    all.push_back({static_cast<std::uint32_t>(RecordType::kQueue), {bytes.begin(), bytes.end()}});
    for (const RecordType type :
         {RecordType::kNames, RecordType::kTask, RecordType::kState, RecordType::kEnd, RecordType::kResult,
          RecordType::kSettings, RecordType::kSchedule, RecordType::kTick, RecordType::kRun, RecordType::kItems})
      expect((kinds & 1u << static_cast<std::uint32_t>(type)) != 0, "a kind of record that no input is made of");
    return all;
  }();
  return records;
}

// Files by the input's orders; without any, an empty one.
class Forger {
 public:
  explicit Forger(Bytes bytes) : input_(bytes) { begin_file(); }

  journal::Image forge() {
    while (!input_.empty()) order();
    end_batch(nullptr);
    end_file(nullptr);
    return std::move(image_);
  }

 private:
  void order() {
    switch (input_.byte() % 16) {
      case 0:
      case 1:
      case 2:
        for (int left = 1 + input_.byte() % 16; left > 0; --left) add(next());
        break;
      case 3:
      case 4:
      case 5:
      case 6:
      case 7:
      case 8: add(spoilt(next())); break;
      case 9: cursor_ = input_.byte(); break;
      case 10: {
        Said own{input_.byte() % 12u, std::vector<std::byte>(input_.below(600))};
        for (std::byte& b : own.body) b = static_cast<std::byte>(input_.byte());
        add(own);
        break;
      }
      case 11: end_batch(nullptr); break;
      case 12: end_batch(&input_); break;
      case 13:
      case 14: {
        end_batch(nullptr);
        end_file(input_.byte() % 2 == 0 ? nullptr : &input_);
        begin_file();
        break;
      }
      default: {
        const std::uint32_t at = input_.number<std::uint32_t>();
        scratches_.emplace_back(at, static_cast<std::byte>(input_.byte()));
      }
    }
  }

  const Said& next() {
    const auto& all = sound_records();
    return all[cursor_++ % all.size()];
  }

  Said spoilt(Said said) {
    for (int left = 1 + input_.byte() % 4; left > 0; --left) {
      if (said.body.empty()) return said;
      const std::size_t at = input_.below(said.body.size());
      const std::size_t width = std::min(said.body.size() - at, std::size_t{1} << input_.byte() % 4);
      const std::uint64_t value = number(0);
      std::memcpy(said.body.data() + at, &value, width);
    }
    return said;
  }

  // One that is likely to be at an edge.
  std::uint64_t number(std::uint64_t now) {
    switch (const std::uint8_t kind = input_.byte(); kind % 8) {
      case 0: return now + kind / 8;
      case 1: return now - kind / 8;
      case 2: return ~std::uint64_t{0} - kind / 8;
      case 3: return (std::uint64_t{1} << kind / 8) - 1;
      case 4: return std::uint64_t{1} << (32 + kind / 8);
      case 5: return input_.byte();
      default: return input_.number<std::uint64_t>();
    }
  }

  void add(const Said& said) {
    if (++records_ > kMostRecords) return;
    batch_.begin(said.type);
    batch_.put_bytes(said.body);
    batch_.end();
  }

  void end_batch(Input* skew) {
    BatchHeader header;
    header.lsn = ++lsn_;
    header.durable_lsn = lsn_ - 1;
    header.salt = header_.salt;
    const auto sealed = batch_.seal(header);
    if (file_.size() + sealed.size() <= kMostForgedFileBytes) {
      const std::size_t at = file_.size();
      file_.insert(file_.end(), sealed.begin(), sealed.end());
      if (skew != nullptr) skew_batch(std::span(file_).subspan(at));
    }
    batch_.clear();
  }

  void skew_batch(std::span<std::byte> batch) {
    BatchHeader header;
    std::memcpy(&header, batch.data(), sizeof header);
    switch (input_.byte() % 4) {
      case 0: header.lsn = number(header.lsn); break;
      case 1: header.records = static_cast<std::uint32_t>(number(header.records)); break;
      case 2: header.bytes = static_cast<std::uint32_t>(number(header.bytes)); break;
      default: header.durable_lsn = number(header.durable_lsn); break;
    }
    if (input_.byte() % 2 == 0) lsn_ = header.lsn;
    header.checksum = 0;
    std::memcpy(batch.data(), &header, sizeof header);
    if (header.bytes <= batch.size() - sizeof header)
      header.checksum = journal::checksum_of_batch(batch.first(sizeof header + header.bytes), header.salt);
    std::memcpy(batch.data(), &header, sizeof header);
  }

  void begin_file() {
    header_ = {};
    header_.salt = 0x5a17;
    header_.sequence = ++sequence_;
    header_.first_lsn = lsn_ + 1;
    header_.durable_lsn = lsn_;
    file_.assign(journal::kBlockBytes, std::byte{0});
    scratches_.clear();
  }

  void end_file(Input* skew) {
    if (skew != nullptr) switch (input_.byte() % 5) {
        case 0: header_.version = static_cast<std::uint32_t>(number(header_.version)); break;
        case 1: header_.first_lsn = number(header_.first_lsn); break;
        case 2: header_.durable_lsn = number(header_.durable_lsn); break;
        case 3: header_.sequence = number(header_.sequence); break;
        default: sequence_ = header_.sequence = number(header_.sequence); break;
      }
    header_.checksum = journal::checksum_of(header_);
    std::memcpy(file_.data(), &header_, sizeof header_);
    for (const auto& [at, value] : scratches_) file_[at % file_.size()] = value;
    if (image_.size() < 8) image_[journal::file_name(sequence_)] = std::move(file_);
  }

  Input input_;
  journal::Image image_;
  FileHeader header_;
  std::vector<std::byte> file_;
  std::vector<std::pair<std::uint32_t, std::byte>> scratches_;
  Batch batch_;
  std::uint64_t lsn_ = 0, sequence_ = 0;
  std::size_t cursor_ = 0, records_ = 0;
};

// `stem journal verify`, `compact` and `repair`.
void examine(const journal::Image& image) {
  for (const OnDamage on_damage : {OnDamage::kStop, OnDamage::kSkip}) {
    PowerStore store(image);
    (void)is_fine(journal::examine_journal(store, on_damage));
    const auto rewritten = journal::rewrite_journal(store, kJournalFileBytes, on_damage);
    if (!is_fine(rewritten)) continue;
    const auto again = journal::examine_journal(store, OnDamage::kStop);
    expect(again.ok() && again->tasks == rewritten->tasks, "what was rewritten does not read the same");
  }
}

}  // namespace

void run_journal(Bytes bytes) {
  static const bool quiet = [] {
    log::configure({.level = log::Level::kOff});
    return true;
  }();
  (void)quiet;
  const bool works = !bytes.empty() && bytes.back() % 2 == 0;
  const journal::Image image = Forger(bytes).forge();
  examine(image);
  PowerStore store(image);
  {
    Booted host(store);
    if (!is_fine(host.open())) return;
    host.write();
    host.look();
    if (works) host.work();
    host.look();
    host.write();
  }
  Booted again(store);
  const auto opened = again.open();
  if (is_fine(opened)) return again.look();
  // With more files the writer compacts: then an end that was made up before its task is gone, and the task is not.
  if (image.size() < 3) fail("what a writer has written is refused: " + opened.error().message);
}

}  // namespace stem::fuzz
