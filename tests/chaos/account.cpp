#include "tests/chaos/account.hpp"

#include <algorithm>

namespace stem::chaos {
namespace {

using test::Entry;
using test::Ledger;

struct Task {
  std::uint8_t offered = 0, accepted = 0, refused = 0, executed = 0, acknowledged = 0;
  std::uint8_t open_settles = 0;  // succeed() was called, and its answer never written down
};

void raise(std::uint8_t& count) {
  if (count != 255) ++count;
}

class Book {
 public:
  explicit Book(const Options& options) : tasks_(options.producers) {}

  Task* find(std::uint64_t number) {
    const std::uint64_t producer = number >> kProducerBits;
    const std::uint64_t n = number & ((std::uint64_t{1} << kProducerBits) - 1);
    if (producer >= tasks_.size() || n >= tasks_[producer].size()) return nullptr;
    return &tasks_[producer][n];
  }
  void offer(std::uint64_t number) {
    const std::uint64_t n = number & ((std::uint64_t{1} << kProducerBits) - 1);
    auto& mine = tasks_.at(number >> kProducerBits);
    if (n >= mine.size()) mine.resize(n + 1);
    raise(mine[n].offered);
  }
  const std::vector<std::vector<Task>>& all() const { return tasks_; }

 private:
  std::vector<std::vector<Task>> tasks_;
};

void example(Account& a, const std::string& what, std::uint64_t number) {
  if (a.examples.size() < 20)
    a.examples.push_back(what + ": producer " + std::to_string(number >> kProducerBits) + " task " +
                         std::to_string(number & ((std::uint64_t{1} << kProducerBits) - 1)));
}

void read_producer(Book& book, Account& a, const Ledger& ledger) {
  for (std::size_t i = 0; i < ledger.size(); ++i) {
    const Entry e = ledger.at(i);
    if (e.what == Entry::kOffered) {
      ++a.offered;
      book.offer(e.task);
      continue;
    }
    Task* task = book.find(e.task);
    if (task == nullptr) continue;
    raise(e.what == Entry::kAccepted ? task->accepted : task->refused);
  }
}

// A worker runs one task at a time, so its ledger is a sequence of closed executions; an open one is
// followed by the mark of the next incarnation, or by the end.
void read_worker(Book& book, Account& a, const Ledger& ledger) {
  bool open = false;
  std::uint64_t number = 0;
  bool settling = false;
  const auto leave_open = [&](bool explained) {
    if (!open) return;
    open = false;
    if (!explained) {
      ++a.unaccounted;
      example(a, "an execution without an end", number);
      return;
    }
    ++a.cut_short;
    Task* task = book.find(number);
    if (settling && task != nullptr) raise(task->open_settles);
  };
  for (std::size_t i = 0; i < ledger.size(); ++i) {
    const Entry e = ledger.at(i);
    if (e.what == Entry::kCancelled) {  // an incarnation begins
      ++a.incarnations;
      leave_open(true);
      continue;
    }
    Task* task = book.find(e.task);
    if (task == nullptr || task->offered == 0) {
      ++a.invented;
      example(a, "never offered", e.task);
      continue;
    }
    switch (e.what) {
      case Entry::kExecuted:
        leave_open(false);
        ++a.executions;
        raise(task->executed);
        open = true;
        settling = false;
        number = e.task;
        continue;
      case Entry::kSettling: settling = true; continue;
      case Entry::kRecorded:  // its acknowledgement follows, or is never told
        raise(task->open_settles);
        ++a.on_record;
        break;
      case Entry::kAcknowledged:
        raise(task->acknowledged);
        a.on_record -= e.detail;
        break;
      case Entry::kFenced:
        ++a.fenced;
        a.on_record -= e.detail;
        break;
      case Entry::kRetried: ++a.retried; break;
      case Entry::kReleased: ++a.snoozed; break;
      default: break;
    }
    if (e.task == number) open = false;  // a shared acknowledgement may come while another task is open
  }
  leave_open(true);
}

void judge(Account& a, std::uint64_t number, const Task& t) {
  const bool there = t.executed != 0;
  if (there) ++a.ran;
  if (t.accepted != 0) {
    ++a.accepted;
  } else if (t.refused != 0) {
    ++a.refused;
    if (there) {
      ++a.invented;
      example(a, "refused, and run all the same", number);
    }
    return;
  } else {
    ++a.uncertain;
    if (!there) return;
    ++a.uncertain_there;
  }
  if (t.acknowledged == 1) {
    ++a.acknowledged;
  } else if (t.acknowledged > 1) {
    ++a.twice;
    example(a, "acknowledged twice", number);
  } else if (t.open_settles != 0) {
    ++a.unconfirmed;
  } else {
    ++a.lost;
    example(a, there ? "run and never acknowledged" : "accepted and never run", number);
  }
}

}  // namespace

Account add_up(const Options& options, const std::string& directory, std::size_t ledger_capacity) {
  Account a;
  Book book(options);
  for (std::uint32_t p = 0; p < options.producers; ++p)
    read_producer(book, a, Ledger(directory + "/.producer-" + std::to_string(p), ledger_capacity));
  for (std::uint32_t w = 0; w < options.workers; ++w)
    read_worker(book, a, Ledger(directory + "/.worker-" + std::to_string(w), ledger_capacity));
  for (std::uint64_t p = 0; p < book.all().size(); ++p)
    for (std::uint64_t n = 0; n < book.all()[p].size(); ++n) judge(a, p << kProducerBits | n, book.all()[p][n]);
  return a;
}

}  // namespace stem::chaos
