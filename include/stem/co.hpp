// Handlers that wait: coroutines on the worker process's own loop (docs/coroutines.md).
//
//   worker.on(fetch, [](stem::Context& context, const std::string& path) -> stem::Co<std::string> {
//     auto text = co_await stem::read_file(path);
//     if (!text) throw std::runtime_error(text.error().message);
//     co_await stem::sleep(5ms) ...
//     co_return *text;
//   });
//
// Whatever a handler awaits ends early, with an Error, when the handler is asked to stop (kCancelled) or its soft time
// limit has passed (kTimeout); and nothing new begins then, except under shielded(). At its hard limit its frames are
// destroyed where it waits.
//
// All coroutine handlers of a process share one thread: between two awaits nobody else runs, and a long computation
// wants a yield() now and then.
//
//   sleep, sleep_until, yield, readable, writable   io/operation.hpp
//   File, read_file, write_file                     io/file.hpp
//   Socket, Listener                                io/socket.hpp
//   run_command                                     io/command.hpp
//   when_all, when_any, within, with_nursery, ...   io/nursery.hpp
//   run_blocking, for who has no worker             io/run_blocking.hpp
#pragma once

#include "io/co.hpp"
#include "io/command.hpp"
#include "io/file.hpp"
#include "io/nursery.hpp"
#include "io/operation.hpp"
#include "io/run_blocking.hpp"
#include "io/socket.hpp"
