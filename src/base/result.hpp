// The front door owns the type, so that users see one Result everywhere; base owns its code.
#pragma once

#include "stem/result.hpp"
