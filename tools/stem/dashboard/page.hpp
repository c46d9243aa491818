// The page's files, which the build puts into the program (page/, cmake/embed_files.cmake), and how a browser is to
// treat them.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "tools/stem/dashboard/web_server.hpp"

namespace stem::cli {

struct EmbeddedFile {
  std::string_view path;  // "/views/tasks.js"
  std::string_view tag;   // changes with the bytes
  std::string_view bytes;
};
std::span<const EmbeddedFile> embedded_files();

// A file of the page, or the page itself for the addresses of its views; nothing for all else.
std::optional<WebAnswer> page_answer(const WebRequest& request);

}  // namespace stem::cli
