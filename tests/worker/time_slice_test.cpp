// A supervisor and its workers run soon after they are woken (time_slice.hpp).
#include "worker/time_slice.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "tests/support/process.hpp"

namespace stem::worker {
namespace {

// As the kernel says; 0 where it knows of no slices (before 6.12).
std::uint64_t slice_ns() {
  std::array<std::uint64_t, 6> attributes{};
  if (::syscall(SYS_sched_getattr, 0, attributes.data(), sizeof attributes, 0) != 0) return 0;
  return attributes[3];
}

TEST(TimeSlice, IsShortAlsoForWhoIsForkedAndChangesNothingElse) {
  const bool has_slices = slice_ns() != 0;
  test::Process process([&] {
    if (::setpriority(PRIO_PROCESS, 0, 3) != 0) return 1;
    ask_for_short_slices();
    if (::getpriority(PRIO_PROCESS, 0) != 3 || ::sched_getscheduler(0) != SCHED_OTHER) return 2;
    test::Process child([&] { return !has_slices || slice_ns() == 100'000 ? 0 : 3; });
    return child.wait();
  });
  EXPECT_EQ(process.wait(), 0);
}

TEST(TimeSlice, IsLeftAloneUnderAnotherPolicy) {
  test::Process process([] {
    const sched_param none{};
    if (::sched_setscheduler(0, SCHED_BATCH, &none) != 0) return 1;
    const std::uint64_t before = slice_ns();
    ask_for_short_slices();
    return ::sched_getscheduler(0) == SCHED_BATCH && slice_ns() == before ? 0 : 2;
  });
  EXPECT_EQ(process.wait(), 0);
}

}  // namespace
}  // namespace stem::worker
