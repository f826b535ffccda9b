create or replace function pgxc_lab.create_distributed_table(name text, columns text, key text)
returns void language plpgsql as $body$
/* Makes a table whose rows are spread over all datanodes by the hash of a column, and lets every coordinator see it.
   name     the table, with or without schema, e.g. 'orders'
   columns  its columns and constraints, as between the parentheses of CREATE TABLE, e.g. 'id int, note text'
   key      the column (or columns) that places the rows, e.g. 'id'
   A second call for the same table with the same key does what a first call left undone. Each node commits by itself. */
declare
  wanted name[] := parse_ident(name);
  home name;
  tab name;
  full_name text;
  layout text;
  known text;
  nodes name[];
  node name;
  parts text := '';
  peer name;
  position int := 0;
begin
  if key is null or btrim(key) = '' then
    raise exception 'key is empty' using hint = 'name the column that places the rows';
  end if;
  case cardinality(wanted)
    when 1 then home := 'public'; tab := wanted[1];
    when 2 then home := wanted[1]; tab := wanted[2];
    else raise exception '% is not the name of a table', quote_literal(name) using hint = 'write table or schema.table';
  end case;
  if length(tab) > 50 then
    raise exception 'the name % is too long: % characters, 50 are allowed', tab, length(tab);
  end if;
  full_name := format('%I.%I', home, tab);
  select array_agg(srvname order by srvname) into nodes
    from pg_foreign_server where srvtype = 'datanode';
  if nodes is null then
    raise exception 'this coordinator knows no datanode' using hint = 'run: pgxc-lab up';
  end if;
  -- The whole definition, so that a second call can tell "the same" from "another".
  layout := 'pgxc_lab ' || md5(columns || chr(10) || key || chr(10) || array_to_string(nodes, ','));
  if to_regclass(full_name) is not null then
    known := obj_description(to_regclass(full_name), 'pg_class');
    if known is distinct from layout then
      raise exception 'table % exists and is another one', full_name
        using hint = 'drop it on every coordinator and datanode: select pgxc_lab.drop_distributed_table(...)';
    end if;
  end if;

  -- One script for every coordinator, and a small one per datanode.
  parts := format('create schema if not exists %I; create table if not exists %s (%s) partition by hash (%s);', home, full_name, columns, key);
  foreach node in array nodes loop
    perform pgxc_lab.run_on(node, format(
      'set client_min_messages = warning; create schema if not exists %I; create table if not exists %s (%s)', home, full_name, columns));
    parts := parts || format(
      ' create foreign table if not exists %I.%I partition of %s for values with (modulus %s, remainder %s) server %I options (schema_name %L, table_name %L);',
      home, tab || '_' || node, full_name, cardinality(nodes), position, node, home, tab);
    position := position + 1;
  end loop;
  parts := parts || format(' comment on table %s is %L', full_name, layout);

  set local client_min_messages = warning;
  execute parts;
  for peer in select srvname from pg_foreign_server where srvtype = 'coordinator' order by srvname loop
    perform pgxc_lab.run_on(peer, 'set client_min_messages = warning; ' || parts);
  end loop;
end
$body$
