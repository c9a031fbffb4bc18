#include "core/checksum.hpp"

#include <boost/crc.hpp>
#include <cstring>

namespace pgwc {

std::uint32_t crc32c_portable(const void* data, std::size_t size) noexcept {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(data, size);
  return crc.checksum();
}

#if defined(__x86_64__)

namespace {

__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(const void* data,
                                                             std::size_t size) noexcept {
  const auto* p = static_cast<const unsigned char*>(data);
  std::uint64_t crc = 0xFFFFFFFF;
  for (; size >= 8; p += 8, size -= 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    crc = __builtin_ia32_crc32di(crc, word);
  }
  auto tail = static_cast<std::uint32_t>(crc);
  for (; size > 0; ++p, --size) tail = __builtin_ia32_crc32qi(tail, *p);
  return ~tail;
}

}  // namespace

std::uint32_t crc32c(const void* data, std::size_t size) noexcept {
  static const bool has_sse42 = __builtin_cpu_supports("sse4.2") != 0;
  return has_sse42 ? crc32c_sse42(data, size) : crc32c_portable(data, size);
}

#else

std::uint32_t crc32c(const void* data, std::size_t size) noexcept {
  return crc32c_portable(data, size);
}

#endif

}  // namespace pgwc
