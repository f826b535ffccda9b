create or replace function pgxc_lab.run_on(server name, command text)
returns void language plpgsql as $body$
/* Runs statements on another node, over a connection of its own that is closed afterwards. */
declare
  connection text := 'pgxc_lab_' || server;
begin
  if connection = any (coalesce(public.dblink_get_connections(), '{}')) then
    perform public.dblink_disconnect(connection);
  end if;
  begin
    perform public.dblink_connect(connection, server);
    perform public.dblink_exec(connection, command);
  exception when others then
    if connection = any (coalesce(public.dblink_get_connections(), '{}')) then
      perform public.dblink_disconnect(connection);
    end if;
    raise exception 'node %: %', server, sqlerrm using hint = 'is the node up? see: pgxc-lab status';
  end;
  perform public.dblink_disconnect(connection);
end
$body$
