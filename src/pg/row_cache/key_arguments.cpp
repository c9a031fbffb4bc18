#include "pg/row_cache/key_arguments.hpp"

extern "C" {
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "parser/parse_coerce.h"
#include "utils/syscache.h"
}

namespace pgwc::row_cache {

namespace {

const char* column_name(Relation relation, const KeyColumn& column) {
  return NameStr(TupleDescAttr(RelationGetDescr(relation), column.attribute - 1)->attname);
}

[[noreturn]] void refuse_type(Relation relation, const KeyColumn& column, Oid given) {
  ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
          errmsg("key column \"%s\" is of type %s but the argument is of type %s",
                 column_name(relation, column), format_type_be(column.type), format_type_be(given)),
          errhint("You will need to cast the argument."));
  pg_unreachable();
}

// A cast function may want the type modifier, too.
bool takes_one_argument(Oid function) {
  HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
  if (!HeapTupleIsValid(tuple)) return false;
  const bool one = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple))->pronargs == 1;
  ReleaseSysCache(tuple);
  return one;
}

void find_conversion(KeyArgument* argument, Oid given, Relation relation, const KeyColumn& column) {
  argument->type = column.type;
  Oid function;
  given = getBaseType(given);
  HashBy by;
  Oid hash;
  // Types that the index compares with each other need no conversion.
  const Oid equal = get_opfamily_member(column.opfamily, column.type, given, BTEqualStrategyNumber);
  if (given == column.type ||
      (OidIsValid(equal) && cache_key::hash_function(column, given, &by, &hash))) {
    argument->type = given;
    return;
  }
  switch (find_coercion_pathway(column.type, given, COERCION_IMPLICIT, &function)) {
    case COERCION_PATH_RELABELTYPE:
      return;
    case COERCION_PATH_FUNC:
      if (!takes_one_argument(function)) refuse_type(relation, column, given);
      argument->how = KeyArgument::How::kByFunction;
      fmgr_info(function, &argument->convert);
      return;
    case COERCION_PATH_COERCEVIAIO:
      break;
    default:
      // What a client sends without a type arrives as text.
      if (given != TEXTOID && given != UNKNOWNOID) refuse_type(relation, column, given);
  }
  Oid output;
  bool is_varlena;
  argument->how = KeyArgument::How::kByText;
  getTypeOutputInfo(given, &output, &is_varlena);
  fmgr_info(output, &argument->output);
  getTypeInputInfo(column.type, &function, &argument->io_parameter);
  fmgr_info(function, &argument->convert);
}

void begin(KeyArguments* result, int given, const CachedKey& key, Relation relation) {
  if (given != key.count)
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("the key of \"%s\" has %d columns, %d were given",
                   RelationGetRelationName(relation), key.count, given));
  const auto count = static_cast<std::size_t>(key.count);
  result->count = key.count;
  result->arrays = false;
  result->parts = static_cast<KeyPart*>(palloc0(sizeof(KeyPart) * count));
  result->arguments = static_cast<KeyArgument*>(palloc0(sizeof(KeyArgument) * count));
}

void describe(KeyArguments* result, int i, Oid given, const KeyColumn& column, Relation relation) {
  KeyArgument* argument = &result->arguments[i];
  find_conversion(argument, given, relation, column);
  const bool cross_type = argument->type != column.type;
  const Oid equal = cross_type ? get_opfamily_member(column.opfamily, column.type, argument->type,
                                                     BTEqualStrategyNumber)
                               : column.equal_op;
  HashBy by;
  Oid hash;
  (void)cache_key::hash_function(column, argument->type, &by, &hash);
  make_key_part(&result->parts[i], column.attribute, column.collation, argument->type, cross_type,
                get_opcode(equal), by, hash);
}

}  // namespace

void read_key_arguments(KeyArguments* result, FunctionCallInfo fcinfo, int first, bool arrays,
                        const CachedKey& key, Relation relation) {
  if (get_fn_expr_variadic(fcinfo->flinfo))
    ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
            errmsg("keys cannot be given as a VARIADIC array"),
            errhint("Give one argument per key column."));
  begin(result, PG_NARGS() - first, key, relation);
  result->arrays = arrays;
  for (int i = 0; i < key.count; ++i) {
    const int number = first + key.columns[i].place;
    Oid given = get_fn_expr_argtype(fcinfo->flinfo, number);
    if (arrays) {
      const Oid element = get_base_element_type(given);
      if (!OidIsValid(element))
        ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
                errmsg("keys of column \"%s\" must be given as an array",
                       column_name(relation, key.columns[i])));
      given = element;
    }
    result->arguments[i].number = number;
    describe(result, i, given, key.columns[i], relation);
  }
}

void read_key_columns(KeyArguments* result, TupleDesc columns, const CachedKey& key,
                      Relation relation) {
  begin(result, columns->natts, key, relation);
  for (int i = 0; i < key.count; ++i) {
    const int place = key.columns[i].place;
    result->arguments[i].number = place + 1;
    describe(result, i, TupleDescAttr(columns, place)->atttypid, key.columns[i], relation);
  }
}

Datum convert_key_value(KeyArgument* argument, Datum value) {
  switch (argument->how) {
    case KeyArgument::How::kByFunction:
      return FunctionCall1(&argument->convert, value);
    case KeyArgument::How::kByText:
      return InputFunctionCall(&argument->convert, OutputFunctionCall(&argument->output, value),
                               argument->io_parameter, -1);
    case KeyArgument::How::kAsItIs:
      break;
  }
  return value;
}

}  // namespace pgwc::row_cache
