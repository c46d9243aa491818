// Files, sockets and programs, by coroutine, on both back ends; and what each says when it is called off.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/clock.hpp"
#include "stem/co.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/wait.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

class Input : public testing::TestWithParam<io::Backend> {
 protected:
  void SetUp() override {
    auto made = io::Loop::create(GetParam());
    ASSERT_TRUE(made.ok()) << made.error().message;
    loop = *std::move(made);
    (void)run(read_file("/proc/self/status"));  // what the first file makes (threads) stays
    frames_before_ = co::frame_use().frames;
    descriptors_before_ = open_descriptors();
  }
  void TearDown() override {
    EXPECT_EQ(co::frame_use().frames, frames_before_);
    EXPECT_EQ(open_descriptors(), descriptors_before_);
  }
  template <class T>
  T run(Co<T> main) {
    return run_on(*loop, std::move(main));
  }
  std::unique_ptr<io::Loop> loop;
  test::ScratchDirectory directory;

 private:
  std::uint64_t frames_before_ = 0;
  std::size_t descriptors_before_ = 0;
};
INSTANTIATE_TEST_SUITE_P(BackEnds, Input, testing::Values(io::Backend::kUring, io::Backend::kEpoll),
                         [](const auto& one) { return one.param == io::Backend::kUring ? "uring" : "epoll"; });

std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 131 + i / 251);
  return text;
}

TEST_P(Input, FilesComeBackAsTheyWereWritten) {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{4095}, std::size_t{3'000'001}}) {
    const std::string path = directory.file("file"), text = pattern(bytes);
    ASSERT_TRUE(run(write_file(path, text)).ok());
    auto back = run(read_file(path));
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_TRUE(*back == text) << bytes;
  }
}

TEST_P(Input, FilesTellTheirSizeAndAreReadAnywhere) {
  const std::string path = directory.file("file");
  ASSERT_TRUE(run(write_file(path, "0123456789")).ok());
  const auto body = [](std::string file_path) -> Co<std::string> {
    auto info = co_await File::stat(file_path);
    auto file = co_await File::open(file_path);
    std::string bytes(4, '?');
    auto got = co_await file->read(std::as_writable_bytes(std::span(bytes)), 3);
    auto own = co_await file->stat();
    (void)co_await file->sync();
    auto closed = co_await file->close();
    auto again = co_await file->close();
    co_return bytes.substr(0, *got) + " of " + std::to_string(info->bytes) + " and " + std::to_string(own->bytes) +
        (closed.ok() && again.ok() ? "" : " not closed");
  };
  EXPECT_EQ(run(body(path)), "3456 of 10 and 10");
}

TEST_P(Input, WhatIsNotThereIsNotFoundAndNamed) {
  const auto file = run(read_file(directory.file("nothing")));
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().code, Errc::kNotFound);
  EXPECT_NE(file.error().message.find("nothing: No such file"), std::string::npos) << file.error().message;
  const auto socket = run(Socket::connect_unix(directory.file("nobody")));
  ASSERT_FALSE(socket.ok());
  EXPECT_EQ(socket.error().code, Errc::kNotFound);
}

