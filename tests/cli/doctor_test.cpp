// The doctor is shown hosts with something wrong: limits and seccomp filters are set on it alone.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <nlohmann/json.hpp>

#include "run_stem.hpp"

namespace stem::cli_test {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

nlohmann::json check(const nlohmann::json& report, const std::string& name) {
  for (const auto& finding : report["checks"]) {
    if (finding["name"] == name) return finding;
  }
  ADD_FAILURE() << "no check " << name;
  return {};
}

// The system call fails with `error`; with `argument` only when its second argument is that.
std::function<void()> refusing(long call, int error, int argument = -1) {
  return [=] {
    const auto nr = static_cast<unsigned>(call);
    const auto refuse = SECCOMP_RET_ERRNO | static_cast<unsigned>(error);
    std::vector<sock_filter> program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 3),
                                     BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
                                     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(argument), 0, 1),
                                     BPF_STMT(BPF_RET | BPF_K, refuse),
                                     BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    if (argument < 0) {
      program = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, refuse),
                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    }
    sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
      _exit(125);
    }
  };
}

struct Report {
  int exit_code = -1;
  nlohmann::json json;
};

Report examine(std::function<void()> in_child = {}) {
  const Outcome outcome = run_stem({"doctor", "--json"}, {.in_child = std::move(in_child)});
  Report report{outcome.exit_code, nlohmann::json::parse(outcome.out, nullptr, false)};
  EXPECT_FALSE(report.json.is_discarded()) << outcome.out << outcome.err;
  return report;
}

TEST(Doctor, LooksAtEverythingItPromises) {
  const Report report = examine();
  for (const char* name :
       {"shared-memory", "huge-pages", "memlock", "memory-limit", "cpu-governor", "cpu-quota", "isolated-cpus",
        "clock-source", "death-signal", "ofd-locks", "pidfd", "futex_waitv", "io_uring", "core-dumps", "boot-id"}) {
    const auto finding = check(report.json, name);
    EXPECT_THAT(finding["status"], AnyOf("ok", "warn", "fail")) << name;
    EXPECT_NE(finding["found"], "") << name;
    EXPECT_NE(finding["why"], "") << name;
    if (finding["status"] != "ok") {
      EXPECT_NE(finding["mend"], "") << name;
    }
  }
  std::map<std::string, int> counted;
  for (const auto& finding : report.json["checks"]) ++counted[finding["status"]];
  EXPECT_EQ(report.json["summary"]["ok"], counted["ok"]);
  EXPECT_EQ(report.json["summary"]["warn"], counted["warn"]);
  EXPECT_EQ(report.json["summary"]["fail"], counted["fail"]);
  EXPECT_EQ(report.exit_code, counted["fail"] > 0 ? 70 : 0);
}

TEST(Doctor, NoticesThatIoUringIsRefused) {
  for (const int error : {EPERM, ENOSYS}) {
    const Report report = examine(refusing(SYS_io_uring_setup, error));
    EXPECT_EQ(check(report.json, "io_uring")["status"], "warn");
  }
}

TEST(Doctor, NoticesThatFutexWaitvAndPidfdAreMissing) {
  EXPECT_EQ(check(examine(refusing(449, ENOSYS)).json, "futex_waitv")["status"], "warn");
  EXPECT_EQ(check(examine(refusing(SYS_pidfd_open, ENOSYS)).json, "pidfd")["status"], "warn");
}

TEST(Doctor, FailsWithoutOfdLocks) {
  const Report report = examine(refusing(SYS_fcntl, EINVAL, F_OFD_SETLK));
  EXPECT_EQ(check(report.json, "ofd-locks")["status"], "fail");
  EXPECT_EQ(report.exit_code, 70);
}

TEST(Doctor, FailsWhenADeathGivesNoSignal) {
  const Report report = examine(refusing(SYS_set_robust_list, ENOSYS));
  EXPECT_EQ(check(report.json, "death-signal")["status"], "fail");
  EXPECT_EQ(report.exit_code, 70);
}

TEST(Doctor, SeesALowLimitOfLockedMemory) {
  const Report report = examine([] {
    const rlimit limit{65'536, 65'536};
    setrlimit(RLIMIT_MEMLOCK, &limit);
  });
  const auto finding = check(report.json, "memlock");
  EXPECT_EQ(finding["status"], "warn");
  EXPECT_THAT(finding["found"].get<std::string>(), HasSubstr("64.0 KiB"));
}

TEST(Doctor, CountsTheCpusItMayUse) {
  const Report report = examine([] {
    cpu_set_t all;
    sched_getaffinity(0, sizeof all, &all);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &all)) continue;
      CPU_SET(cpu, &one);
      break;
    }
    sched_setaffinity(0, sizeof one, &one);
  });
  EXPECT_EQ(report.json["host"]["cpus"], 1);
}

TEST(Doctor, TellsPeopleWhyAndHowOnlyWhereItMatters) {
  const auto low_memlock = [] {
    const rlimit limit{4'096, 4'096};
    setrlimit(RLIMIT_MEMLOCK, &limit);
  };
  const Outcome shown = run_stem({"doctor"}, {.in_child = low_memlock});
  EXPECT_THAT(shown.out, HasSubstr("memlock"));
  EXPECT_THAT(shown.out, HasSubstr("ulimit -l unlimited"));
  EXPECT_THAT(shown.out, Not(HasSubstr("mount /proc"))) << "boot-id is in order";
  EXPECT_THAT(run_stem({"doctor", "--all"}).out, HasSubstr("mount /proc"));
}

}  // namespace
}  // namespace stem::cli_test
