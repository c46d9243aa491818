// A producer forks without exec: the child has its objects and its descriptors, but neither its mapping nor
// its life. Nothing the child does or keeps open changes what the parent is.
#include <signal.h>
#include <unistd.h>

#include "shm/death.hpp"
#include "tests/support/process.hpp"
#include "tests/support/wait.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class ForkTest : public VirtualHost {};

TEST_F(ForkTest, TheChildMayEndAndTheParentGoesOn) {
  put(1);
  auto running = start();
  ASSERT_TRUE(running);
  test::Process child([this] {
    // Destroyed here as an exit would: the rows are the parent's and stay as they are.
    if (!producer_->self().in_forked_child()) return 1;
    producer_.engine.reset();
    producer_.participant.reset();
    worker_.engine.reset();
    worker_.participant.reset();
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(producer_->self().still_ours());
  EXPECT_FALSE(shm::signalled_dead(worker_->self().row()));
  EXPECT_TRUE(worker_->holds(running->lease));
  EXPECT_EQ(producer_->sweep_all(now_), 0u) << "nobody has died";
  put(2);
  EXPECT_EQ(succeed(*running), Settled::kDone);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{2}));
}

TEST_F(ForkTest, TheChildMayAttachForItself) {
  test::Process child([this] {
    auto own = test::must_attach("test", directory_.path());
    test::Attached mine(own);
    test::Numbered task(queue_, task_, 77);
    return mine->enqueue(task.spec, now_).status == EnqueueStatus::kOk ? 0 : 1;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{77}));
}

// The producer is killed while its child, which never exec'd, lives on with all it inherited: the death is
// signalled and proved all the same.
TEST_F(ForkTest, AChildThatLivesOnDoesNotHideTheParentsDeath) {
  put(1);
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  test::Process parent([this, &ready] {
    auto own = test::must_attach("test", directory_.path());
    test::Attached mine(own, shm::Role::kWorker);
    Lease lease;
    if (mine->claim(queue_, &lease, 1, now_) != 1) return 1;
    const pid_t child = ::fork();
    if (child == 0) {
      ::setsid();
      for (;;) ::pause();
    }
    const std::uint64_t said = static_cast<std::uint64_t>(child) << 32 | mine.index();
    if (::write(ready[1], &said, sizeof said) != sizeof said) return 1;
    for (;;) ::pause();
  });
  std::uint64_t said = 0;
  ASSERT_EQ(::read(ready[0], &said, sizeof said), static_cast<ssize_t>(sizeof said));
  const auto grandchild = static_cast<pid_t>(said >> 32);
  const auto row = static_cast<std::uint32_t>(said);
  EXPECT_FALSE(producer_->sweep(row, now_)) << "it lives";
  parent.kill();
  EXPECT_EQ(::kill(grandchild, 0), 0) << "the child lives on";
  EXPECT_TRUE(test::wait_until([&] { return shm::signalled_dead(segment_->row(row)); }));
  EXPECT_TRUE(test::wait_until([&] { return producer_->sweep(row, now_); }));
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1}));
  ::kill(grandchild, SIGKILL);
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace stem::engine
