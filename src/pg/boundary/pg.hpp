// The way into PostgreSQL's headers: after the standard library's, Boost's and the core's, inside
// extern "C", and with the macros that break C++ taken back. Every file of src/pg includes this one
// last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/buffer_file.hpp"
#include "core/checksum.hpp"
#include "core/flush_plan.hpp"
#include "core/recovery.hpp"
#include "core/row_cache.hpp"
#include "core/write_buffer.hpp"

extern "C" {
#include "postgres.h"

#include "access/hash.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

#undef Min
#undef Max
#undef Abs
#undef snprintf
#undef vsnprintf
#undef sprintf
#undef printf
#undef fprintf

// A function that PostgreSQL finds by name.
#define PGWC_FUNCTION(name)                 \
  extern "C" {                              \
  PG_FUNCTION_INFO_V1(name);                \
  PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
  }                                         \
  Datum name([[maybe_unused]] PG_FUNCTION_ARGS)
