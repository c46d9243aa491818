#include "shm/segment.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>

#include "shm/participant.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"

namespace stem::shm {
namespace {

using test::ScratchDirectory;

class SegmentTest : public ::testing::Test {
 protected:
  SegmentTest() : options(test::small_segment(scratch)) {}
  Errc attach_error() {
    auto attached = Segment::attach(options.name_space, options.directory);
    if (attached) return Errc::kSystem;
    message = attached.error().message;
    return attached.error().code;
  }
  void patch(off_t at, const void* bytes, std::size_t count) {
    const int fd = ::open(scratch.file("test").c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(::pwrite(fd, bytes, count, at), static_cast<ssize_t>(count));
    ::close(fd);
  }
  ScratchDirectory scratch;
  SegmentOptions options;
  std::string message;
};

TEST_F(SegmentTest, WhatOneMakesAnotherAttaches) {
  const auto made = test::must_create(options);
  const auto attached = test::must_attach("test", scratch.path());
  EXPECT_EQ(attached->epoch(), made->epoch());
  EXPECT_NE(attached->epoch(), 0u);
  EXPECT_NE(attached->base(), made->base());
  made->header().keeper_passes.store(42);
  EXPECT_EQ(attached->header().keeper_passes.load(), 42u);
  EXPECT_EQ(attached->geometry().slot_count, options.slot_count);
}

TEST_F(SegmentTest, ASecondOfTheNameIsRefused) {
  const auto made = test::must_create(options);
  const auto again = Segment::create(options);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::kRefused);
  EXPECT_TRUE(Segment::open_or_create(options));
}

TEST_F(SegmentTest, TwoNamespacesDoNotMeet) {
  const auto one = test::must_create(options);
  SegmentOptions other = options;
  other.name_space = "other";
  const auto two = test::must_create(other);
  EXPECT_NE(one->epoch(), two->epoch());
  one->header().keeper_passes.store(1);
  EXPECT_EQ(two->header().keeper_passes.load(), 0u);
  const auto list = Segment::list(scratch.path());
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].name_space, "other");
  EXPECT_EQ(list[1].name_space, "test");
  ASSERT_TRUE(Segment::destroy("other", scratch.path()));
  EXPECT_EQ(Segment::list(scratch.path()).size(), 1u);
  EXPECT_FALSE(Segment::destroy("other", scratch.path()));
}

