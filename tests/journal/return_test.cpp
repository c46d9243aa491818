// What comes back beside tasks: results, ids, settings of queues, schedules.
#include <gtest/gtest.h>

#include <algorithm>

#include "beat/store.hpp"
#include "journal/live_set.hpp"
#include "journal/rewrite.hpp"
#include "tests/journal/host.hpp"
#include "tests/journal/ticks.hpp"

namespace stem::journal {
namespace {

using engine::OutcomeKind;
using engine::ResultState;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

struct Ended {
  ResultState state = ResultState::kGone;
  std::string result, message;
};

Ended ended(Host& host, TaskId id) {
  Ended end;
  std::vector<std::byte> bytes;
  engine::FailureRecord failure{};
  end.state = engine::read_result(*host.producer, id, bytes, failure);
  if (end.state == ResultState::kSucceeded)
    end.result.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  else
    end.message = failure.message();
  return end;
}

TaskId put_kept(Host& host, std::uint64_t number, std::int64_t ttl_ns = 3600 * kSecondNs) {
  return host.put(number, [ttl_ns](TaskSpec& spec, TaskExtras& extras) {
    spec.keep_result = true;
    extras.result_ttl_ns = ttl_ns;
  });
}

void succeed_next(Host& host, std::string_view result) {
  engine::Lease lease;
  engine::TaskView view;
  ASSERT_TRUE(host.take(lease, view));
  ASSERT_EQ(host.worker->succeed(lease, view, bytes_of(result), now()), engine::Settled::kDone);
}

TEST(JournalReturn, ResultsAreKeptUntilTheirTime) {
  PowerStore store;
  const std::string large(50'000, 'r');
  TaskId small, empty, revoked, big, late, gone;
  {
    Host host;
    host.must_open(store);
    small = put_kept(host, 1);
    succeed_next(host, "forty-two");
    empty = put_kept(host, 2);
    succeed_next(host, "");
    big = put_kept(host, 3);
    host.flush();  // its image is in the journal before its result
    succeed_next(host, large);
    revoked = put_kept(host, 4);
    ASSERT_EQ(engine::Control(*host.producer).revoke(revoked, false, now()), engine::Revoked::kCancelled);
    late = put_kept(host, 5, 1);  // its time is over before anybody asks
    succeed_next(host, "too late");
    gone = put_kept(host, 6);
    succeed_next(host, "dropped");
    host.flush();
    // Its time comes while somebody writes: the journal forgets it too.
    const shm::ControlWord done = host.segment->descriptor(gone.slot()).control.load();
    shm::ControlWord word = done;
    const shm::ControlWord retiring = done.with(shm::State::kRetiring, host.worker->self().owner());
    ASSERT_TRUE(host.segment->descriptor(gone.slot()).control.change(word, retiring));
    host.worker->free_slot_now(gone.slot(), retiring);
    host.flush();
  }
  for (int boot = 0; boot < 3; ++boot) {  // the ids of the first segment lead there after each
    Host after(2 + boot, shm::Durability::kMemory);
    const auto opened = after.open(store);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    EXPECT_EQ(opened->results, 4u);
    EXPECT_EQ(opened->restored, 0u);
    EXPECT_EQ(ended(after, small).state, ResultState::kSucceeded);
    EXPECT_EQ(ended(after, small).result, "forty-two");
    EXPECT_EQ(ended(after, empty).state, ResultState::kSucceeded);
    EXPECT_EQ(ended(after, empty).result, "");
    EXPECT_EQ(ended(after, big).result, large);
    EXPECT_EQ(ended(after, revoked).state, ResultState::kCancelled);
    EXPECT_EQ(ended(after, revoked).message, "revoked before it ran");
    EXPECT_EQ(ended(after, late).state, ResultState::kGone);
    EXPECT_EQ(ended(after, gone).state, ResultState::kGone);
    after.flush();
    EXPECT_EQ(after.drain().size(), 0u) << "what is over does not run again";
    EXPECT_EQ(test::broken_invariants(*after.producer), "");
  }
}

TEST(JournalReturn, AResultIsWrittenBehindWhatItsTaskLeft) {
  PowerStore store;
  Host host;
  host.must_open(store);
  (void)put_kept(host, 1);
  host.flush();
  succeed_next(host, "done");
  host.put(2);  // as a link would: marked after the end was
  base::Random random(7);
  const std::size_t before = store.events();
  host.flush();
  std::size_t disks = 0;
  for (std::size_t event = before; event < store.events(); ++event)
    store.lose_power(event, 2, random, [&](const Image& image) {
      ++disks;
      PowerStore disk(image);
      Host after(0, shm::Durability::kMemory);
      after.must_open(disk);
      const auto alive = after.alive();
      // Either 1 runs again, or it is over, and then 2 is there.
      EXPECT_TRUE(alive.contains(1) || alive.contains(2)) << "event " << event;
    });
  EXPECT_GT(disks, 5u);
}

// Of one life the last record counts, so an older file never counts against a younger one: a journal says the same before
// and after it goes.
TEST(JournalReturn, TheLastRecordOfALifeCounts) {
  Host host;
  const TaskId id = put_kept(host, 1);
  Batch batches[3];
  const shm::ControlWord ready = host.segment->descriptor(id.slot()).control.load();
  ASSERT_TRUE(append_task(batches[0], *host.producer, id.slot(), ready, ready.state(), {}));
  succeed_next(host, "x");
  const shm::ControlWord done = host.segment->descriptor(id.slot()).control.load();
  ASSERT_TRUE(append_result(batches[1], *host.producer, id.slot(), done, {}));
  append_end(batches[2], {host.segment->epoch(), id.slot(), id.generation()});
  std::vector<Record> records;
  for (const RecordType type : {RecordType::kTask, RecordType::kResult, RecordType::kEnd}) {
    Batch& batch = batches[records.size()];
    const std::size_t head = sizeof(BatchHeader) + sizeof(RecordHeader);
    records.push_back({static_cast<std::uint32_t>(type), batch.seal({}).subspan(head, batch.bytes() - head), 1});
  }
  const auto said = [&](const LiveSet& live) { return std::pair(live.alive(), live.results()); };
  std::vector<std::size_t> order{0, 1, 2};
  do {
    LiveSet all, younger;
    for (const std::size_t i : order) ASSERT_TRUE(all.apply(records[i]));
    ASSERT_TRUE(younger.apply(records[order[1]]) && younger.apply(records[order[2]]));
    EXPECT_EQ(said(all), std::pair(order[2] == 0 ? 1ul : 0ul, order[2] == 1 ? 1ul : 0ul));
    EXPECT_EQ(said(younger), said(all)) << "without the oldest";
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(JournalReturn, ResultsOutliveTheFilesTheyWereWrittenTo) {
  PowerStore store;
  Host host;
  host.must_open(store);
  std::vector<TaskId> ids;
  for (std::uint64_t i = 1; i <= 50; ++i) {
    ids.push_back(put_kept(host, i));
    succeed_next(host, "result " + std::to_string(i));
  }
  host.flush();
  const std::string big(1000, 'y');
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 50; ++i)
      host.put(0, [&](TaskSpec& spec, TaskExtras&) { spec.payload = std::as_bytes(std::span(big)); });
    host.flush();
    (void)host.drain();
  }
  host.flush();
  EXPECT_LE(host.writer->files(), 5u);
  host.writer.reset();
  ASSERT_TRUE(rewrite_journal(store, kSmallFiles.file_bytes, OnDamage::kStop).ok());  // and by hand
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  for (std::uint64_t i = 1; i <= 50; ++i) EXPECT_EQ(ended(after, ids[i - 1]).result, "result " + std::to_string(i));
}

// A failed write leaves nobody's result behind.
TEST(JournalReturn, ResultsAreWrittenAgainAfterAFailure) {
  for (int n = 0; n < 4; ++n) {
    PowerStore store;
    Host host;
    host.must_open(store);
    std::vector<TaskId> ids;
    for (std::uint64_t i = 1; i <= 10; ++i) {
      ids.push_back(put_kept(host, i));
      succeed_next(host, "r");
      if (i == 5) host.flush();
    }
    host.get_over(store, n, PowerStore::Fault::kError);
    Host after(0, shm::Durability::kMemory);
    after.must_open(store);
    for (const TaskId id : ids) EXPECT_EQ(ended(after, id).state, ResultState::kSucceeded) << "write " << n;
  }
}

TEST(JournalReturn, OldIdsLeadToTheTask) {
  PowerStore store;
  TaskId first, second;
  {
    Host host;
    host.must_open(store);
    first = host.put(1);
    second = host.put(2);
    host.flush();
  }
  TaskId between;
  {
    Host after(1, shm::Durability::kMemory);
    after.must_open(store);
    const auto found = engine::Query(*after.producer).task(first);
    ASSERT_TRUE(found);
    between = found->id;
    EXPECT_EQ(between.epoch, after.segment->epoch());
    after.must_open(store);  // another writer knows it too
  }
  Host last(3, shm::Durability::kMemory);
  last.must_open(store);
  const auto by_first = engine::Query(*last.producer).task(first);
  const auto by_between = engine::Query(*last.producer).task(between);
  ASSERT_TRUE(by_first && by_between);
  EXPECT_EQ(by_first->id, by_between->id);
  std::uint64_t number = 0;
  ASSERT_EQ(by_first->payload.size(), sizeof number);
  std::memcpy(&number, by_first->payload.data(), sizeof number);
  EXPECT_EQ(number, 1u);
  EXPECT_EQ(engine::Control(*last.producer).revoke(second, false, now()), engine::Revoked::kCancelled);
  EXPECT_EQ(last.drain(), std::vector<std::uint64_t>{1});
  // Over, and its slot another's: the old ids are nobody's.
  for (std::uint64_t i = 10; i < 300; ++i) last.put(i);
  EXPECT_FALSE(engine::Query(*last.producer).task(first));
  EXPECT_FALSE(engine::Query(*last.producer).task(second));
  EXPECT_EQ(ended(last, first).state, ResultState::kGone);
  TaskId never = first;
  never.handle += std::uint64_t{1} << 40;
  EXPECT_EQ(engine::current_id(*last.segment, never), never);
}

// ---- queues

engine::QueueSettings every_setting() {
  return {.durability = shm::Durability::kJournal,
          .overflow = shm::Overflow::kDropOldest,
          .paused = true,
          .lowest_first = true,
          .max_length = 1000,
          .concurrency = 3,
          .rate = {50, 60},
          .dead_max = 77,
          .dead_retention_ns = 5 * kSecondNs};
}

TEST(JournalReturn, QueuesComeBackAsTheyWereSet) {
  PowerStore store;
  engine::QueueSettings in_memory;
  in_memory.max_length = 9;
  {
    Host host;
    host.must_open(store);
    ASSERT_TRUE(engine::apply_settings(*host.segment, host.queue, every_setting()));
    ASSERT_TRUE(engine::apply_settings(*host.segment, test::must_queue(*host.segment, "memory"), in_memory));
    ASSERT_TRUE(engine::apply_settings(*host.segment, test::must_queue(*host.segment, "set-anew"), in_memory));
    host.flush();
  }
  {
    Host after(4, shm::Durability::kMemory);
    engine::QueueSettings anew;
    anew.max_length = 1;
    const std::uint32_t set_anew = test::must_queue(*after.segment, "set-anew");
    ASSERT_TRUE(engine::apply_settings(*after.segment, set_anew, anew));
    after.must_open(store);
    EXPECT_EQ(engine::settings_of(*after.segment, after.queue), every_setting());
    EXPECT_EQ(engine::settings_of(*after.segment, test::must_queue(*after.segment, "memory")), in_memory);
    EXPECT_EQ(engine::settings_of(*after.segment, set_anew), anew);
    // Set back while nobody writes: the next writer says so.
    after.writer.reset();
    ASSERT_TRUE(engine::apply_settings(*after.segment, after.queue, {}));
    after.must_open(store);
  }
  Host last(0, shm::Durability::kMemory);
  last.must_open(store);
  EXPECT_EQ(engine::settings_of(*last.segment, last.queue), engine::QueueSettings{});
  EXPECT_EQ(engine::settings_of(*last.segment, test::must_queue(*last.segment, "set-anew")).max_length, 1u);
}

TEST(JournalReturn, AJournalOfFormat1IsRead) {
  PowerStore store;
  {
    Host host;
    host.must_open(store);
    host.put(1);
    host.flush();
  }
  // What format 1 said: the same tasks, and of a queue its durability alone.
  Image image = store.image();
  PowerStore old;
  Log log(old, kSmallFiles.file_bytes, {});
  Batch batch;
  PowerStore from(image);
  ASSERT_TRUE(read_journal(from, OnDamage::kStop, [&batch](const Record& record) {
                const auto type = static_cast<RecordType>(record.type);
                if (type == RecordType::kSettings) {
                  batch.begin(static_cast<std::uint32_t>(RecordType::kQueue));
                  batch.put(QueueHead{static_cast<std::uint32_t>(shm::Durability::kSync), 7});
                  batch.put_bytes(bytes_of("durable"));
                } else {
                  batch.begin(record.type);
                  batch.put_bytes(record.body);
                }
                batch.end();
                return true;
              }).ok());
  ASSERT_TRUE(log.start(batch).ok() && log.finish().ok());
  image = old.image();
  for (auto& [name, bytes] : image) {
    FileHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    header.version = 1;
    header.checksum = checksum_of(header);
    std::memcpy(bytes.data(), &header, sizeof header);
  }
  PowerStore disk(image);
  Host after(2, shm::Durability::kMemory);
  after.must_open(disk);
  EXPECT_EQ(shm::durability_of(*after.segment, after.queue), shm::Durability::kSync);
  EXPECT_EQ(after.drain(), std::vector<std::uint64_t>{1});
}

// ---- schedules

TEST(JournalReturn, SchedulesGoOnAfterTheirLastTick) {
  PowerStore store;
  {
    Host host;
    host.must_open(store);
    beat::ScheduleStore schedules(*host.producer);
    ASSERT_TRUE(schedules.put(entry(R"({"id":"a","task":"work","spec":"every:60s","args":[1]})"), kOrigin).ok());
    ASSERT_TRUE(schedules.put(entry(R"({"id":"b","task":"work","spec":"every:60s"})"), kOrigin).ok());
    ASSERT_TRUE(schedules.put(entry(R"({"id":"gone","task":"work","spec":"every:60s"})"), kOrigin).ok());
    fire(host, "a", kOrigin + 60 * kSecondNs, 1);
    host.flush();
    fire(host, "a", kOrigin + 120 * kSecondNs, 2);
    ASSERT_TRUE(schedules.remove("gone").ok());
    ASSERT_TRUE(schedules.put(entry(R"({"id":"later","task":"work","spec":"every:5s"})"), kOrigin).ok());
    host.flush();
    EXPECT_EQ(host.drain().size(), 2u);
    host.flush();
  }
  for (int boot = 0; boot < 2; ++boot) {
    Host after(1, shm::Durability::kMemory);
    beat::ScheduleStore schedules(*after.producer);
    if (boot == 1) {  // whoever runs beat was quicker, with the same entry, and with one that is another by now
      ASSERT_TRUE(schedules.put(entry(R"({"id":"a","task":"work","spec":"every:60s","args":[2]})"), kOrigin * 2).ok());
      ASSERT_TRUE(schedules.put(entry(R"({"id":"b","task":"work","spec":"every:7s"})"), kOrigin * 2).ok());
    }
    after.must_open(store);
    ASSERT_EQ(schedules.list().size(), 3u);
    const auto a = schedules.find("a");
    ASSERT_TRUE(a);
    EXPECT_EQ(a->since_ns, kOrigin);
    EXPECT_EQ(a->figures.fired_ns, kOrigin + 120 * kSecondNs);
    EXPECT_EQ(a->next_planned_ns(kOrigin + 121 * kSecondNs), kOrigin + 180 * kSecondNs);
    EXPECT_EQ(a->entry.args.dump(), boot == 0 ? "[1]" : "[2]") << "what it does is as it was said last";
    const auto b = schedules.find("b");
    ASSERT_TRUE(b);
    EXPECT_EQ(b->since_ns, boot == 0 ? kOrigin : kOrigin * 2);
    EXPECT_FALSE(schedules.find("gone"));
    // A change goes on from there too, and so does the next reboot.
    if (boot == 0) {
      ASSERT_TRUE(schedules
                      .put(entry(R"({"id":"a","task":"work","spec":"every:60s","args":[1],"meta":{"k":1}})"),
                           kOrigin + 130 * kSecondNs)
                      .ok());
      EXPECT_EQ(schedules.find("a")->figures.fired_ns, kOrigin + 120 * kSecondNs);
      ASSERT_TRUE(schedules.put(entry(R"({"id":"a","task":"work","spec":"every:60s","args":[1]})"), kOrigin).ok());
    }
    after.flush();
  }
}

// Removed, or moved to another row, while nobody writes.
TEST(JournalReturn, WhatWasRemovedBetweenTwoWritersStaysRemoved) {
  PowerStore store;
  {
    Host host;
    host.must_open(store);
    beat::ScheduleStore schedules(*host.producer);
    for (const char* id : {R"("x")", R"("y")", R"("z")"})
      ASSERT_TRUE(
          schedules.put(entry((R"({"id":)" + std::string(id) + R"(,"task":"t","spec":"every:60s"})").c_str()), kOrigin)
              .ok());
    host.flush();
    host.writer.reset();
    ASSERT_TRUE(schedules.remove("x").ok());
    ASSERT_TRUE(schedules.remove("y").ok());
    ASSERT_TRUE(schedules.put(entry(R"({"id":"y","task":"t","spec":"every:60s"})"), kOrigin).ok());
    host.must_open(store);
    ASSERT_TRUE(schedules.remove("z").ok());  // while somebody writes, into y's old row
    ASSERT_TRUE(schedules.put(entry(R"({"id":"w","task":"t","spec":"every:60s"})"), kOrigin).ok());
    ASSERT_TRUE(schedules.put(entry(R"({"id":"z","task":"t","spec":"every:60s"})"), kOrigin).ok());
    host.flush();
  }
  Host after(0, shm::Durability::kMemory);
  after.must_open(store);
  std::vector<std::string> ids;
  for (const auto& stored : beat::ScheduleStore(*after.producer).list()) ids.push_back(stored.entry.id);
  EXPECT_EQ(ids, (std::vector<std::string>{"w", "y", "z"}));
}

TEST(JournalReturn, SchedulesOutliveTheFilesTheyWereWrittenTo) {
  PowerStore store;
  Host host;
  host.must_open(store);
  beat::ScheduleStore schedules(*host.producer);
  ASSERT_TRUE(schedules.put(entry(R"({"id":"a","task":"work","spec":"every:60s"})"), kOrigin).ok());
  fire(host, "a", kOrigin + 60 * kSecondNs, 1);
  host.flush();
  EXPECT_EQ(host.drain().size(), 1u);
  const std::string big(1000, 'y');
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 50; ++i)
      host.put(0, [&](TaskSpec& spec, TaskExtras&) { spec.payload = std::as_bytes(std::span(big)); });
    host.flush();
    (void)host.drain();
  }
  EXPECT_GT(host.writer->written_bytes(), 10 * kSmallFiles.file_bytes);
  host.writer.reset();
  for (const bool rewritten : {false, true}) {
    PowerStore disk(store.image());
    if (rewritten) {
      ASSERT_TRUE(rewrite_journal(disk, kSmallFiles.file_bytes, OnDamage::kStop).ok());
    }
    Host after(0, shm::Durability::kMemory);
    after.must_open(disk);
    const auto a = beat::ScheduleStore(*after.producer).find("a");
    ASSERT_TRUE(a);
    EXPECT_EQ(a->figures.fired_ns, kOrigin + 60 * kSecondNs);
  }
}

// Power is lost anywhere: a tick that is marked as fired has its task, unless that is over; one that has its task is
// marked, so it is not fired a second time.
TEST(JournalReturn, ATickAndItsTaskSurviveTogether) {
  PowerStore store;
  Host host;
  host.must_open(store);
  beat::ScheduleStore schedules(*host.producer);
  ASSERT_TRUE(schedules.put(entry(R"({"id":"a","task":"work","spec":"every:60s"})"), kOrigin).ok());
  host.flush();
  const std::size_t before = store.events();
  std::set<std::uint64_t> over;
  for (std::uint64_t n = 1; n <= 6; ++n) {
    fire(host, "a", kOrigin + static_cast<std::int64_t>(n) * 60 * kSecondNs, n);
    if (n % 2 == 0) host.forget_marks();  // whoever let it go was killed before he could mark it
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(host.writer->step(host.now_ns += 300'000'000).ok());
  }
  base::Random random(5);
  std::size_t disks = 0;
  for (std::size_t event = before; event < store.events(); ++event)
    store.lose_power(event, 2, random, [&](const Image& image) {
      ++disks;
      PowerStore disk(image);
      Host after(0, shm::Durability::kMemory);
      after.must_open(disk);
      ASSERT_TRUE(beat::ScheduleStore(*after.producer).find("a"));
      const auto alive = after.alive();
      for (std::uint64_t n = 1; n <= 6; ++n)
        EXPECT_EQ(alive.contains(n), n <= marked(after, "a")) << n << " at event " << event;
    });
  EXPECT_GT(disks, 20u);
}

// ---- other journals

// The same journal, its records as `change` leaves them; without those of which it says false.
template <class Change>
Image rewritten(const Image& image, Change change) {
  PowerStore from(image), to;
  Log log(to, kSmallFiles.file_bytes, {});
  Batch batch;
  EXPECT_TRUE(read_journal(from, OnDamage::kStop, [&batch, &change](const Record& record) {
                std::vector<std::byte> body(record.body.begin(), record.body.end());
                if (!change(static_cast<RecordType>(record.type), body)) return true;
                batch.begin(record.type);
                batch.put_bytes(body);
                batch.end();
                return true;
              }).ok());
  EXPECT_TRUE(log.start(batch).ok() && log.finish().ok());
  return to.image();
}

// The same journal without records of one kind; `kind` 0: all of them.
Image without(const Image& image, std::uint32_t kind) {
  return rewritten(image, [kind](RecordType type, const auto&) { return static_cast<std::uint32_t>(type) != kind; });
}

// The same journal with another text in place of one of that length in the definitions of schedules.
Image with_text(const Image& image, std::string_view before, std::string_view after) {
  int changed = 0;
  Image made = rewritten(image, [&](RecordType type, std::vector<std::byte>& body) {
    if (type != RecordType::kSchedule) return true;
    char* bytes = reinterpret_cast<char*>(body.data());
    const auto at = std::string_view(bytes, body.size()).find(before);
    if (at != std::string_view::npos) after.copy(bytes + at, after.size()), ++changed;
    return true;
  });
  EXPECT_GT(changed, 0);
  return made;
}

// A zone that is not installed, a spec of a newer program: the entry does not run here, and is not forgotten either.
TEST(JournalReturn, AScheduleThatThisProgramCannotReadStaysInTheJournal) {
  PowerStore store;
  {
    Host host;
    host.must_open(store);
    ASSERT_TRUE(beat::ScheduleStore(*host.producer)
                    .put(entry(R"({"id":"a","task":"work","queue":"durable","spec":"every:60s"})"), kOrigin)
                    .ok());
    fire(host, "a", kOrigin + 60 * kSecondNs, 3);
    host.flush();
  }
  PowerStore disk(with_text(store.image(), "every:60s", "never:60s"));
  for (int boot = 0; boot < 2; ++boot) {
    Host after(0, shm::Durability::kMemory);
    after.must_open(disk);
    EXPECT_TRUE(beat::ScheduleStore(*after.producer).list().empty());
    for (std::uint64_t i = 0; i < 3000; ++i) {  // the file that it was written to is used again
      after.put(i);
      if (i % 50 == 0) {
        after.flush();
        (void)after.drain();
      }
    }
    (void)after.drain();
    after.flush();
    after.must_open(disk);  // another writer of the same segment
  }
  LiveSet live;
  std::vector<Contents> contents;
  ASSERT_TRUE(read_journal(
                  disk, OnDamage::kStop, [&live](const Record& record) { return live.apply(record); }, &contents)
                  .ok());
  ASSERT_TRUE(live.schedules().contains("a"));
  EXPECT_NE(live.schedules().at("a").definition.find("never:60s"), std::string_view::npos);
  EXPECT_EQ(live.schedules().at("a").fired_ns, kOrigin + 60 * kSecondNs);
}

// Whoever makes a segment gives its queues their settings; what a person puts back before there is a writer stands.
TEST(JournalReturn, WhatIsPutBackBeforeTheFirstWriterStays) {
  PowerStore store;
  {
    Host host;
    host.must_open(store);
    ASSERT_TRUE(engine::apply_settings(*host.segment, host.queue, every_setting()));
    host.flush();
  }
  Host after(0, shm::Durability::kMemory);
  LiveSet live;
  ASSERT_TRUE(read_journal(store, OnDamage::kStop, [&live](const Record& record) { return live.apply(record); }).ok());
  restore_queues(*after.segment, live);
  ASSERT_EQ(engine::settings_of(*after.segment, after.queue), every_setting());
  ASSERT_TRUE(engine::apply_settings(*after.segment, after.queue, {}));
  after.must_open(store);
  EXPECT_EQ(engine::settings_of(*after.segment, after.queue), engine::QueueSettings{});
}

// ---- every kind of record

// All that comes back, as a text.
std::string back_from(const Image& image, TaskId kept) {
  PowerStore disk(image);
  Host after(1, shm::Durability::kMemory);
  if (const auto opened = after.open(disk); !opened.ok()) return opened.error().message;
  after.flush();
  std::string all = "result " + ended(after, kept).result + ", queue ";
  const engine::QueueSettings settings = engine::settings_of(*after.segment, after.queue);
  all += std::to_string(settings.max_length) + " " + std::to_string(static_cast<int>(settings.durability));
  for (const auto& stored : beat::ScheduleStore(*after.producer).list())
    all += ", " + stored.entry.id + " at " + std::to_string(stored.figures.fired_ns);
  engine::Lease lease;
  engine::TaskView view;
  while (after.take(lease, view)) {
    all += ", task " + std::to_string(test::number_of(view)) + " after " + std::to_string(view.tally.attempts);
    EXPECT_EQ(after.worker->succeed(lease, view, {}, now()), engine::Settled::kDone);
  }
  return all;
}

// A kind that nobody would miss is not written for anybody.
TEST(JournalReturn, EveryKindOfRecordIsMissed) {
  PowerStore store;
  Host host;
  host.must_open(store);
  const TaskId kept = put_kept(host, 1);
  succeed_next(host, "kept");
  host.put(2);
  host.flush();
  engine::Lease lease;
  engine::TaskView view;
  bool retried = false;
  ASSERT_TRUE(host.take(lease, view));
  ASSERT_EQ(host.worker->fail(lease, view, {"error", "again"}, 0, now(), retried), engine::Settled::kDone);
  host.flush();
  beat::ScheduleStore schedules(*host.producer);
  ASSERT_TRUE(schedules.put(entry(R"({"id":"a","task":"work","spec":"every:60s"})"), kOrigin).ok());
  fire(host, "a", kOrigin + 60 * kSecondNs, 3);
  engine::Control::Limits limits;
  limits.max_length = 1000;
  engine::Control(*host.producer).set_limits(host.queue, limits);
  host.flush();
  const TaskId over = host.put(4);
  host.flush();
  ASSERT_EQ(engine::Control(*host.producer).revoke(over, false, now()), engine::Revoked::kCancelled);
  host.flush();
  const std::string all = back_from(without(store.image(), 0), kept);
  EXPECT_EQ(all, "result kept, queue 1000 1, a at " + std::to_string(kOrigin + 60 * kSecondNs) +
                     ", task 2 after 1, task 3 after 0");
  for (const RecordType kind : {RecordType::kNames, RecordType::kTask, RecordType::kState, RecordType::kEnd,
                                RecordType::kResult, RecordType::kSettings, RecordType::kSchedule, RecordType::kTick})
    EXPECT_NE(back_from(without(store.image(), static_cast<std::uint32_t>(kind)), kept), all)
        << "without records of kind " << static_cast<int>(kind);
}

}  // namespace
}  // namespace stem::journal
