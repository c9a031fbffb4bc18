// Which triggers concern a captured INSERT: a user's own, not those of constraints, if they are not
// disabled.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
}

namespace pgwc {

// The first user trigger that an INSERT into the relation would fire, or null.
inline const Trigger* first_user_insert_trigger(Relation relation) {
  const TriggerDesc* triggers = relation->trigdesc;
  for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
    const Trigger& trigger = triggers->triggers[i];
    if (!trigger.tgisinternal && TRIGGER_FOR_INSERT(trigger.tgtype) &&
        trigger.tgenabled != TRIGGER_DISABLED)
      return &trigger;
  }
  return nullptr;
}

inline bool has_user_insert_triggers(Relation relation) {
  return first_user_insert_trigger(relation) != nullptr;
}

}  // namespace pgwc
