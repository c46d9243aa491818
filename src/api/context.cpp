#include "stem/context.hpp"

#include <nlohmann/json.hpp>

#include "engine/trace.hpp"

namespace stem {

const Headers& Context::headers() const {
  if (headers_) return *headers_;
  headers_ = std::make_unique<Headers>();
  const auto json = nlohmann::json::parse(backend_.headers_json(), nullptr, /*allow_exceptions=*/false);
  if (json.is_object())
    for (const auto& [name, value] : json.items())
      if (value.is_string()) headers_->emplace(name, value.get<std::string>());
  return *headers_;
}

std::string Context::header(std::string_view name) const {
  const auto found = headers().find(name);
  return found == headers().end() ? std::string() : found->second;
}

std::string Context::traceparent() const {
  const std::string_view parent = engine::traceparent_of(backend_.headers_json());
  return parent.empty() ? std::string() : engine::child_traceparent(parent, id(), attempt());
}

const EnqueueOptions& Context::with_trace(const EnqueueOptions& options, std::optional<EnqueueOptions>& room) const {
  std::string trace = traceparent();
  if (trace.empty() || options.headers.count("traceparent") != 0) return options;
  room = options;
  room->headers["traceparent"] = std::move(trace);
  return *room;
}

std::string_view Context::meta() const { return backend_.meta_json(); }

std::optional<std::chrono::steady_clock::time_point> Context::deadline() const {
  const std::int64_t ns = backend_.deadline_ns();
  if (ns == 0) return {};
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(ns));
}

}  // namespace stem
