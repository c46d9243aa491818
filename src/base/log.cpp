#include "base/log.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace stem::log {
namespace {

constexpr std::array<std::pair<std::string_view, Level>, 6> kLevels{{{"trace", Level::kTrace},
                                                                     {"debug", Level::kDebug},
                                                                     {"info", Level::kInfo},
                                                                     {"warn", Level::kWarn},
                                                                     {"error", Level::kError},
                                                                     {"off", Level::kOff}}};

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kTrace: return spdlog::level::trace;
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarn: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
    case Level::kOff: return spdlog::level::off;
  }
  return spdlog::level::info;
}

std::string_view colour_of(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::err: return "\x1b[31m";
    case spdlog::level::warn: return "\x1b[33m";
    case spdlog::level::info: return "\x1b[32m";
    default: return "\x1b[2m";
  }
}

bool colour_wanted() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return isatty(STDERR_FILENO) != 0 && (no_color == nullptr || *no_color == '\0') && term != nullptr &&
         std::string_view(term) != "dumb";
}

void write_all(std::string_view line) {
  while (!line.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // nowhere left to report it
    line.remove_prefix(static_cast<std::size_t>(written));
  }
}

// spdlog's own stderr sinks write a coloured line in several pieces, which the pieces of other
// processes would come between.
class LineSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LineSink(bool colour) : colour_(colour) {}

  // A fork while another thread is writing would leave the child a lock that nobody opens.
  void lock_for_fork() { mutex_.lock(); }
  void unlock_after_fork() { mutex_.unlock(); }

  void set_colour(bool colour) {
    const std::lock_guard lock(mutex_);
    colour_ = colour;
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    const std::string_view text(line.data(), line.size());
    if (!colour_ || message.color_range_end <= message.color_range_start) return write_all(text);
    const auto start = message.color_range_start;
    const auto end = message.color_range_end;
    write_all(fmt::format("{}{}{}\x1b[0m{}", text.substr(0, start), colour_of(message.level),
                          text.substr(start, end - start), text.substr(end)));
  }
  void flush_() override {}

 private:
  bool colour_;
};

// The level as STEM_LOG spells it (spdlog's own names differ).
class LevelName final : public spdlog::custom_flag_formatter {
 public:
  explicit LevelName(std::size_t width) : width_(width) {}

  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    for (const auto& [name, level] : kLevels) {
      if (to_spdlog(level) != message.level) continue;
      const std::string padded = fmt::format("{:<{}}", name, width_);
      out.append(padded.data(), padded.data() + padded.size());
    }
  }
  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<LevelName>(width_);
  }

 private:
  std::size_t width_;
};

std::unique_ptr<spdlog::formatter> make_formatter(bool json) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>(json ? spdlog::pattern_time_type::utc
                                                                    : spdlog::pattern_time_type::local);
  formatter->add_flag<LevelName>('N', json ? 0U : 5U);
  formatter->set_pattern(json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%fZ","level":"%N",%v})" : "%H:%M:%S.%e %^%N%$ %v");
  return formatter;
}

struct Log {
  std::shared_ptr<LineSink> sink = std::make_shared<LineSink>(false);
  spdlog::logger logger{"stem", sink};
  std::atomic<Format> format{Format::kPretty};
};

void apply(Log& log, const Settings& settings) {
  const bool json = settings.format == Format::kJson;
  log.sink->set_colour(!json && colour_wanted());
  log.sink->set_formatter(make_formatter(json));
  log.logger.set_level(to_spdlog(settings.level));
  log.format.store(settings.format, std::memory_order_relaxed);
}

Log& the_log();

Log* make_log() {
  auto* log = new Log;  // lives for ever: destructors and exit handlers may still log
  const auto settings = settings_from_environment();
  apply(*log, settings.ok() ? *settings : Settings{});
  pthread_atfork([] { the_log().sink->lock_for_fork(); }, [] { the_log().sink->unlock_after_fork(); },
                 [] { the_log().sink->unlock_after_fork(); });
  if (!settings.ok()) log->logger.warn("{}; using the default", settings.error().message);
  return log;
}

Log& the_log() {
  static Log* const log = make_log();
  return *log;
}

std::string json_text(std::string_view text, bool ascii_only = false) {
  return nlohmann::json(text).dump(-1, ' ', ascii_only, nlohmann::json::error_handler_t::replace);
}

// Control characters, those of U+0080 to U+009F among them (0xc2 0x9b begins a terminal command).
bool has_controls(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f) return true;
    if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      return true;
    }
  }
  return false;
}

// As it is when it can stand alone, quoted and escaped when it cannot: a line stays a line, and no
// terminal command hidden in a task's error text is obeyed.
std::string pretty_text(std::string_view text, bool spaces_are_plain) {
  if (has_controls(text)) return json_text(text, true);
  if (spaces_are_plain) return std::string(text);
  const bool alone = !text.empty() && text.find_first_of(" \"=") == std::string_view::npos;
  return alone ? std::string(text) : json_text(text);
}

std::string number_text(double value) {
  return value == value && value - value == 0 ? fmt::format("{}", value) : "null";  // no NaN in JSON
}

std::string render(const Value& value, bool json) {
  return std::visit(
      [&](const auto& held) -> std::string {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::same_as<Held, std::string_view>) {
          return json ? json_text(held) : pretty_text(held, false);
        } else if constexpr (std::same_as<Held, double>) {
          return number_text(held);
        } else {
          return fmt::format("{}", held);
        }
      },
      value.get());
}

template <class T, std::size_t N>
Result<T> pick(const std::array<std::pair<std::string_view, T>, N>& table, std::string_view text,
               std::string_view what) {
  std::string names;
  for (const auto& [name, value] : table) {
    if (name == text) return value;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  }
  return Error{Errc::kInvalidArgument, fmt::format("{} is not a {} (one of {})", json_text(text), what, names)};
}

}  // namespace

Result<Level> parse_level(std::string_view text) { return pick(kLevels, text, "log level"); }

Result<Format> parse_format(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, Format>, 2> kFormats{
      {{"pretty", Format::kPretty}, {"json", Format::kJson}}};
  return pick(kFormats, text, "log format");
}

Result<Settings> settings_from_environment() {
  Settings settings;
  if (const char* text = std::getenv("STEM_LOG"); text != nullptr && *text != '\0') {
    const auto level = parse_level(text);
    if (!level.ok()) return level.error().within("STEM_LOG");
    settings.level = *level;
  }
  if (const char* text = std::getenv("STEM_LOG_FORMAT"); text != nullptr && *text != '\0') {
    const auto format = parse_format(text);
    if (!format.ok()) return format.error().within("STEM_LOG_FORMAT");
    settings.format = *format;
  }
  return settings;
}

void configure(Settings settings) { apply(the_log(), settings); }

bool enabled(Level level) { return level != Level::kOff && the_log().logger.should_log(to_spdlog(level)); }

void write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (!enabled(level)) return;
  Log& log = the_log();
  const bool json = log.format.load(std::memory_order_relaxed) == Format::kJson;
  std::string line =
      json ? fmt::format(R"("pid":{},"message":{})", getpid(), json_text(message)) : pretty_text(message, true);
  if (!json && fields.size() > 0) line += ' ';
  for (const Field& field : fields) {
    line += json ? fmt::format(",{}:{}", json_text(field.key), render(field.value, true))
                 : fmt::format(" {}={}", field.key, render(field.value, false));
  }
  log.logger.log(to_spdlog(level), std::string_view(line));
}

}  // namespace stem::log
