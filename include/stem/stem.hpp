// Everything for producers and workers. Types with to_json also need "stem/json.hpp", tests
// "stem/testing.hpp".
#pragma once

#include "stem/client.hpp"
#include "stem/events.hpp"
#include "stem/worker.hpp"
