// Keys as arguments of SQL functions: VARIADIC "any", one value (or one array of values) per key
// column, in the order of the key.
#pragma once

#include "pg/row_cache/cache_key.hpp"

extern "C" {
#include "fmgr.h"
}

namespace pgwc::row_cache {

// How an argument becomes a value that the key column is compared with.
struct KeyArgument {
  int number;        // of the function's argument
  Oid type;          // of the values after the conversion
  FmgrInfo convert;  // fn_oid is invalid if there is nothing to do
  enum class How : std::uint8_t { kAsItIs, kByFunction, kByText } how;
  FmgrInfo output;   // kByText
  Oid io_parameter;  // of the type's input function
};

struct KeyArguments {
  int count;
  bool arrays;
  KeyPart* parts;
  KeyArgument* arguments;
};

// Understands the arguments from number `first` on. In the current memory context. ERROR if they do
// not fit the key.
void read_key_arguments(KeyArguments* result, FunctionCallInfo fcinfo, int first, bool arrays,
                        const CachedKey& key, Relation relation);

// The same for the columns of a query's result.
void read_key_columns(KeyArguments* result, TupleDesc columns, const CachedKey& key,
                      Relation relation);

// One value, converted. In the current memory context.
Datum convert_key_value(KeyArgument* argument, Datum value);

}  // namespace pgwc::row_cache
