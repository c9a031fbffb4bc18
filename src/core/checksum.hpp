// CRC-32C (Castagnoli), the checksum of every record in the buffer file.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <cstddef>
#include <cstdint>

namespace pgwc {

// Returns the CRC-32C of `size` bytes, by the processor's instruction where it has one.
std::uint32_t crc32c(const void* data, std::size_t size) noexcept;

// The portable version; the tests hold the other against it.
std::uint32_t crc32c_portable(const void* data, std::size_t size) noexcept;

}  // namespace pgwc
