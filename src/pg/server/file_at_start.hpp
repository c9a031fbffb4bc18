// Which buffer file a server starts with: its own from the last run, a new one, or none that is
// there, because it belongs to other tables than those beside it. In the postmaster only.
#pragma once

#include <cstdint>

namespace pgwc {

// Claims, checks and maps the file at buffer_path(), or makes a new one of `wanted_blocks`; what
// cannot be used is renamed, with a WARNING. FATAL if there can be no file. `most_blocks`: the most
// that shared memory has been asked for; `disused`: the file holds nothing. True if a server
// without the library has run since ours crashed: transaction ids may have been used twice.
bool open_file(std::uint32_t wanted_blocks, std::uint32_t most_blocks, bool disused);

}  // namespace pgwc
