// The flags and arguments of one command: declared with their types, parsed by CLI11, and known by name
// to help and completion. Durations, sizes, rates and counts are read by base/units, so that they mean
// the same on every flag.
//
// Every declaring function takes the flag's names ("-q,--queue"), where the value goes (a T* or a
// std::optional<T>*), and one line of help without a full stop. A flag given twice keeps its last
// value, except where all values are collected.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/units.hpp"
#include "tools/stem/config.hpp"
#include "tools/stem/when.hpp"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace stem::cli {

// Where a parsed value goes.
template <class T>
class Slot {
 public:
  Slot(T* target) : store_([target](T value) { *target = std::move(value); }) {}  // NOLINT
  Slot(std::optional<T>* target)                                                  // NOLINT
      : store_([target](T value) { *target = std::move(value); }) {}
  void set(T value) const { store_(std::move(value)); }

 private:
  std::function<void(T)> store_;
};

enum class Completes { kNothing, kFiles };

// What help and completion say about one flag or argument.
struct OptionInfo {
  std::string names;       // "-q,--queue"; for an argument its name, "TASK"
  std::string value_name;  // "DURATION"; empty for a switch
  std::string help;
  std::vector<std::string> choices = {};
  Completes completes = Completes::kNothing;
  bool positional = false;
  bool repeatable = false;
  bool required = false;
  bool common = false;  // one that the frame adds to every command

  [[nodiscard]] std::vector<std::string> name_list() const;  // {"-q", "--queue"}
  [[nodiscard]] std::string long_name() const;               // "--queue"
};

class CommandLine {
 public:
  CommandLine();
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // Tweaks what was declared last: line.text(...).required().named("ID").
  class Declared {
   public:
    Declared& required();
    Declared& named(std::string value_name);
    Declared& helped(std::string help);
    Declared& completes(Completes kind);

   private:
    friend class CommandLine;
    Declared(CommandLine& line, std::size_t index) : line_(line), index_(index) {}
    CommandLine& line_;
    std::size_t index_;
  };

  Declared flag(std::string names, bool* target, std::string help);
  Declared text(std::string names, Slot<std::string> slot, std::string help);
  // May be given many times.
  Declared texts(std::string names, std::vector<std::string>* target, std::string help);
  Declared file(std::string names, Slot<std::string> slot, std::string help);
  Declared choice(std::string names, Slot<std::string> slot, std::vector<std::string> choices, std::string help);
  Declared count(std::string names, Slot<std::uint64_t> slot, std::string help);
  Declared duration_ns(std::string names, Slot<std::int64_t> slot, std::string help);
  Declared size_bytes(std::string names, Slot<std::uint64_t> slot, std::string help);
  Declared rate(std::string names, Slot<base::Rate> slot, std::string help);
  // A point in time, as nanoseconds of CLOCK_REALTIME; what a bare duration means is `toward`.
  Declared when_ns(std::string names, Slot<std::int64_t> slot, Toward toward, std::string help);
  // A share as 0.7 or 70%, above 0 and at most 1.
  Declared share(std::string names, Slot<double> slot, std::string help);
  // Anything else: the parser's error becomes the usage message.
  template <class T>
  Declared parsed(std::string names, Slot<T> slot, std::function<Result<T>(std::string_view)> parse, std::string help) {
    return value(
        std::move(names),
        [slot, parse](std::string_view text) -> Result<void> {
          auto result = parse(text);
          if (!result.ok()) return result.error();
          slot.set(std::move(*result));
          return {};
        },
        std::move(help));
  }
  // A flag for a setting of the settings table; read it from the context's config. The setting's help
  // and choices are the flag's.
  Declared setting(std::string names, std::string_view key);

  // Arguments without a flag, in order; the last may take all that remain.
  Declared argument(std::string name, Slot<std::string> slot, std::string help);
  Declared arguments(std::string name, std::vector<std::string>* target, std::string help);

  // What follows is for the frame, help and completion.
  void mark_common(std::size_t first) {
    for (std::size_t i = first; i < infos_.size(); ++i) infos_[i].common = true;
  }
  [[nodiscard]] const std::vector<OptionInfo>& options() const { return infos_; }
  [[nodiscard]] const ConfigValues& given_settings() const { return settings_; }

  enum class Parsed { kOk, kHelp };
  Result<Parsed> parse(const std::vector<std::string>& args);

 private:
  using Take = std::function<Result<void>(std::string_view)>;
  Declared value(std::string names, Take take, std::string help);
  // Names, not any text: all values that were given, with commas between.
  Declared joined(std::string names, Take take, std::string help);
  Declared add(OptionInfo info, CLI::Option* option);
  [[nodiscard]] std::vector<std::string> unplaced_words() const;
  [[nodiscard]] Error unknown_words(const std::vector<std::string>& words) const;

  std::unique_ptr<CLI::App> app_;
  std::vector<OptionInfo> infos_;
  std::vector<CLI::Option*> handles_;  // one for each of infos_, owned by app_
  ConfigValues settings_;
};

}  // namespace stem::cli