TEST_F(SegmentTest, TheFileIsTheUsersAlone) {
  const auto made = test::must_create(options);
  struct stat st {};
  ASSERT_EQ(::stat(made->path().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_EQ(st.st_uid, ::geteuid());
}

TEST_F(SegmentTest, ANewSegmentCostsLittle) {
  options.slot_count = 1u << 20;
  options.block_bytes = 4ull << 30;
  const auto made = test::must_create(options);
  EXPECT_LT(made->used_bytes(), 2u << 20);
}

TEST_F(SegmentTest, BadNamesAreRefusedBeforeAnythingIsTouched) {
  for (const char* name : {"", ".", "..", ".hidden", "a/b", "a b", "../up", "x\n"}) {
    options.name_space = name;
    const auto made = Segment::create(options);
    ASSERT_FALSE(made) << name;
    EXPECT_EQ(made.error().code, Errc::kInvalidArgument);
    EXPECT_FALSE(Segment::attach(name, scratch.path()));
    EXPECT_FALSE(Segment::destroy(name, scratch.path()));
  }
  options.name_space = std::string(65, 'a');
  EXPECT_FALSE(Segment::create(options));
}

TEST_F(SegmentTest, ImpossibleSizesAreRefusedWithTheirBounds) {
  const auto refused = [this](auto change) {
    SegmentOptions o = options;
    change(o);
    const auto made = Segment::create(o);
    EXPECT_FALSE(made);
    if (!made) {
      EXPECT_EQ(made.error().code, Errc::kInvalidArgument) << made.error().message;
    }
  };
  refused([](auto& o) { o.slot_count = 0; });
  refused([](auto& o) { o.slot_count = kMaxSlots + 1; });
  refused([](auto& o) { o.participant_count = 0; });
  refused([](auto& o) { o.participant_count = kMaxParticipants + 1; });
  refused([](auto& o) { o.queue_count = 0; });
  refused([](auto& o) { o.queue_count = kMaxQueues + 1; });
  refused([](auto& o) { o.task_count = kMaxTaskNames + 1; });
  refused([](auto& o) { o.block_bytes = 0; });
  refused([](auto& o) { o.block_bytes = 1ull << 60; });
}

// ---- refusals by name

TEST_F(SegmentTest, NotThere) { EXPECT_EQ(attach_error(), Errc::kNotFound); }

TEST_F(SegmentTest, ShorterThanAHeader) {
  std::ofstream(scratch.file("test")) << "short";
  EXPECT_EQ(attach_error(), Errc::kTruncated);
}

TEST_F(SegmentTest, EmptyFile) {
  std::ofstream(scratch.file("test")) << "";
  EXPECT_EQ(attach_error(), Errc::kTruncated);
}

TEST_F(SegmentTest, ShorterThanItsHeaderSays) {
  const off_t size = static_cast<off_t>(test::must_create(options)->layout().total_bytes);
  ASSERT_EQ(::truncate(scratch.file("test").c_str(), size - 1), 0);
  EXPECT_EQ(attach_error(), Errc::kTruncated);
  ASSERT_EQ(::truncate(scratch.file("test").c_str(), 1 << 20), 0);
  EXPECT_EQ(attach_error(), Errc::kTruncated);
}

TEST_F(SegmentTest, SomethingElse) {
  std::ofstream(scratch.file("test")) << std::string(1 << 16, 'x');
  EXPECT_EQ(attach_error(), Errc::kCorrupt);
}

TEST_F(SegmentTest, ADirectory) {
  ASSERT_EQ(::mkdir(scratch.file("test").c_str(), 0700), 0);
  EXPECT_NE(attach_error(), Errc::kNotFound);
  EXPECT_FALSE(Segment::attach("test", scratch.path()));
}

TEST_F(SegmentTest, ASymbolicLinkIsNotFollowed) {
  ScratchDirectory elsewhere;
  SegmentOptions there = options;
  there.directory = elsewhere.path();
  const auto made = test::must_create(there);
  ASSERT_EQ(::symlink(made->path().c_str(), scratch.file("test").c_str()), 0);
  EXPECT_FALSE(Segment::attach("test", scratch.path()));
}

TEST_F(SegmentTest, AllZeroIsNotReady) {
  std::ofstream(scratch.file("test")) << std::string(1 << 16, '\0');
  EXPECT_EQ(attach_error(), Errc::kNotReady);
}

TEST_F(SegmentTest, NotReadyYet) {
  (void)test::must_create(options);
  const std::uint32_t not_ready = 0;
  patch(offsetof(Header, ready), &not_ready, sizeof not_ready);
  EXPECT_EQ(attach_error(), Errc::kNotReady);
}

TEST_F(SegmentTest, AnotherVersion) {
  (void)test::must_create(options);
  const std::uint32_t version = kLayoutVersion + 1;
  patch(offsetof(Header, version), &version, sizeof version);
  EXPECT_EQ(attach_error(), Errc::kWrongVersion);
  EXPECT_NE(message.find(std::to_string(version)), std::string::npos) << message;
}

TEST_F(SegmentTest, AnotherBuild) {
  (void)test::must_create(options);
  const std::uint64_t signature = layout_signature() ^ 1;
  patch(offsetof(Header, signature), &signature, sizeof signature);
  EXPECT_EQ(attach_error(), Errc::kWrongSignature);
}

TEST_F(SegmentTest, AnotherBoot) {
  (void)test::must_create(options);
  const std::uint64_t boot = boot_id_hash() ^ 1;
  patch(offsetof(Header, boot_id_hash), &boot, sizeof boot);
  EXPECT_EQ(attach_error(), Errc::kCorrupt);
}

TEST_F(SegmentTest, AnotherUsersFile) {
  (void)test::must_create(options);
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(scratch.file("test").c_str(), 65534, static_cast<gid_t>(-1)), 0);
    EXPECT_EQ(attach_error(), Errc::kWrongOwner);
    return;
  }
  ASSERT_EQ(::chmod(scratch.file("test").c_str(), 0), 0);  // as another user's file looks from here
  EXPECT_EQ(attach_error(), Errc::kWrongOwner);
}

TEST_F(SegmentTest, AnotherUsersDirectory) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs to give a directory away";
  ASSERT_EQ(::mkdir(scratch.file("theirs").c_str(), 0777), 0);
  ASSERT_EQ(::chown(scratch.file("theirs").c_str(), 65534, static_cast<gid_t>(-1)), 0);
  options.directory = scratch.file("theirs");
  const auto made = Segment::create(options);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::kWrongOwner);
}

