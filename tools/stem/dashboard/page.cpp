#include "tools/stem/dashboard/page.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace stem::cli {
namespace {

constexpr std::array<std::string_view, 7> kViews{"/",        "/tasks",     "/task",      "/dead",
                                                 "/workers", "/schedules", "/federation"};

// Nothing but what this program serves: no script, style, picture or connection from anywhere else, none written into
// the page, and no page around it. Text that became markup would stay dead.
constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

std::string type_of(std::string_view path) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kTypes{
      {{".html", "text/html; charset=utf-8"},
       {".js", "text/javascript; charset=utf-8"},
       {".css", "text/css; charset=utf-8"},
       {".svg", "image/svg+xml"}}};
  for (const auto& [end, type] : kTypes)
    if (path.ends_with(end)) return std::string(type);
  return "application/octet-stream";
}

}  // namespace

std::optional<WebAnswer> page_answer(const WebRequest& request) {
  const bool is_view = std::find(kViews.begin(), kViews.end(), request.path) != kViews.end();
  const std::string_view wanted = is_view ? std::string_view("/index.html") : std::string_view(request.path);
  for (const EmbeddedFile& file : embedded_files()) {
    if (file.path != wanted) continue;
    WebAnswer answer{200,
                     type_of(file.path),
                     "",
                     {{"Content-Security-Policy", std::string(kPolicy)},
                      {"X-Content-Type-Options", "nosniff"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cross-Origin-Opener-Policy", "same-origin"},
                      {"Cross-Origin-Resource-Policy", "same-origin"},
                      {"Cache-Control", "no-cache"},
                      {"ETag", std::string(file.tag)}}};
    if (request.header("If-None-Match") == file.tag)
      answer.status = 304;
    else
      answer.body = file.bytes;
    return answer;
  }
  return std::nullopt;
}

}  // namespace stem::cli