TEST_P(Input, AFileBeyondItsLimitIsTooLarge) {
  const std::string path = directory.file("file");
  ASSERT_TRUE(run(write_file(path, pattern(10'000))).ok());
  EXPECT_TRUE(run(read_file(path, 10'000)).ok());
  const auto text = run(read_file(path, 9'999));
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().code, Errc::kTooLarge);
}

// The largest number there is, and what comes after it is 0.
TEST_P(Input, NoLimitIsNoLimit) {
  const std::string path = directory.file("file"), text = pattern(10'000);
  ASSERT_TRUE(run(write_file(path, text)).ok());
  for (const std::size_t most : {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2}) {
    const auto back = run(read_file(path, most));
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_TRUE(*back == text);
  }
}

Co<void> echo(Socket socket) {
  std::array<char, 1000> buffer;
  for (;;) {
    auto got = co_await socket.read(buffer);
    if (!got || *got == 0) co_return;
    if (auto wrote = co_await socket.write_all({buffer.data(), *got}); !wrote) co_return;
  }
}

Co<Result<std::string>> ask(const std::string& text, Result<Socket> connected) {
  if (!connected) co_return connected.error();
  Socket socket = std::move(*connected);
  std::string back;
  const auto send = [&]() -> Co<void> {
    (void)co_await socket.write_all(text);
    (void)socket.finish_writing();
  };
  const auto receive = [&]() -> Co<void> {
    std::array<char, 4096> buffer;
    for (;;) {
      auto got = co_await socket.read(buffer);
      if (!got || *got == 0) co_return;
      back.append(buffer.data(), *got);
    }
  };
  co_await when_all(send(), receive());
  co_return back;
}

Co<Result<Listener>> listen_at(const std::string& unix_path) {
  return unix_path.empty() ? Listener::tcp("127.0.0.1", 0) : Listener::unix_socket(unix_path);
}
Co<Result<Socket>> connect_to(const std::string& unix_path, std::uint16_t port) {
  return unix_path.empty() ? Socket::connect("127.0.0.1", port) : Socket::connect_unix(unix_path);
}

// As many clients as `texts`, one listener, one loop.
Co<std::size_t> talk(std::string unix_path, const std::vector<std::string>& texts) {
  auto listener = co_await listen_at(unix_path);
  if (!listener) throw std::runtime_error(listener.error().message);
  std::size_t right = 0, over = 0;
  Nursery* all = nullptr;
  const auto client = [&](const std::string& text) -> Co<void> {
    auto socket = co_await connect_to(unix_path, listener->port());
    auto back = co_await ask(text, std::move(socket));
    right += back.ok() && *back == text;
    if (++over == texts.size()) all->cancel();  // the listener waits for ever
  };
  co_await with_nursery([&](Nursery& nursery) -> Co<void> {
    all = &nursery;
    for (const std::string& text : texts) nursery.start(client(text));
    for (;;) {
      auto accepted = co_await listener->accept();
      if (!accepted) co_return;
      nursery.start(echo(std::move(*accepted)));
    }
  });
  co_return right;
}

TEST_P(Input, SocketsCarryWhatTheyAreGiven) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 20; ++i) texts.push_back(pattern(i * 50'000));
  EXPECT_EQ(run(talk("", texts)), texts.size());
  EXPECT_EQ(run(talk(directory.file("socket"), texts)), texts.size());
}

template <class T>
Co<Errc> code_of(Co<Result<T>> what) {
  auto result = co_await std::move(what);
  co_return result.ok() ? Errc::kFull : result.error().code;
}

TEST_P(Input, EveryWaitOnASocketCanBeCalledOff) {
  const auto never_readable = []() -> Co<Result<std::size_t>> {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    const Socket one(ends[0]), other(ends[1]);
    std::array<char, 16> buffer;
    co_return co_await one.read(buffer);
  };
  const auto never_accepted = []() -> Co<Result<Socket>> {
    auto listener = co_await Listener::tcp("127.0.0.1", 0);
    co_return co_await listener->accept();
  };
  EXPECT_EQ(run(within(milliseconds(5), code_of(never_readable()))), Errc::kTimeout);
  EXPECT_EQ(run(within(milliseconds(5), code_of(never_accepted()))), Errc::kTimeout);
}

TEST_P(Input, ProgramsAreRunWithTheirThreePipes) {
  Command cat("sh", "-c", "cat; echo wrong >&2; exit 7");
  cat.input = pattern(200'000);
  const auto done = run(run_command(cat));
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_TRUE(done->output == pattern(200'000));
  EXPECT_EQ(done->errors, "wrong\n");
  EXPECT_EQ(done->exit_code, 7);
  const auto killed = run(run_command(Command("sh", "-c", "kill -SEGV $$")));
  ASSERT_TRUE(killed.ok());
  EXPECT_EQ(killed->exit_code, -1);
  EXPECT_EQ(killed->signal, SIGSEGV);
}

TEST_P(Input, AProgramThatIsNotThereOrSaysTooMuchIsAnError) {
  const auto none = run(run_command(Command("no-such-program-at-all")));
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, Errc::kNotFound);
  Command yes("sh", "-c", "yes");
  yes.most_bytes = 1000;
  const auto loud = run(run_command(yes));
  ASSERT_FALSE(loud.ok());
  EXPECT_EQ(loud.error().code, Errc::kTooLarge) << loud.error().message;
  EXPECT_FALSE(run(run_command(Command(std::vector<std::string>()))).ok());
}

TEST_P(Input, AProgramMaySayExactlyAsMuchAsItMay) {
  Command exact("sh", "-c", "head -c 20000 /dev/zero; head -c 20000 /dev/zero >&2");
  exact.most_bytes = 20'000;
  const auto done = run(run_command(exact));
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(done->output.size(), 20'000u);
  EXPECT_EQ(done->errors.size(), 20'000u);
  EXPECT_EQ(done->exit_code, 0);
  exact.most_bytes = 19'999;
  const auto more = run(run_command(exact));
  ASSERT_FALSE(more.ok());
  EXPECT_EQ(more.error().code, Errc::kTooLarge);
}

TEST(Commands, OneThatDoesNotReadItsInputEndsNobody) {
  test::Process child([] {
    ::signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    Command deaf("sh", "-c", "exec <&-; echo deaf");
    deaf.input = pattern(3'000'000);
    for (int i = 0; i < 10; ++i) {
      const auto done = run_blocking(run_command(deaf));
      if (!done.ok() || done->output != "deaf\n") return 1;
    }
    sigset_t now, pending;
    ::sigprocmask(SIG_SETMASK, nullptr, &now);
    ::sigpending(&pending);
    return sigismember(&now, SIGPIPE) != 0 || sigismember(&pending, SIGPIPE) != 0 ? 2 : 0;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST_P(Input, ACancelledProgramIsKilledWithWhatItStarted) {
  const std::string pids = directory.file("pids");
  // Called off when both are there, however long that takes.
  const auto body = [&]() -> Co<Errc> {
    const auto program = [&]() -> Co<Errc> {
      co_return co_await code_of(run_command(Command("sh", "-c", "sleep 1000 & echo $! $$ > " + pids + "; wait")));
    };
    const auto watch = [&]() -> Co<Errc> {
      for (std::string line; !std::getline(std::ifstream(pids), line);) (void)co_await sleep(milliseconds(1));
      co_return Errc::kFull;
    };
    Errc seen = Errc::kFull;
    const auto note = [&]() -> Co<Errc> { co_return seen = co_await program(); };
    (void)co_await when_any(note(), watch());
    co_return seen;
  };
  EXPECT_EQ(run(body()), Errc::kCancelled);
  std::ifstream file(pids);
  pid_t child = 0, shell = 0;
  ASSERT_TRUE(file >> child >> shell);
  const auto gone = [](pid_t pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    return !std::getline(stat, text) || text.find(") Z ") != std::string::npos;
  };
  EXPECT_TRUE(gone(shell));
  EXPECT_TRUE(test::wait_until([&] { return gone(child); }, std::chrono::seconds(20)));
}

TEST_P(Input, ABackgroundChildThatKeepsThePipesDoesNotKeepTheHandler) {
  const std::int64_t from = base::monotonic_ns();
  const auto done = run(run_command(Command("sh", "-c", "sleep 1000 & echo started")));
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(done->output, "started\n");
  EXPECT_LT(base::monotonic_ns() - from, 100'000'000'000);
}

}  // namespace
}  // namespace stem
