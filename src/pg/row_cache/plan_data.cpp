#include "pg/row_cache/plan_data.hpp"

namespace pgwc::row_cache {

List* write_plan_data(const PlanData& data) {
  List* list = NIL;
  const auto add = [&list](Oid number) { list = lappend_oid(list, number); };
  add(data.index);
  add(data.index_xmin);
  add(static_cast<Oid>(data.mode));
  add(static_cast<Oid>(data.needed));
  add(static_cast<Oid>(data.any_column + 1));
  add(data.element_equal);
  for (int i = 0; i < data.count; ++i) {
    const PlanColumn& column = data.columns[i];
    add(static_cast<Oid>(column.attribute));
    add(column.collation);
    add(column.type);
    add(static_cast<Oid>(column.cross_type));
    add(column.equal_function);
    add(static_cast<Oid>(column.hash_by));
    add(column.hash_function);
  }
  return list;
}

void read_plan_data(const List* list, PlanData* data) {
  int at = 0;
  const auto next = [&] { return list_nth_oid(list, at++); };
  data->index = next();
  data->index_xmin = next();
  data->mode = static_cast<Mode>(next());
  data->needed = static_cast<AttrNumber>(next());
  data->any_column = static_cast<int>(next()) - 1;
  data->element_equal = next();
  for (data->count = 0; at < list_length(list); ++data->count) {
    PlanColumn& column = data->columns[data->count];
    column.attribute = static_cast<AttrNumber>(next());
    column.collation = next();
    column.type = next();
    column.cross_type = next() != 0;
    column.equal_function = next();
    column.hash_by = static_cast<HashBy>(next());
    column.hash_function = next();
  }
}

KeyPart* make_key_parts(const PlanData& data) {
  auto* parts =
      static_cast<KeyPart*>(palloc0(sizeof(KeyPart) * static_cast<std::size_t>(data.count)));
  for (int i = 0; i < data.count; ++i) {
    const PlanColumn& column = data.columns[i];
    make_key_part(&parts[i], column.attribute, column.collation, column.type, column.cross_type,
                  column.equal_function, column.hash_by, column.hash_function);
  }
  return parts;
}

}  // namespace pgwc::row_cache
