// The files of a new project, as `stem init-app` writes them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stem::cli {

struct AppFile {
  std::string name;
  std::string text;
};

// `name` is one that check_name() takes.
std::vector<AppFile> app_files(std::string_view name);

}  // namespace stem::cli
