// `stem init-app NAME`: a project with one handler, that builds.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>

#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/commands.hpp"
#include "tools/stem/init_app/app_files.hpp"
#include "tools/stem/settings.hpp"

namespace stem::cli {
namespace {

namespace fs = std::filesystem;

struct InitAppFlags {
  std::string name;
  std::optional<std::string> directory;
};

// Never over a file that is there, not even one that appears in this moment.
Result<void> write_new(const fs::path& path, std::string_view text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) {
    if (errno == EEXIST) return Error{Errc::kRefused, fmt::format("{} is there already", path.native())};
    return system_error(fmt::format("cannot make {}", path.native()));
  }
  Result<void> done;
  while (done.ok() && !text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      done = system_error(fmt::format("cannot write {}", path.native()));
    } else {
      text.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  if (::close(file) != 0 && done.ok()) done = system_error(fmt::format("cannot write {}", path.native()));
  return done;
}

Result<void> make_project(const fs::path& directory, const std::string& name) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return Error{Errc::kSystem, fmt::format("cannot make {}: {}", directory.native(), error.message())};
  const auto files = app_files(name);
  for (const AppFile& file : files) {  // all or none: look first
    if (fs::exists(fs::symlink_status(directory / file.name, error)))
      return Error{Errc::kRefused,
                   fmt::format("{} is there already, and nothing was written", (directory / file.name).native())};
  }
  for (const AppFile& file : files)
    if (auto good = write_new(directory / file.name, file.text); !good) return good;
  return {};
}

int run_init_app(const InitAppFlags& f) {
  if (auto good = check_name(f.name); !good)
    return fail("init-app", Error{Errc::kInvalidArgument, fmt::format("'{}': {}", f.name, good.error().message)});
  const fs::path directory = f.directory.value_or(f.name);
  if (directory.empty()) return fail("init-app", Error{Errc::kInvalidArgument, "--dir: the name is empty"});
  if (auto good = make_project(directory, f.name); !good) return fail("init-app", good.error());
  fmt::print("{} has CMakeLists.txt, main.cpp and README.md. Next:\n\n", directory.native());
  fmt::print("  cd {}\n", directory.native());
  fmt::print("  cmake -B build && cmake --build build\n");
  fmt::print("  ./build/{}-worker --queue {}\n", f.name, f.name);
  fmt::print("\nand in another terminal\n\n");
  fmt::print("  stem enqueue {0}.greet --queue {0} --args '\"world\"' --wait\n", f.name);
  return kExitOk;
}

Run build_init_app(CommandLine& line) {
  auto f = std::make_shared<InitAppFlags>();
  line.argument("NAME", &f->name, "of the project: letters, digits, '.', '_', '-'").required();
  line.text("--dir", &f->directory, "where its files go (default ./NAME)")
      .named("DIRECTORY")
      .completes(Completes::kFiles);
  return [f](const Context&) { return run_init_app(*f); };
}

}  // namespace

std::vector<Command> init_app_commands() {
  return {{.path = "init-app",
           .group = Group::kSetup,
           .help = "Write a small project with a handler of your own",
           .details =
               "A CMakeLists.txt, a main.cpp with one handler, and a README.md with the three commands that build "
               "it, start its worker and give it a task. It builds against the installed package; against a build "
               "tree of Stem with stem_DIR in the environment. Files that are there are not touched: then nothing "
               "is written.",
           .examples = {{"stem init-app greeter", "in ./greeter"}, {"stem init-app greeter --dir src/greeter", ""}},
           .build = build_init_app}};
}

}  // namespace stem::cli
