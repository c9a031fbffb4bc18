// Property: the processor's instruction and the portable code agree on every input.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "core/checksum.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (pgwc::crc32c(data, size) != pgwc::crc32c_portable(data, size)) std::abort();
  return 0;
}
