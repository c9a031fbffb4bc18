// What a commit does when the write buffer is full.
#pragma once

#include "pg/server/shmem.hpp"

namespace pgwc {

struct RoomWait {
  TimestampTz since = 0;  // set by the first wait
  TimestampTz deadline = 0;
  TimestampTz held_until = 0;  // when a hold is not heeded any longer
};

namespace room {

// Asks for a flush and sleeps until some room was made; interruptible. ERROR when
// writecache.wait_timeout has passed. For transactions without an xid that hold nothing reserved:
// nobody waits for those.
void wait_for_space(RoomWait* wait, DatabaseSlot* database, Oid relation);

// Sleeps while a statement keeps rows out of the queue, but not beyond what the hold was when it
// was met first, and only a moment if this transaction has an xid: the flush that the statement
// waits for could wait for us. Interruptible.
void wait_while_held(RoomWait* wait, QueueNo queue);
bool is_held(const RoomWait& wait, QueueNo queue);

[[noreturn]] void raise_full(Oid relation);

}  // namespace room
}  // namespace pgwc
