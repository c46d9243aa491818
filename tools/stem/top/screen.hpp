// The whole terminal for one command: alternate screen, no cursor, keys at once and not echoed. Taken back
// when it ends, also by a crash.
#pragma once

#include <string>
#include <vector>

namespace stem::cli {

enum class Key { kUp, kDown, kQuit, kPause, kDrain, kReplay, kTimes, kLimits, kYes, kNo, kOther };

class Screen {
 public:
  // stdin and stdout are a terminal. One at a time.
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // From the upper left corner; the rest of the screen is cleared.
  void draw(const std::vector<std::string>& lines);

  // What was typed since; ends the wait of nobody.
  std::vector<Key> keys();
  // False when the terminal has gone away.
  [[nodiscard]] bool open() const { return open_; }

 private:
  bool open_ = true;
};

// Lines of the terminal behind stdout; 0 when it is none.
std::size_t terminal_height();

}  // namespace stem::cli
