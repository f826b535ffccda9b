create or replace function pgxc_lab.drop_distributed_table(name text)
returns void language plpgsql as $body$
/* Removes a table made by create_distributed_table on every node. Says nothing when there is none. */
declare
  wanted name[] := parse_ident(name);
  full_name text;
  remove text;
  node name;
begin
  full_name := case cardinality(wanted) when 1 then format('public.%I', wanted[1]) else format('%I.%I', wanted[1], wanted[2]) end;
  if to_regclass(full_name) is not null
     and coalesce(obj_description(to_regclass(full_name), 'pg_class'), '') not like 'pgxc\_lab %' then
    raise exception 'table % was not made by create_distributed_table', full_name;
  end if;
  remove := format('set client_min_messages = warning; drop table if exists %s', full_name);
  -- Coordinators first: a partition without its remote table gives errors to readers.
  set local client_min_messages = warning;
  execute format('drop table if exists %s', full_name);
  for node in select srvname from pg_foreign_server where srvtype in ('coordinator', 'datanode') order by srvtype, srvname loop
    perform pgxc_lab.run_on(node, remove);
  end loop;
end
$body$
