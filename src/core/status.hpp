// Outcomes of core operations. The core never throws and never logs; the caller decides what a user
// is told.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <cstdint>

namespace pgwc {

enum class [[nodiscard]] Status : std::uint8_t{
    kOk,
    kNoSpace,      // no free block left, or none left outside other queues' reserved share
    kRowTooLarge,  // a row is larger than a block can hold
    kNoQueue,      // all queue slots are taken
    kIoError,      // the operating system refused; see errno
    kForeign,      // the file belongs to another cluster, timeline or format version
    kDamaged,      // the file's headers are unreadable
    kInUse,        // another server uses the file
};

}  // namespace pgwc
