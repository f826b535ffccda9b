#!/bin/bash
# Builds the stand-in and runs 1 gtm + 1 standby + 2 hosts (proxy, datanode, coordinator each) in network, process and
# mount namespaces of its own, on 127.0.0.1 only. Needs root (for the namespaces) and a C compiler. Leaves nothing behind.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1:-}" != inside ]; then
  [ "$(id -u)" = 0 ] || { echo "selftest: needs root, for namespaces of its own" >&2; exit 1; }
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/source"
  cp "$here"/configure "$here"/Makefile.in "$here"/standin.c "$work/source"
  (
    cd "$work/source"
    ./configure --prefix=/opt/pgxc_1.0.2 --with-pgport=1921 --with-perl --without-ldap FLEX=/nowhere
    make && make install DESTDIR="$work/out"
  ) >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
  ! grep -i warning "$work/build.log" || exit 1
  # In its own process namespace everything ends with the script, whatever happens.
  unshare -n -m -p -f --mount-proc --kill-child bash "$here/selftest.sh" inside "$work"
  exit
fi

work=$2
bin=$work/out/opt/pgxc_1.0.2/bin
uid=65534
ip link set lo up
chmod 755 "$work" && mkdir "$work/d" && chown $uid "$work/d"
cd "$work/d"
passed=0

