#include "tools/stem/command_line.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "tools/stem/nearest.hpp"
#include "tools/stem/settings.hpp"

namespace stem::cli {
namespace {

Error refusal(std::string message) { return {Errc::kInvalidArgument, std::move(message)}; }

std::string_view value_name_of(SettingKind kind) {
  switch (kind) {
    case SettingKind::kText: return "TEXT";
    case SettingKind::kName: return "NAME";
    case SettingKind::kNames: return "NAME,...";
    case SettingKind::kWholeNumber: return "N";
    case SettingKind::kDuration: return "DURATION";
    case SettingKind::kChoice: return "CHOICE";
    case SettingKind::kUrl: return "URL";
    case SettingKind::kPath: return "FILE";
    case SettingKind::kKeys: return "ID:KEY,...";
  }
  return "TEXT";
}

Result<double> parse_share(std::string_view text) {
  std::string number(text);
  const bool percent = number.ends_with('%');
  if (percent) number.pop_back();
  char* end = nullptr;
  const bool digits = !number.empty() && number.find_first_not_of("0123456789.") == std::string::npos;
  double value = digits ? std::strtod(number.c_str(), &end) : 0;
  if (percent) value /= 100;
  if (!digits || *end != '\0' || !(value > 0) || !(value <= 1)) {
    return refusal(fmt::format("'{}' is not a share; write a number above 0 and at most 1, such as 0.7 or 70%", text));
  }
  return value;
}

}  // namespace

std::vector<std::string> OptionInfo::name_list() const {
  return positional ? std::vector<std::string>{} : CLI::detail::split(names, ',');
}

std::string OptionInfo::long_name() const {
  const auto list = name_list();
  return list.empty() ? names : list.back();
}

CommandLine::CommandLine() : app_(std::make_unique<CLI::App>()) {
  app_->set_help_flag("-h,--help", "show this help");
  // Unknown words come back to us, so that the message can name the nearest right one.
  app_->allow_extras();
}
CommandLine::~CommandLine() = default;

CommandLine::Declared CommandLine::add(OptionInfo info, CLI::Option* option) {
  infos_.push_back(std::move(info));
  handles_.push_back(option);
  return {*this, infos_.size() - 1};
}

CommandLine::Declared& CommandLine::Declared::required() {
  line_.infos_[index_].required = true;
  line_.handles_[index_]->required();
  return *this;
}

CommandLine::Declared& CommandLine::Declared::named(std::string value_name) {
  line_.infos_[index_].value_name = std::move(value_name);
  return *this;
}

CommandLine::Declared& CommandLine::Declared::helped(std::string help) {
  line_.infos_[index_].help = std::move(help);
  return *this;
}

CommandLine::Declared& CommandLine::Declared::completes(Completes kind) {
  line_.infos_[index_].completes = kind;
  return *this;
}

CommandLine::Declared CommandLine::value(std::string names, Take take, std::string help) {
  OptionInfo info{.names = names, .value_name = "VALUE", .help = std::move(help)};
  const std::string shown = info.long_name();
  auto* option =
      app_->add_option_function<std::string>(names, [take = std::move(take), shown](const std::string& text) {
        const auto taken = take(text);
        if (!taken.ok()) throw CLI::ValidationError(taken.error().within(shown).message);
      });
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  return add(std::move(info), option);
}

CommandLine::Declared CommandLine::joined(std::string names, Take take, std::string help) {
  OptionInfo info{.names = names, .value_name = "NAME,...", .help = std::move(help)};
  info.repeatable = true;
  const std::string shown = info.long_name();
  auto* option = app_->add_option_function<std::vector<std::string>>(
      names, [take = std::move(take), shown](const std::vector<std::string>& texts) {
        const auto taken = take(fmt::format("{}", fmt::join(texts, ",")));
        if (!taken.ok()) throw CLI::ValidationError(taken.error().within(shown).message);
      });
  // One value for each time it is given: what follows is not swallowed.
  option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return add(std::move(info), option);
}

CommandLine::Declared CommandLine::flag(std::string names, bool* target, std::string help) {
  auto* option = app_->add_flag_callback(names, [target] { *target = true; });
  return add({.names = std::move(names), .value_name = "", .help = std::move(help)}, option);
}

CommandLine::Declared CommandLine::text(std::string names, Slot<std::string> slot, std::string help) {
  auto declared = value(
      std::move(names),
      [slot](std::string_view given) -> Result<void> {
        slot.set(std::string(given));
        return {};
      },
      std::move(help));
  return declared.named("TEXT");
}

CommandLine::Declared CommandLine::texts(std::string names, std::vector<std::string>* target, std::string help) {
  auto* option = app_->add_option_function<std::vector<std::string>>(
      names, [target](const std::vector<std::string>& given) { *target = given; });
  // One value for each time it is given: what follows is not swallowed.
  option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return add({.names = std::move(names), .value_name = "TEXT", .help = std::move(help), .repeatable = true}, option);
}

CommandLine::Declared CommandLine::file(std::string names, Slot<std::string> slot, std::string help) {
  return text(std::move(names), std::move(slot), std::move(help)).named("FILE").completes(Completes::kFiles);
}

CommandLine::Declared CommandLine::choice(std::string names, Slot<std::string> slot, std::vector<std::string> choices,
                                          std::string help) {
  auto declared = value(
      std::move(names),
      [slot, choices](std::string_view given) -> Result<void> {
        if (std::find(choices.begin(), choices.end(), given) == choices.end()) {
          return refusal(
              fmt::format("'{}' is none of {}{}", given, fmt::join(choices, ", "), did_you_mean(given, choices)));
        }
        slot.set(std::string(given));
        return {};
      },
      std::move(help));
  infos_.back().choices = choices;
  return declared.named(fmt::format("{}", fmt::join(choices, "|")));
}

CommandLine::Declared CommandLine::count(std::string names, Slot<std::uint64_t> slot, std::string help) {
  return parsed<std::uint64_t>(std::move(names), std::move(slot), base::parse_count, std::move(help)).named("N");
}

CommandLine::Declared CommandLine::duration_ns(std::string names, Slot<std::int64_t> slot, std::string help) {
  return parsed<std::int64_t>(std::move(names), std::move(slot), base::parse_duration_ns, std::move(help))
      .named("DURATION");
}

CommandLine::Declared CommandLine::size_bytes(std::string names, Slot<std::uint64_t> slot, std::string help) {
  return parsed<std::uint64_t>(std::move(names), std::move(slot), base::parse_size_bytes, std::move(help))
      .named("SIZE");
}

CommandLine::Declared CommandLine::rate(std::string names, Slot<base::Rate> slot, std::string help) {
  return parsed<base::Rate>(std::move(names), std::move(slot), base::parse_rate, std::move(help)).named("RATE");
}

CommandLine::Declared CommandLine::when_ns(std::string names, Slot<std::int64_t> slot, Toward toward,
                                           std::string help) {
  return parsed<std::int64_t>(
             std::move(names), std::move(slot),
             [toward](std::string_view text) { return parse_when_ns(text, base::realtime_ns(), toward); },
             std::move(help))
      .named("TIME");
}

CommandLine::Declared CommandLine::share(std::string names, Slot<double> slot, std::string help) {
  return parsed<double>(std::move(names), std::move(slot), parse_share, std::move(help)).named("SHARE");
}

CommandLine::Declared CommandLine::setting(std::string names, std::string_view key) {
  const Setting* setting = find_setting(key);
  STEM_CHECK(setting != nullptr);
  const std::string flag = OptionInfo{.names = names, .value_name = "", .help = ""}.long_name();
  std::string help(setting->help);
  if (!setting->default_text.empty() && setting->default_text.find('{') == std::string_view::npos) {
    help += fmt::format(" (default {})", setting->default_text);
  }
  const auto take = [this, setting, flag](std::string_view given) -> Result<void> {
    settings_[std::string(setting->key)] = {std::string(given), Origin::kFlag, flag};
    return check_setting(*setting, given);
  };
  // A list may also be given by repeating its flag.
  auto declared = setting->kind == SettingKind::kNames ? joined(std::move(names), take, std::move(help))
                                                       : value(std::move(names), take, std::move(help));
  infos_.back().choices.assign(setting->choices.begin(), setting->choices.end());
  if (setting->kind == SettingKind::kPath) declared.completes(Completes::kFiles);
  if (!setting->choices.empty()) return declared.named(fmt::format("{}", fmt::join(setting->choices, "|")));
  return declared.named(std::string(value_name_of(setting->kind)));
}

CommandLine::Declared CommandLine::argument(std::string name, Slot<std::string> slot, std::string help) {
  auto* option = app_->add_option_function<std::string>(name, [slot](const std::string& text) { slot.set(text); });
  OptionInfo info{.names = name, .value_name = name, .help = std::move(help)};
  info.positional = true;
  return add(std::move(info), option);
}

CommandLine::Declared CommandLine::arguments(std::string name, std::vector<std::string>* target, std::string help) {
  auto* option = app_->add_option_function<std::vector<std::string>>(
      name, [target](const std::vector<std::string>& given) { *target = given; });
  OptionInfo info{.names = name, .value_name = name, .help = std::move(help)};
  info.positional = true;
  info.repeatable = true;
  return add(std::move(info), option);
}

std::vector<std::string> CommandLine::unplaced_words() const {
  std::vector<std::string> words = app_->remaining();
  // The mark that ends the flags is kept among them.
  const auto mark = std::find(words.begin(), words.end(), "--");
  if (mark != words.end()) words.erase(mark);
  return words;
}

Error CommandLine::unknown_words(const std::vector<std::string>& words) const {
  const std::string& word = words.front();
  if (!word.starts_with('-') || word == "-" || word == "--") {
    return refusal(fmt::format("there is no place for the argument '{}'", word));
  }
  const std::string name = word.substr(0, word.find('='));
  std::vector<std::string> names{"--help"};
  for (const OptionInfo& info : infos_) {
    for (const std::string& known : info.name_list()) {
      if (known.starts_with("--")) names.push_back(known);
    }
  }
  return refusal(fmt::format("unknown flag {}{}", name, did_you_mean(name, names)));
}

Result<CommandLine::Parsed> CommandLine::parse(const std::vector<std::string>& args) {
  std::vector<std::string> reversed(args.rbegin(), args.rend());  // as CLI11 takes them
  try {
    app_->parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    return Parsed::kHelp;
  } catch (const CLI::RequiredError& error) {
    // A misspelt flag looks like a missing one; the misspelling is the news.
    if (const auto words = unplaced_words(); !words.empty()) return unknown_words(words);
    for (std::size_t i = 0; i < infos_.size(); ++i) {
      if (!infos_[i].required || handles_[i]->count() > 0) continue;
      return refusal(infos_[i].positional
                         ? fmt::format("{} is missing", infos_[i].names)
                         : fmt::format("{} {} is missing", infos_[i].long_name(), infos_[i].value_name));
    }
    return refusal(error.what());
  } catch (const CLI::ValidationError& error) {
    return refusal(error.what());
  } catch (const CLI::ParseError& error) {
    for (std::size_t i = 0; i < infos_.size(); ++i) {
      const bool wants_value = !infos_[i].positional && !infos_[i].value_name.empty();
      if (wants_value && handles_[i]->count() == 0 && handles_[i]->get_callback_run() == false &&
          std::string_view(error.what()).find(infos_[i].long_name()) != std::string_view::npos) {
        return refusal(fmt::format("{} wants a value: {}", infos_[i].long_name(), infos_[i].value_name));
      }
    }
    return refusal(error.what());
  }
  if (const auto words = unplaced_words(); !words.empty()) return unknown_words(words);
  return Parsed::kOk;
}

}  // namespace stem::cli