// Every byte of the header that the creator writes, every bit pattern flipped: refused by name, or taken,
// and then the segment can be used; never a crash.
TEST_F(SegmentTest, EveryFlippedHeaderByteIsRefusedOrHarmless) {
  const auto made = test::must_create(options);
  constexpr std::size_t kWritten = offsetof(Header, slab_used);
  std::byte original[kWritten];
  std::memcpy(original, made->base(), kWritten);
  int refused = 0;
  for (std::size_t at = 0; at < kWritten; ++at) {
    for (const std::uint8_t flip : {0x01, 0x80, 0xff}) {
      const auto bad = original[at] ^ static_cast<std::byte>(flip);
      patch(static_cast<off_t>(at), &bad, 1);
      test::Process child([&] {
        auto attached = Segment::attach("test", scratch.path());
        if (!attached) return attached.error().message.empty() ? 2 : 1;
        test::Attached mine(*attached);
        const std::uint32_t queue = test::must_queue(**attached, "q");
        const std::uint32_t task = test::must_task(**attached, "t");
        const auto status = mine->enqueue(test::Numbered(queue, task, 1).spec, base::monotonic_ns()).status;
        engine::Lease lease;
        engine::TaskView view;
        if (status != engine::EnqueueStatus::kOk) return 3;
        if (mine->claim(queue, &lease, 1, base::monotonic_ns()) != 1 || !mine->view(lease, view)) return 4;
        return mine->succeed(lease, view, {}, base::monotonic_ns()) == engine::Settled::kDone ? 0 : 5;
      });
      const int code = child.wait();
      EXPECT_LE(code, 1) << "byte " << at << " flipped by " << int{flip};
      refused += code == 1 ? 1 : 0;
      patch(static_cast<off_t>(at), &original[at], 1);
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(refused, 200);
}

// ---- no room

TEST_F(SegmentTest, AFullFileSystemIsAnErrorCodeAndNeverASignal) {
  const std::string small = scratch.file("small");
  ASSERT_EQ(::mkdir(small.c_str(), 0700), 0);
  if (::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=4m,mode=0700") != 0) GTEST_SKIP() << "may not mount";
  options.directory = small;
  options.slot_count = 1u << 16;
  test::Process child([&] {
    auto made = Segment::create(options);
    if (!made) return 10;
    test::Attached mine(*made);
    const std::uint32_t queue = test::must_queue(**made, "q");
    const std::uint32_t task = test::must_task(**made, "t");
    std::vector<std::byte> payload(3000);
    std::uint64_t accepted = 0;
    for (;; ++accepted) {
      engine::TaskSpec spec;
      spec.queue = queue;
      spec.task = task;
      spec.payload = payload;
      const auto status = mine->enqueue(spec, base::monotonic_ns()).status;
      if (status == engine::EnqueueStatus::kOk) continue;
      if (status != engine::EnqueueStatus::kNoMemory && status != engine::EnqueueStatus::kFull) return 11;
      break;
    }
    if (accepted < 50) return 12;
    // Everything that was accepted can be run, and then there is room again.
    std::uint64_t ran = 0;
    engine::Lease lease;
    engine::TaskView view;
    engine::Keeper keeper(*mine);
    keeper.hold(base::monotonic_ns());
    for (int idle = 0; idle < 3;) {
      if (mine->claim(queue, &lease, 1, base::monotonic_ns()) == 0) {
        keeper.patrol_all(base::monotonic_ns());
        ++idle;
        continue;
      }
      if (!mine->view(lease, view) || view.payload.size() != payload.size()) return 13;
      if (mine->succeed(lease, view, {}, base::monotonic_ns()) != engine::Settled::kDone) return 14;
      ++ran;
    }
    if (ran != accepted) return 15;
    engine::TaskSpec spec;
    spec.queue = queue;
    spec.task = task;
    spec.payload = payload;
    return mine->enqueue(spec, base::monotonic_ns()).status == engine::EnqueueStatus::kOk ? 0 : 16;
  });
  EXPECT_EQ(child.wait(), 0);
  ::umount2(small.c_str(), MNT_DETACH);
}

TEST_F(SegmentTest, NoRoomEvenForAnEmptySegment) {
  const std::string small = scratch.file("tiny");
  ASSERT_EQ(::mkdir(small.c_str(), 0700), 0);
  if (::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=16k,mode=0700") != 0) GTEST_SKIP() << "may not mount";
  options.directory = small;
  const auto made = Segment::create(options);
  EXPECT_FALSE(made);
  if (!made) {
    EXPECT_EQ(made.error().code, Errc::kNoMemory) << made.error().message;
  }
  ::umount2(small.c_str(), MNT_DETACH);
}

TEST_F(SegmentTest, ALimitOnFileSizesIsAnErrorCode) {
  test::Process child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 20, 1 << 20};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 9;
    const auto made = Segment::create(options);
    return !made && !made.error().message.empty() ? 0 : 1;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(SegmentTest, ManyWhoOpenOrCreateAtOnceMeetInOne) {
  std::vector<test::Process> children;
  for (int i = 0; i < 8; ++i) {
    children.emplace_back([&] {
      auto opened = Segment::open_or_create(options);
      if (!opened) return 1;
      (*opened)->header().keeper_passes.fetch_add(1);
      return 0;
    });
  }
  for (auto& child : children) EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(test::must_attach("test", scratch.path())->header().keeper_passes.load(), 8u);
}

TEST_F(SegmentTest, LivesOnWithoutItsName) {
  const auto made = test::must_create(options);
  test::Attached one(made);
  ASSERT_TRUE(Segment::destroy("test", scratch.path()));
  const auto another = Participant::join(made, {Role::kClient, "late"});
  EXPECT_TRUE(another) << "a thread of an attached process may still join";
  EXPECT_EQ(attach_error(), Errc::kNotFound);
}

}  // namespace
}  // namespace stem::shm
