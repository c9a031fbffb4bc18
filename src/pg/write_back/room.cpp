#include "pg/write_back/room.hpp"

#include <algorithm>

#include "pg/server/settings.hpp"
#include "pg/write_back/queue_status.hpp"

extern "C" {
#include "utils/wait_event.h"
}

namespace pgwc::room {

namespace {

// Another look is taken at least this often: any wake-up may be missed by a session that was not
// waiting yet.
constexpr long kLookEveryMs = 100;

constexpr int kHeldWithXidMs = 1000;

void begin(RoomWait* wait, TimestampTz now) {
  if (wait->since != 0) return;
  wait->since = now;
  wait->deadline = settings::wait_timeout_ms == 0
                       ? PG_INT64_MAX
                       : TimestampTzPlusMilliseconds(now, settings::wait_timeout_ms);
}

}  // namespace

void raise_full(Oid relation) {
  char* name = get_rel_name(relation);
  ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("write buffer is full"),
          errdetail("Rows for table \"%s\" found no room in %d kB.", name ? name : "?",
                    settings::buffer_size_kb),
          errhint("Raise \"writecache.buffer_size\", or attach the table with when_full => "
                  "'write_through'."));
  pg_unreachable();
}

void wait_for_space(RoomWait* wait, DatabaseSlot* database, Oid relation) {
  const TimestampTz now = GetCurrentTimestamp();
  begin(wait, now);
  if (now >= wait->deadline) {
    char* name = get_rel_name(relation);
    ereport(
        ERROR, errcode(ERRCODE_INSUFFICIENT_RESOURCES),
        errmsg("write buffer stayed full for %d ms", settings::wait_timeout_ms),
        errdetail("Rows for table \"%s\" found no room.", name ? name : "?"),
        errhint(
            "See writecache.stat_write_back for what holds it; raise \"writecache.buffer_size\" or "
            "\"writecache.wait_timeout\"."));
  }
  ConditionVariablePrepareToSleep(&server->progress);
  wake_worker(database);
  const long left = static_cast<long>((wait->deadline - now) / 1000);
  ConditionVariableTimedSleep(&server->progress, left < kLookEveryMs ? left + 1 : kLookEveryMs,
                              PG_WAIT_EXTENSION);
  ConditionVariableCancelSleep();
  CHECK_FOR_INTERRUPTS();
}

bool is_held(const RoomWait& wait, QueueNo queue) {
  return queue_status::held_until(queue) != 0 &&
         (wait.held_until == 0 || GetCurrentTimestamp() < wait.held_until);
}

void wait_while_held(RoomWait* wait, QueueNo queue) {
  const TimestampTz now = GetCurrentTimestamp();
  begin(wait, now);
  if (wait->held_until == 0) {
    wait->held_until = queue_status::held_until(queue);
    if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
      wait->held_until =
          std::min(wait->held_until, TimestampTzPlusMilliseconds(now, kHeldWithXidMs));
  }
  ConditionVariablePrepareToSleep(&server->progress);
  if (is_held(*wait, queue)) {
    const long left = static_cast<long>((wait->held_until - now) / 1000);
    ConditionVariableTimedSleep(&server->progress, left < kLookEveryMs ? left + 1 : kLookEveryMs,
                                PG_WAIT_EXTENSION);
  }
  ConditionVariableCancelSleep();
  CHECK_FOR_INTERRUPTS();
}

}  // namespace pgwc::room
