create or replace function pgxc_lab.run_on(server name, command text)
returns void language plpgsql as $body$
/* Runs statements on another node, over a connection of its own. It is closed afterwards, unless the session has said
   `set pgxc_lab.keep = on`: then it is kept for the next command. */
declare
  connection text := 'pgxc_lab_' || server;
  keep bool := coalesce(current_setting('pgxc_lab.keep', true), '') = 'on';
  open bool := connection = any (coalesce(public.dblink_get_connections(), '{}'));
begin
  if open and not keep then
    perform public.dblink_disconnect(connection);
    open := false;
  end if;
  begin
    if not open then
      perform public.dblink_connect(connection, server);
    end if;
    perform public.dblink_exec(connection, command);
  exception when others then
    if connection = any (coalesce(public.dblink_get_connections(), '{}')) then
      perform public.dblink_disconnect(connection);
    end if;
    raise exception 'node %: %', server, sqlerrm using hint = 'is the node up? see: pgxc-lab status';
  end;
  if not keep then
    perform public.dblink_disconnect(connection);
  end if;
end
$body$
