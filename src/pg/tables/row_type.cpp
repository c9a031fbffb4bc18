#include "pg/tables/row_type.hpp"

extern "C" {
#include "catalog/objectaddress.h"
#include "parser/parse_type.h"
#include "utils/acl.h"
}

namespace pgwc {

Oid relation_of_type(FunctionCallInfo fcinfo) {
  const Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
  const Oid relation = OidIsValid(type) ? typeOrDomainTypeRelid(type) : InvalidOid;
  if (!OidIsValid(relation))
    ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
            errmsg("the first argument must be of a table's row type"),
            errhint("Write NULL::table_name."));
  return relation;
}

void require_select(Oid relation) {
  if (pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
      pg_attribute_aclcheck_all(relation, GetUserId(), ACL_SELECT, ACLMASK_ALL) == ACLCHECK_OK)
    return;
  aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(relation)),
                 get_rel_name(relation));
}

}  // namespace pgwc
