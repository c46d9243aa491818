// A kernel that refuses io_uring, as containers have it.
#pragma once

namespace stem::test {

// For the calling process and those it forks, for good. Ends the process when that cannot be had.
void refuse_io_uring();

}  // namespace stem::test