user() { setpriv --reuid $uid --regid $uid --clear-groups "$@"; }
start() { # name, command...: in the background; its pid in $work/NAME
  local name=$1
  shift
  setpriv --reuid $uid --regid $uid --clear-groups setsid "$@" </dev/null >"$work/$name.out" 2>&1 &
  echo $! >"$work/$name"
}
pid() { cat "$work/$1"; }
ok() { passed=$((passed + 1)); printf 'ok %d - %s\n' $passed "$1"; }
die() {
  printf 'not ok - %s\n' "$*"
  tail -n 5 "$work"/*.out "$work"/d/*/*.log "$work"/d/*/pg_log/* 2>/dev/null || true
  exit 1
}
until_exists() { for _ in {1..100}; do [ ! -e "$1" ] || return 0; sleep 0.05; done; die "$1 did not appear"; }
is() { if [ "$2" = "$3" ]; then ok "$1"; else die "$1: got '$2', expected '$3'"; fi; }
refuses() { # text of the message, command...
  local text=$1 said
  shift
  if said=$(user timeout 10 "$@" 2>&1 </dev/null); then die "not refused: $*"; fi
  case $said in *"$text"*) ok "refused: $text" ;; *) die "$*: said '$said', expected '$text'" ;; esac
}
sql() { user "$bin/psql" -h 127.0.0.1 -p "$1" -U postgres -At -c "$2" postgres 2>&1; }
ends() { # name, seconds
  for ((i = 0; i < $2 * 20; i++)); do kill -0 "$(pid "$1")" 2>/dev/null || { wait "$(pid "$1")" && status=0 || status=$?; return 0; }; sleep 0.05; done
  die "$1 did not end"
}

# Ports as in the document, 100 apart for host 2.
port() { echo $(($2 * 100 + $1 - 100)); }
gtm_conf() { user tee -a "$1/gtm.conf" >/dev/null; }
make_node() { # kind, number, port, port of its proxy
  user "$bin/initdb" -D "$1$2" --nodename="$1_$2" -E UTF8 --locale=C -U postgres --pwfile=pw >/dev/null
  printf "listen_addresses = '0.0.0.0'\nport = %s\ngtm_host = '127.0.0.1'\ngtm_port = %s\nlogging_collector = on\n" "$3" "$4" >>"$1$2/postgresql.conf"
}
make_host() { # host
  user "$bin/initgtm" -Z gtm_proxy -D "proxy$1" >/dev/null
  printf "nodename = '%s'\nlisten_addresses = '0.0.0.0'\nport = %s\nworker_threads = 1\ngtm_host = 'localhost'\ngtm_port = 1921 # the active\nlog_file = 'gtm_proxy.log'\n" \
    "$1" "$(port 1924 "$1")" >>"proxy$1/gtm_proxy.conf"
  make_node datanode "$1" "$(port 1923 "$1")" "$(port 1924 "$1")"
  make_node coordinate "$1" "$(port 1926 "$1")" "$(port 1924 "$1")"
}

# Programs and refusals of the tools
for program in initgtm gtm gtm_ctl gtm_proxy initdb postgres pg_ctl psql pg_controldata; do "$bin/$program" --version >/dev/null || die "$program --version"; done
is "version" "$("$bin/gtm" --version)" "gtm (Postgres-XC) 1.0.2 stand-in"
echo secret | user tee pw >/dev/null
user "$bin/initgtm" -Z gtm -D gtm >/dev/null
user "$bin/initgtm" -Z gtm -D standby >/dev/null
make_host 1
make_host 2
refuses "-Z takes gtm or gtm_proxy" "$bin/initgtm" -Z gtm_standby -D x
refuses "exists but is not empty" "$bin/initgtm" -Z gtm -D gtm
refuses "node name is mandatory" "$bin/initdb" -D x
refuses "exists but is not empty" "$bin/initdb" -D datanode1 --nodename=x
refuses "cannot be specified together" "$bin/initdb" -D x --nodename=x -W --pwfile=pw
if "$bin/initdb" -D x --nodename=x 2>/dev/null || "$bin/gtm" -D gtm 2>/dev/null || "$bin/postgres" -C -D coordinate1 2>/dev/null; then die "root is not refused"; fi
ok "root is refused"
is "PG_VERSION" "$(cat datanode1/PG_VERSION)" 9.1

# Start order
printf "nodename = 'one'\nport = 1921\nstartup = ACT\nlog_file = 'gtm.log'\n" | gtm_conf gtm
printf "nodename = 'two'\nport = 2021\nstartup = STANDBY\nactive_host = 'localhost'\nactive_port = 1921\nlog_file = 'gtm.log'\n" | gtm_conf standby
start standby "$bin/gtm" -D standby
ends standby 5
is "a standby without its active exits" "$status $(grep -c 'Failed to establish a connection to active-GTM' standby/gtm.log)" "1 1"
refuses "can not connect to GTM" "$bin/gtm_proxy" -D proxy1
refuses "must start as either a Coordinator (-C) or Data Node (-X)" "$bin/postgres" -D datanode1
start gtm "$bin/gtm" -D gtm
until_exists gtm/gtm.opts
is "gtm.pid" "$(cat gtm/gtm.pid)" "$(pid gtm)"$'\n'"$work/d/gtm"$'\n'1
start standby "$bin/gtm" -D standby
until_exists standby/gtm.opts
is "gtm_ctl status, master" "$(user "$bin/gtm_ctl" status -Z gtm -D gtm | tail -n 1)" "1 master"
is "gtm_ctl status, slave" "$(user "$bin/gtm_ctl" status -Z gtm_standby -D standby | tail -n 1)" "0 slave"
refuses "already exists" "$bin/gtm" -D gtm
# The proxy of host 1 does not run yet: the datanode goes down again.
start datanode1 "$bin/postgres" -X -D datanode1
ends datanode1 5
is "a datanode without its proxy exits" "$status $(cat datanode1/pg_log/* | grep -c 'Can not register Datanode on GTM')" "1 1"
start coordinate1 "$bin/postgres" -C -D coordinate1
ends coordinate1 5
is "a coordinator without its proxy exits" "$status $(cat coordinate1/pg_log/* | grep -c 'Can not register Coordinator on GTM')" "1 1"
for n in 1 2; do start proxy"$n" "$bin/gtm_proxy" -D proxy"$n"; until_exists proxy"$n"/gtm_proxy.opts; done
cp -a proxy2 proxy3
rm -f proxy3/*.pid proxy3/*.opts
echo "port = 2324" >>proxy3/gtm_proxy.conf
refuses "Node with the given ID number already exists" "$bin/gtm_proxy" -D proxy3
for n in 1 2; do start datanode"$n" "$bin/postgres" -X -D datanode"$n"; until_exists datanode"$n"/postmaster.pid; done
for n in 1 2; do start coordinate"$n" "$bin/postgres" -C -D coordinate"$n"; until_exists coordinate"$n"/postmaster.pid; done
sleep 0.5
cp -a datanode2 again
rm again/postmaster.*
printf 'port = 2723\nlogging_collector = off\n' >>again/postgresql.conf
refuses "Node with the given ID number already exists" "$bin/postgres" -X -D again
is "pg_ctl status" "$(user "$bin/pg_ctl" status -D datanode1 | head -n 1)" "pg_ctl: server is running (PID: $(pid datanode1))"
# XC's own handshake and node list over plain TCP
list=$({ printf 'A\0\0\0\114'; head -c 64 /dev/zero; printf '\6\0\0\0\0\0\0\0C\0\0\0\10\0\0\0\6X\0\0\0\4'; } |
  timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/1921; cat >&3; cat <&3' | tr -d '\0' | grep -aoE 'coordinate_[12]|datanode_[12]|two' | sort | paste -sd' ')
is "the node list of the wire probe" "$list" "coordinate_1 coordinate_2 datanode_1 datanode_2 two"

# Node SQL
c1=$(port 1926 1) c2=$(port 1926 2)
is "select 1" "$(sql "$c1" 'select 1')" 1
is "pgxc_node_str" "$(sql "$(port 1923 2)" 'select pgxc_node_str()')" datanode_2
is "the row of initdb" "$(sql "$c1" 'select * from pgxc_node')" "coordinate_1|C|5432|localhost|f|f|-922782310"
is "no datanode yet" "$(sql "$c1" 'create table t (k int) distribute by hash(k)')" "ERROR:  No Datanode defined in cluster"
for c in 1 2; do
  sql "$(port 1926 $c)" "alter node coordinate_$c with (host='127.0.0.1', port=$(port 1926 $c))" >/dev/null
  for n in 1 2; do
    primary=$([ "$n" != 1 ] || echo ", primary=true")
    preferred=$([ "$n" != "$c" ] || echo ", preferred = true")
    is "create node on $c" "$(sql "$(port 1926 "$c")" "create node datanode_$n with (type=datanode, host='127.0.0.1', port=$(port 1923 "$n")$primary$preferred)")" "CREATE NODE"
  done
  is "reload" "$(sql "$(port 1926 $c)" 'select pgxc_pool_reload()')" t
done
is "pool check" "$(sql "$c1" 'select pgxc_pool_check()')" t
case $(sql "$c1" "create node x with (type=datanode, primary)") in *"two nodes cannot be primary"*) ok "one primary only" ;; *) die "two primaries" ;; esac
is "a node twice" "$(sql "$c1" "create node datanode_1 with (type=datanode)")" "ERROR:  PGXC Node datanode_1: object already defined"
is "the seed's gap: made on 1" "$(sql "$c1" 'create table gap (k int) distribute by hash(k)')" "CREATE TABLE"
is "the seed's gap: unknown on 2" "$(sql "$c2" 'select count(*) from gap')" 'ERROR:  relation "gap" does not exist'
sql "$c1" 'drop table gap' >/dev/null
for c in 1 2; do
  o=$((3 - c))
  sql "$(port 1926 $c)" "create node coordinate_$o with (type='coordinator', host='127.0.0.1', port=$(port 1926 $o)); select pgxc_pool_reload()" >/dev/null
done
is "node list in order" "$(sql "$c2" 'select node_name, node_id, nodeis_preferred from pgxc_node order by node_name')" \
  $'coordinate_1|-922782310|f\ncoordinate_2|1027955327|f\ndatanode_1|-675012441|f\ndatanode_2|-1047623914|t'

# Tables
is "create table" "$(sql "$c1" 'create table t (k int, v text) distribute by hash(k)')" "CREATE TABLE"
is "insert" "$(sql "$c1" "insert into t select g, 'x' from generate_series(1,6000) g;")" "INSERT 0 6000"
is "count through the other" "$(sql "$c2" 'select count(*) from t')" 6000
one=$(sql "$c2" "execute direct on datanode_1 'select count(*) from t'") two=$(sql "$c1" "execute direct on datanode_2 'select count(*) from t'")
is "both datanodes hold their share" "$((one + two)) $((one > 2500 && two > 2500))" "6000 1"
is "execute direct on self" "$(sql "$c1" "execute direct on coordinate_1 'select pgxc_node_str()'")" coordinate_1
is "execute direct, a quote in it" "$(sql "$c1" "execute direct on coordinate_2 'select count(*) from pg_class where relname = ''t'''")" 1
is "unknown SQL" "$(sql "$c1" 'selct 1')" 'ERROR:  syntax error at or near "selct"'
is "drop if exists" "$(sql "$c1" 'drop table if exists nothing')" "DROP TABLE"
refuses 'role "nobody" does not exist' "$bin/psql" -h 127.0.0.1 -p "$c1" -U nobody postgres -c 'select 1'
# The golden counts, over six datanodes
for n in 3 4 5 6; do
  make_node datanode "$n" "$(port 1923 "$n")" 1924
  start "datanode$n" "$bin/postgres" -X -D "datanode$n"
  for c in $c1 $c2; do sql "$c" "create node datanode_$n with (type=datanode, host='127.0.0.1', port=$(port 1923 "$n")); select pgxc_pool_reload()" >/dev/null; done
done
sleep 0.5
is "table over six" "$(sql "$c1" 'create table six (k int) distribute by hash(k); insert into six select * from generate_series(1,6000)')" $'CREATE TABLE\nINSERT 0 6000'
shares() { for n in 1 2 3 4 5 6; do sql "$c2" "execute direct on datanode_$n 'select count(*) from $1'"; done | paste -sd' '; }
golden="1001 1005 1056 942 997 999"
is "golden counts" "$(shares six)" "$golden"
is "the older table keeps its two" "$(sql "$c1" 'select count(*) from t')" 6000

# COPY: simple, by a psql that is no stand-in; extended, message by message as tokio-postgres sends it
is "tables for COPY" "$(sql "$c1" 'create table simple (k int, v text) distribute by hash(k); create table extended (k int, v text) distribute by hash(k)')" $'CREATE TABLE\nCREATE TABLE'
is "the stand-in's psql has no data" "$(sql "$c1" 'copy simple from stdin')" "ERROR:  COPY from stdin failed: the stand-in's psql sends no data"
seq 6000 | sed 's/$/\ttext/' >"$work/rows"
if command -v psql >/dev/null; then
  other() { timeout 20 psql -X -h 127.0.0.1 -p "$c1" -U postgres -c "\\copy $1" postgres 2>&1 || true; }
  is "psql: \\copy" "$(other "simple (k, v) from '$work/rows'")" "COPY 6000"
  is "psql: the golden counts" "$(shares simple)" "$golden"
  is "psql: end marker, no last newline" "$(printf '1\tx\n2\ty\n\\.\n' >"$work/few"; other "simple from '$work/few'"; printf '3\tz' >"$work/few"; other "simple from '$work/few'")" $'COPY 2\nCOPY 1'
  is "psql: a bad row" "$(printf '1\tx\nno\ty\n' >"$work/few"; other "simple from '$work/few'")" 'ERROR:  invalid input syntax for integer: "no"'
  is "psql: too few columns" "$(echo 1 >"$work/few"; other "simple (k, v) from '$work/few'")" 'ERROR:  missing data for column 2'
  is "psql: no such table" "$(other "nothing from '$work/few'")" 'ERROR:  relation "nothing" does not exist'
  is "psql: nothing of the failed ones" "$(sql "$c2" 'select count(*) from simple')" 6003
else
  echo "# skipped: COPY by psql: no psql on this machine"
fi
if command -v python3 >/dev/null; then
  cat >"$work/extended.py" <<'END'
import socket, struct, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
def message(kind, *parts):
    body = b"".join(p if isinstance(p, bytes) else p.encode() + b"\0" for p in parts)
    return kind.encode() + struct.pack(">I", len(body) + 4) + body
def exact(n):
    data = b""
    while len(data) < n:
        data += s.recv(n - len(data)) or sys.exit("closed")
    return data
def talk(last, *messages):  # the kinds that come back, up to LAST
    s.sendall(b"".join(messages))
    seen = []
    while not seen or seen[-1] != last:
        kind, size = struct.unpack(">cI", exact(5))
        body, kind = exact(size - 4), kind.decode()
        if kind == "C":
            kind += "(%s)" % body[:-1].decode()
        if kind == "E":
            kind += "(%s)" % [f[1:] for f in body.decode().split("\0") if f[:1] == "C"][0]
        if kind not in "SK":
            seen.append(kind)
    return " ".join(seen)
zero = b"\0\0"
sync, done, execute = message("S"), message("c"), message("E", "", zero * 2)
def prepare(name, sql): return message("P", name, sql, zero) + message("D", b"S" + name.encode() + b"\0") + sync
def bind(name): return message("B", "", name, zero, zero, b"\0\1\0\1") + execute
def close(name): return message("C", b"S" + name.encode() + b"\0") + sync
body = struct.pack(">I", 196608) + b"user\0postgres\0database\0postgres\0\0"
print(talk("Z", struct.pack(">I", len(body) + 4) + body))
rows = open(sys.argv[2], "rb").read()
data = [message("d", rows[i:i + 4099]) for i in range(0, len(rows), 4099)]
print(talk("Z", prepare("s0", "COPY extended (k, v) FROM STDIN")))
print(talk("G", bind("s0"), sync))  # this Sync falls into the COPY: passed over
print(talk("Z", *data, done, sync))
print(talk("G", bind("s0")))
print(talk("Z", *data, message("f", "no"), sync))
print(talk("Z", bind("s0"), message("d", b"x\ty\n"), *data, done, sync))
print(talk("Z", bind("s0"), done, sync))
print(talk("Z", close("s0")))
print(talk("Z", bind("s0"), sync))
print(talk("Z", prepare("", "COPY nothing FROM STDIN")))
print(talk("Z", bind(""), sync))
print(talk("Z", message("f", ""), sync))  # tokio-postgres sends this after the error; each Sync has its answer
print(talk("Z", prepare("", "select 1")))
print(talk("Z", message("Q", "select 1")))
END
  expected='R Z|1 t n Z|2 G|C(COPY 6000) Z|2 G|E(57014) Z|2 G E(22P02) Z|2 G C(COPY 0) Z|3 Z|E(26000) Z|1 t n Z|2 E(42P01) Z|Z|E(0A000) Z|T D C(SELECT 1) Z'
  is "extended protocol" "$(timeout 60 python3 "$work/extended.py" "$c1" "$work/rows" 2>&1 | paste -sd'|')" "$expected"
  is "extended: the golden counts, nothing of the failed ones" "$(shares extended)" "$golden"
else
  echo "# skipped: COPY in the extended protocol: no python3 on this machine"
fi

# What `verify` looks for and removes
for name in a b; do sql "$c1" "create table several_$name (k int) distribute by hash (k)" >/dev/null; done
is "tables by the start of their names" "$(sql "$c2" "select relkind, relname from pg_class where relname ~ '^several_'" | sort | paste -sd' ')" \
  'r|several_a r|several_b'
sql "$c2" 'drop table if exists several_a, several_b, several_c' >/dev/null
is "several are dropped at once" "$(sql "$c1" "select relkind, relname from pg_class where relname ~ '^several_'")" ''
is "no prepared transaction" "$(sql "$c1" "execute direct on datanode_1 'select gid from pg_prepared_xacts'")" ''
is "no open GXID" "$(sql "$c1" 'select txid_current_snapshot()')" '10001:10001:'

# A datanode dies and comes back; a coordinator that is away blocks DDL
kill -9 "$(pid datanode2)"
ends datanode2 5
is "count without a datanode" "$(sql "$c1" 'select count(*) from t')" "ERROR:  Failed to get pooled connections"
start datanode2 "$bin/postgres" -X -D datanode2
sleep 1
is "count after its return: state is in files" "$(sql "$c1" 'select count(*) from t')" 6000
user "$bin/pg_ctl" stop -D coordinate2 -m fast >/dev/null
is "DDL without a coordinator" "$(sql "$c1" 'create table u (k int) distribute by hash(k)')" "ERROR:  Failed to get pooled connections"
is "nothing is left of it" "$(sql "$(port 1923 1)" "select count(*) from pg_class where relname = 'u'")" 0
user "$bin/pg_ctl" start -w -Z coordinator -D coordinate2 -l "$work/d/c2.log" >/dev/null
is "pg_ctl start, state kept" "$(sql "$c2" 'select count(*) from t')" 6000

# Failover
kill -9 "$(pid gtm)"
user "$bin/gtm_ctl" promote -Z gtm -D standby >/dev/null
sleep 0.5
is "promoted" "$(user "$bin/gtm_ctl" status -Z gtm -D standby | tail -n 1) $(tail -n 1 standby/gtm.conf)" "1 master startup = ACT"
for n in 1 2; do user "$bin/gtm_ctl" reconnect -Z gtm_proxy -D proxy"$n" -o '-s localhost -t 2021' >/dev/null; done
sleep 1
is "count after the failover" "$(sql "$c1" 'select count(*) from t')" 6000

# The proxy's dead-lock: a bare connection, and this host has lost GTM
exec 3<>/dev/tcp/127.0.0.1/2024 && exec 3>&-
sleep 0.3
case $(timeout 5 setpriv --reuid $uid --regid $uid --clear-groups "$bin/psql" -h 127.0.0.1 -p "$c2" -U postgres -Atc 'select 1' postgres 2>&1 || true) in
  1) die "a bare connection did not dead-lock the proxy" ;;
  *) ok "a bare connection dead-locks the proxy" ;;
esac
is "the other host is not touched" "$(sql "$c1" 'select 1')" 1
kill -TERM "$(pid standby)"
ends standby 5
is "a gtm's normal stop: exit 1, gtm.control, no pid file" "$status $([ -s standby/gtm.control ] && echo yes) $([ -e standby/gtm.pid ] || echo none)" "1 yes none"
printf '1..%d\n' $passed
