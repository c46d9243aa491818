// What a command line or a line of a JSONL file asks to be enqueued.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "stem/client.hpp"

namespace stem::cli {

struct Order {
  std::string task;
  std::string payload;
  EnqueueOptions options;  // options.queue is always set
};

// JSON as the bytes that a task carries. kInvalidArgument says where it is none, or that it is nested too
// deeply.
Result<std::string> payload_of(std::string_view json_text);

// A JSONL line, in front of the flags. When the command names a task, a line is that task's arguments; an
// object that has "args" and otherwise only keys of the list in order.cpp is an order of its own. When it
// names none, every line is such an order and names its task. kInvalidArgument says what is wrong.
Result<Order> parse_order(std::string_view line, const Order& flags, bool& plain);

// "tenant=acme"; a name without a value is refused.
Result<void> add_header(Headers& headers, std::string_view text);

// Hands one order in.
detail::Enqueued enqueue(Client& client, const Order& order, bool keep_result);

// The descriptor that all orders of this task and queue share. Its texts are the order's.
TaskInfo info_of(const Order& order, bool keep_result);

}  // namespace stem::cli
