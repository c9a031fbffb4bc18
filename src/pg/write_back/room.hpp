// What a commit does when the write buffer is full.
#pragma once

#include "pg/server/shmem.hpp"

namespace pgwc {

struct RoomWait {
  TimestampTz since = 0;  // set by the first wait
  TimestampTz deadline = 0;
};

namespace room {

// Asks for a flush and sleeps until some room was made; interruptible. ERROR when
// writecache.wait_timeout has passed. For transactions without an xid that hold nothing reserved:
// nobody waits for those.
void wait_for_space(RoomWait* wait, DatabaseSlot* database, Oid relation);

[[noreturn]] void raise_full(Oid relation);

}  // namespace room
}  // namespace pgwc
