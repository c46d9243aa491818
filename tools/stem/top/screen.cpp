#include "tools/stem/top/screen.hpp"

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

namespace stem::cli {
namespace {

constexpr char kEnter[] = "\x1b[?1049h\x1b[?25l\x1b[?7l";  // other screen, no cursor, no line wrap
constexpr char kLeave[] = "\x1b[?7h\x1b[?25h\x1b[?1049l";
constexpr int kFatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

// For the crash handler, which can reach nothing else.
termios found;
volatile std::sig_atomic_t taken = 0;

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void give_back() {
  if (taken == 0) return;
  taken = 0;
  write_all({kLeave, sizeof kLeave - 1});
  ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &found);
}

extern "C" void give_back_and_die(int signal) {
  give_back();
  ::raise(signal);  // SA_RESETHAND: this time it ends the process
}

}  // namespace

Screen::Screen() {
  ::tcgetattr(STDIN_FILENO, &found);
  struct sigaction action {};
  action.sa_handler = give_back_and_die;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  for (const int signal : kFatal) ::sigaction(signal, &action, nullptr);
  termios raw = found;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  raw.c_cc[VMIN] = 0;  // reads return at once
  raw.c_cc[VTIME] = 0;
  raw.c_cc[VSUSP] = _POSIX_VDISABLE;  // a stopped program would leave its screen behind
  taken = 1;
  ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);  // what was typed ahead counts
  write_all({kEnter, sizeof kEnter - 1});
}

Screen::~Screen() {
  give_back();
  for (const int signal : kFatal) ::signal(signal, SIG_DFL);
}

void Screen::draw(const std::vector<std::string>& lines) {
  std::string out = "\x1b[H";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += "\r\n";
    out += "\x1b[K" + lines[i];  // behind a line as wide as the screen it would take the last character
  }
  write_all(out + "\x1b[J");
}

std::vector<Key> Screen::keys() {
  char typed[64];
  const ssize_t count = ::read(STDIN_FILENO, typed, sizeof typed);
  // It said that there was something to read; nothing is the end.
  if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) open_ = false;
  std::vector<Key> keys;
  for (ssize_t i = 0; i < count; ++i) {
    const bool arrow = typed[i] == '\x1b' && i + 2 < count && (typed[i + 1] == '[' || typed[i + 1] == 'O');
    if (arrow) {
      i += 2;
      keys.push_back(typed[i] == 'A' ? Key::kUp : (typed[i] == 'B' ? Key::kDown : Key::kOther));
      continue;
    }
    switch (typed[i]) {
      case 'q':
      case 'Q': keys.push_back(Key::kQuit); break;
      case 'k': keys.push_back(Key::kUp); break;
      case 'j': keys.push_back(Key::kDown); break;
      case 'p': keys.push_back(Key::kPause); break;
      case 'd': keys.push_back(Key::kDrain); break;
      case 'r': keys.push_back(Key::kReplay); break;
      case 'h': keys.push_back(Key::kTimes); break;
      case 'l': keys.push_back(Key::kLimits); break;
      case 'y':
      case 'Y': keys.push_back(Key::kYes); break;
      case 'n':
      case 'N':
      case '\x1b': keys.push_back(Key::kNo); break;
      default: keys.push_back(Key::kOther);
    }
  }
  return keys;
}

std::size_t terminal_height() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_row;
}

}  // namespace stem::cli
