// A buffer file on a disk that does not give all of it back.
//
// A page that cannot be read is a bus error once it is mapped, at every start anew. So what is in
// use is read before it is mapped, and if that fails a copy of what can be read takes the file's
// place.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/status.hpp"

namespace pgwc {

struct SalvageResult {
  Status status;
  int error;                 // errno, with kIoError
  std::uint64_t lost_pages;  // of 4 kB; 0: the file was left as it is
  std::string kept_as;       // where the file is now, if a copy took its place
};

// pread(), or what a test has for it.
using ReadAt = ssize_t (*)(int fd, void* to, std::size_t bytes, off_t at);

// Reads the headers and every block in use. Where the disk refuses, a copy with gaps takes the
// file's place, and the file is kept as PATH.quarantined.N. A crash in here leaves the one or the
// other in place. May throw std::bad_alloc.
SalvageResult salvage_file(const std::string& path, ReadAt read_at);

}  // namespace pgwc
