#!/bin/bash
# Builds Postgres-XC 1.0.x (or a package with the same contract) from a source tarball.
#
# Runs as root, by chroot, inside a Debian 12 root that has the packages of build-packages.txt:
#   gcc make bison flex perl libc6-dev zlib1g-dev libreadline-dev libpam0g-dev libxml2-dev
#   libxslt1-dev libssl-dev libperl-dev tcl-dev
# or inside an image of CentOS 5: bash 3.2, coreutils 5.97, gawk 3.1, make 3.81 and flex 2.5.4 are enough for it.
# Needs no network; /proc and /dev are mounted.
#
# Environment: SOURCE       the tarball, as seen inside the root (/source.tar.gz)
#              FLEX_SOURCE  flex's tarball, for a root whose flex is too old; empty: there is none
#              PREFIX       installation prefix (/opt/pgxc_1.0.2)
#              OPTIONS      configure options, separated by blanks
#              OUT          DESTDIR of the installation (/out)
#              JOBS         parallel make jobs (2)
#              WORK         scratch directory, replaced (/tmp/pgxc-build)
#
# stdout: one fact a line: "dropped --with-x: reason", "skipped contrib/x: reason", "flags ...", "flex X: built from source",
#         "backported COMMIT: what it corrects",
#         "version ...", "library ..." (a shared library that guests need), "built PREFIX".
# Exit:   0 built; 2 wrong use; 3 the tarball is not usable; 4 configure or make failed;
#         5 something is missing after the installation. Anything but 0 comes with "error:" and "hint:" on stderr.
set -euo pipefail
export LC_ALL=C
unset MAKEFLAGS MAKELEVEL CFLAGS CPPFLAGS LDFLAGS LIBS

fail() { # code, error, hint
  printf 'error: %s\nhint: %s\n' "$2" "$3" >&2
  exit "$1"
}

SOURCE=${SOURCE:-/source.tar.gz}
FLEX_SOURCE=${FLEX_SOURCE:-}
PREFIX=${PREFIX:-}
OPTIONS=${OPTIONS:-}
OUT=${OUT:-/out}
JOBS=${JOBS:-2}
WORK=${WORK:-/tmp/pgxc-build}
CC=${CC:-gcc}

case $PREFIX in /?*) ;; *) fail 2 "PREFIX is not an absolute path: '$PREFIX'" "set PREFIX, for example /opt/pgxc_1.0.2" ;; esac
case $OUT in /?*) ;; *) fail 2 "OUT is not an absolute path: '$OUT'" "set OUT, for example /out" ;; esac
for tool in "$CC" make tar; do
  command -v "$tool" >/dev/null || fail 2 "$tool is not installed in this root" "install the packages of build-packages.txt"
done

# --- The tarball -------------------------------------------------------------------------------

rm -rf "$WORK"
mkdir -p "$WORK/probe" "$WORK/bin"
log=$WORK/build.log
: >"$log"

last_error() { # the most telling line of the end of the log
  { tail -n 200 "$log" | grep -aE '(error|undefined reference|No rule|not found|configure: error)[: ]' | head -n 1; tail -n 1 "$log"; } |
    head -n 1 | cut -c 1-200
}
# unpack TARBALL WHAT NAME: unpacks the source of WHAT below $WORK; its one directory is $top. NAME is that of a release.
unpack() {
  local packed
  if [ ! -f "$1" ] || [ ! -r "$1" ]; then
    fail 3 "source tarball $1 cannot be read" "give the path of the $2 source tarball"
  fi
  [ -s "$1" ] || fail 3 "source tarball $1 is empty" "download it again and compare its size"
  case $(head -c 3 "$1" | od -An -tx1) in
    ' 1f 8b '*) packed=gzip ;;
    ' 42 5a 68') packed=bzip2 ;;
    ' fd 37 7a') packed=xz ;;
    *) packed= ;;
  esac
  if [ -n "$packed" ] && ! command -v "$packed" >/dev/null; then
    fail 3 "source tarball $1 is packed with $packed, which this root does not have" "pack it with gzip"
  fi
  if ! tar -tf "$1" >"$WORK/list" 2>"$WORK/list.err"; then
    if [ -n "$packed" ] || [ -s "$WORK/list" ]; then
      fail 3 "source tarball $1 is truncated or damaged" "download it again: it breaks off after $(wc -l <"$WORK/list") entries"
    fi
    fail 3 "$1 is not a tar archive" "give the path of the $2 source tarball ($3.tar.gz)"
  fi
  if grep -Eq '^/|(^|/)\.\.(/|$)' "$WORK/list"; then
    fail 3 "source tarball $1 has entries outside its own directory" "use the release tarball as published"
  fi
  sed 's|^\(\./\)*||; s|/.*||' "$WORK/list" | awk 'NF && !seen[$0]++' >"$WORK/tops"
  if [ "$(wc -l <"$WORK/tops")" -ne 1 ] || grep -Fxq -e configure -e ./configure "$WORK/list"; then
    fail 3 "source tarball $1 is not packed as one directory (top entries: $(head -n 3 "$WORK/tops" | paste -sd ' ' -))" \
      "pack it so that configure is in one top directory, as in $3/configure"
  fi
  top=$(cat "$WORK/tops")
  if ! grep -Fxq -e "$top/configure" -e "./$top/configure" "$WORK/list"; then
    fail 3 "source tarball $1 has no $top/configure" "use the source release of $2, not a binary package"
  fi
  tar -C "$WORK" --no-same-owner -xf "$1" 2>>"$log" ||
    fail 3 "source tarball $1 cannot be unpacked in $WORK" "is there space left? $(tail -n 1 "$log")"
}

unpack "$SOURCE" Postgres-XC pgxc-v1.0.2
cd "$WORK/$top"
[ -x configure ] || chmod +x configure

# --- What is corrected in the source ------------------------------------------------------------

# correct ORIGIN FILES PROGRAM WHAT: a correction of a few lines, as a program for awk. It says whether it has changed
# anything: a source that has the correction stays as it is. Only what keeps a lab from what it promises is corrected.
correct() {
  local file changed=
  for file in $2; do
    [ -f "$file" ] || return 0
    if awk "$3 { print } END { exit !changed }" "$file" >"$WORK/backport"; then
      cat "$WORK/backport" >"$file"
      changed=yes
    fi
  done
  [ -z "$changed" ] || printf '%s: %s\n' "$1" "$4"
}
# backport COMMIT ...: one that a later release of Postgres-XC has.
backport() { correct "backported $1" "${@:2}"; }
# What a standby is told of lay in memory of the session that told it. When the GTM dies its sessions end, and the standby died of
# that when one had a transaction prepared.
backport 029a67ebdb src/gtm/main/gtm_txn.c \
  '/^GTM_BkupBeginTransactionGetGXIDMulti\(/ { inside = 1 }
   inside { changed += sub(/\(TopMemoryContext\)/, "(TopMostMemoryContext)") }
   /^}/ { inside = 0 }' \
  'a standby outlives its GTM while something is prepared (1.0.3)'
# The number of the session that ended was filled in after it had been sent: the GTM kept what it had open, or dropped what
# another one had.
backport be08708d97 src/gtm/proxy/proxy_main.c \
  '/^GTMProxy_HandleDisconnect\(/ { inside = 1 }
   inside && /ph_conid/ { inside = 0 }
   inside && /gtmpqPutMsgStart/ { print "\tproxyhdr.ph_conid = conninfo->con_id;"; inside = 0; changed = 1 }' \
  'a proxy tells the GTM which session has ended (1.0.4)'
# The end of a session may be found twice, the second time when nothing of it is left.
backport ac3a7cacf7 src/gtm/proxy/proxy_main.c \
  '/^GTMProxy_HandleDisconnect\(/ { inside = 1 }
   inside && /con_port == NULL/ { inside = 0 }
   inside && /Recovery_PGXCNodeDisconnect/ { print "\tif (conninfo->con_port == NULL)\n\t\treturn;"; inside = 0; changed = 1 }' \
  'a proxy outlives its reconnection under load (after 1.0.4)'
# When a session ended, the last one got its number, which the GTM was not told: at the end of the next session of its old number
# the GTM dropped what it had open, and servers take rows of such a transaction for rolled back, for good. And the mark of a
# command under way stayed where it was, so that a new session there was cut off at once. Sessions keep their numbers, and
# marks are found by them.
if grep -q -e '->con_id = ii;' src/gtm/proxy/proxy_thread.c 2>/dev/null; then
  backport 8e158a6e08 'src/gtm/proxy/proxy_thread.c src/gtm/proxy/proxy_main.c' \
    '/->con_id = ii;/ { changed = 1; next }
     /con_id = thrinfo->thr_conn_count;/ {
       print "\t{"
       print "\t\tint other;"
       print "\t\tconninfo->con_id = 0;"
       print "\t\tfor (other = 0; other < thrinfo->thr_conn_count; other++)"
       print "\t\t\tif (thrinfo->thr_all_conns[other]->con_id == conninfo->con_id)"
       print "\t\t\t{"
       print "\t\t\t\tconninfo->con_id++;"
       print "\t\t\t\tother = -1;"
       print "\t\t\t}"
       print "\t}"
       changed = 1
       next
     }
     /^\tthrinfo->thr_(any_backup|qtype)\[ii\]|^\tresetStringInfo\(&\(thrinfo->thr_inBufData\[ii\]|\(\(thrinfo->thr_any_backup\[ii\]\)/ {
       changed += sub(/\[ii\]/, "[conninfo->con_id]")
     }
     { changed += sub(/thrinfo->thr_all_conns\[res->gr_proxyhdr\.ph_conid\] != cmdinfo->ci_conn/,
         "res->gr_proxyhdr.ph_conid != cmdinfo->ci_conn->con_id") }' \
    'a proxy keeps the number of a session as long as it lasts (1.1)'
fi
# A session whose statement failed had the pooler cancel it on other servers, and did not wait: where that came late, the next
# statement of the session was cancelled, "due to user request". 1.0.4 would wait for 10 ms; here the pooler answers.
backport ffce1747ae src/backend/pgxc/pool/poolmgr.c \
  '/^PoolManagerCancelQuery\(/ { inside = 1 }
   inside && /^\tpool_flush\(&poolHandle->port\);/ {
     print "\tif (pool_flush(&poolHandle->port) == 0)"
     print "\t\tpool_recvres(&poolHandle->port);"
     changed = 1
     next
   }
   /^}/ { inside = 0 }
   /^\t+cancel_query_on_connections\(agent, datanodelist, coordlist\);/ {
     print "\t\t\t\tcancel_query_on_connections(agent, datanodelist, coordlist),"
     print "\t\t\t\tpool_sendres(&agent->port, 0);"
     changed = 1
     next
   }' \
  'the next statement after a failed one is not cancelled in its place (1.0.4)'
# A worker of a proxy that serves sessions looks for new ones when one of its own says something, else once a second: so long
# may the first transaction of a session take, which is longer than tests of Postgres-XC's own suite wait for a statement. No
# release has another value.
correct 'corrected here' src/gtm/proxy/proxy_main.c \
  '{ changed += sub(/poll\(thrinfo->thr_poll_fds, thrinfo->thr_conn_count, 1000\)/,
       "poll(thrinfo->thr_poll_fds, thrinfo->thr_conn_count, 50)") }' \
  'a proxy hears of a new session within 50 ms instead of a second'

# --- What this system can do --------------------------------------------------------------------

# compiles [arguments of the compiler] <program: it compiles without errors
compiles() { "$CC" -x c - -c -o "$WORK/probe/x.o" "$@" >>"$log" 2>&1; }
# links [arguments after the program] <program
links() {
  cat >"$WORK/probe/x.c"
  "$CC" -o "$WORK/probe/x" "$WORK/probe/x.c" "$@" >>"$log" 2>&1
}
has_symbol() { # symbol, libraries: a library exports it (a macro of the same name does not count)
  local symbol=$1
  shift
  printf 'char %s(void);\nint main(void) { return %s(); }\n' "$symbol" "$symbol" | links "$@"
}
has_header() { printf '#include <%s>\nint x;\n' "$1" | compiles "${@:2}"; }

tcl_config_dir() {
  local dir
  for dir in /usr/lib/tcl8.6 /usr/lib /usr/lib64 "/usr/lib/$("$CC" -dumpmachine)" /usr/lib/*/tcl8.*; do
    [ -r "$dir/tclConfig.sh" ] && { printf '%s\n' "$dir"; return; }
  done
  return 1
}

# shellcheck disable=SC1091,SC2046,SC2086  # flags come as lists of words
# why_not --option: prints why the option cannot be had; prints nothing when it can
why_not() {
  local flags libs dir
  case $1 in
    --with-openssl)
      if ! has_header openssl/ssl.h; then echo "no OpenSSL headers"
      elif ! has_symbol SSL_library_init -lssl -lcrypto; then
        echo "its configure wants the symbol SSL_library_init, which OpenSSL 1.1 and later do not export"
      fi ;;
    --with-python)
      if ! command -v python >/dev/null; then echo "no program named python (it needs Python 2)"
      elif ! python -c 'import distutils.sysconfig' >>"$log" 2>&1; then echo "python has no distutils"
      elif ! has_header eval.h "-I$(python -c 'import distutils.sysconfig as s; print(s.get_python_inc())')"; then
        echo "python has no eval.h (gone since Python 3.11)"
      fi ;;
    --with-perl)
      if ! command -v perl >/dev/null; then echo "no perl"
      elif ! flags=$(perl -MExtUtils::Embed -e ccopts 2>>"$log") || ! libs=$(perl -MExtUtils::Embed -e ldopts 2>>"$log"); then
        echo "perl has no ExtUtils::Embed"
      elif ! printf '#include <EXTERN.h>\n#include <perl.h>\nint main(void) { return perl_alloc() == 0; }\n' |
        links $flags $libs; then echo "no shared libperl or no headers of it"
      fi ;;
    --with-tcl)
      if ! dir=$(tcl_config_dir); then echo "no tclConfig.sh"
      elif ! (. "$dir/tclConfig.sh" && printf '#include <tcl.h>\nint main(void) { return Tcl_CreateInterp() == 0; }\n' |
        links ${TCL_INCLUDE_SPEC:-} ${TCL_LIB_SPEC:-}); then echo "a program with libtcl does not link"
      fi ;;
    --with-pam)
      if ! has_header security/pam_appl.h; then echo "no PAM headers"
      elif ! has_symbol pam_start -lpam; then echo "no libpam to link with"; fi ;;
    --with-ldap)
      if ! has_header ldap.h; then echo "no LDAP headers"
      elif ! has_symbol ldap_bind -lldap; then echo "no libldap to link with"; fi ;;
    --with-libxml)
      if ! command -v xml2-config >/dev/null; then echo "no xml2-config"
      elif ! has_header libxml/parser.h $(xml2-config --cflags) || ! has_symbol xmlSaveToBuffer $(xml2-config --libs); then
        echo "a program with libxml2 does not link"
      fi ;;
    --with-libxslt)
      if ! command -v xml2-config >/dev/null; then echo "no libxml2, which it needs"
      elif ! has_header libxslt/xslt.h $(xml2-config --cflags) || ! has_symbol xsltCleanupGlobals -lxslt $(xml2-config --libs); then
        echo "a program with libxslt does not link"
      fi ;;
  esac
}

# Before bash 4.4 an empty array is an unbound variable, hence the + and - in what reads one.
chosen=()
drop() { # option, reason
  local option kept=()
  printf 'dropped %s: %s\n' "$1" "$2"
  for option in ${chosen[@]+"${chosen[@]}"}; do [ "${option%%=*}" = "$1" ] || kept+=("$option"); done
  chosen=(${kept[@]+"${kept[@]}"})
}

set -f
# shellcheck disable=SC2206  # a list of words
wanted=($OPTIONS)
set +f
for option in ${wanted[@]+"${wanted[@]}"}; do
  case $option in
    --prefix=*) continue ;; # PREFIX decides
    --*) ;;
    *) fail 2 "OPTIONS has a word that is no option: '$option'" "write options as --with-x or --with-x=value, separated by blanks" ;;
  esac
  reason=$(why_not "${option%%=*}")
  chosen+=("$option")
  if [ -n "$reason" ]; then drop "${option%%=*}" "$reason"; fi
done
for option in ${chosen[@]+"${chosen[@]}"}; do
  if [ "$option" = --with-tcl ]; then chosen+=("--with-tclconfig=$(tcl_config_dir)"); fi
done
has_symbol deflate -lz || { chosen+=(--without-zlib); echo "dropped zlib: no library of that name to link with"; }
has_symbol readline -lreadline || { chosen+=(--without-readline); echo "dropped readline: no library of that name to link with"; }

# Code of 2013 under a compiler of today: common symbols, inline of the old kind, loops that read behind the
# declared end of an array. A compiler without such a flag does not need it.
cflags=-O2
for flag in -fcommon -fgnu89-inline -fno-aggressive-loop-optimizations; do
  if printf 'int x;\n' | compiles -Werror "$flag"; then cflags="$cflags $flag"; fi
done
# gtm_ctl formats a buffer into itself, which a compiler that fortifies by default turns into a lost argument.
if printf '#ifdef _FORTIFY_SOURCE\n#error on\n#endif\n' | compiles -O2; then :; else cflags="$cflags -U_FORTIFY_SOURCE"; fi
printf 'flags %s\n' "$cflags"

# --- Flex ----------------------------------------------------------------------------------------

# version_of PROGRAM: the first version that it tells, without letters
version_of() { { "$1" --version 2>>"$log" || true; } | sed -n '1s/^[^0-9]*\([0-9][0-9.]*\).*/\1/p'; }
# is_older VERSION OTHER. EL5's sort knows no versions.
is_older() {
  awk -v version="$1" -v other="$2" 'BEGIN {
    split(version, v, "."); split(other, o, ".")
    for (i = 1; i <= 4; i++) if (v[i] + 0 != o[i] + 0) exit !(v[i] + 0 < o[i] + 0)
    exit 1
  }'
}
# flex_from_source: builds it below $WORK, as the document does; its program is $flex
flex_from_source() {
  local top
  # Each scanner that it makes goes through m4.
  command -v m4 >/dev/null || fail 2 "flex cannot be built: m4 is not installed in this root" "install m4"
  unpack "$FLEX_SOURCE" flex flex-2.5.35
  # flex 2.6.4 uses a function that its headers declare for GNU programs only.
  (
    cd "$WORK/$top" && CC=$CC CFLAGS='-O2 -D_GNU_SOURCE' ./configure --prefix="$WORK/flex" && make && make install
  ) >>"$log" 2>&1 || fail 4 "flex does not build: $(last_error)" "see $log inside the build root"
  flex=$WORK/flex/bin/flex
  [ -x "$flex" ] || fail 5 "$FLEX_SOURCE installed no flex" "is this the source of flex?"
}

# wrap PROGRAM: Flex is named by a wrapper, for two reasons: configure compares only the third part of flex's version, so
# that 2.6.4 seems older than 2.5.31; and since 2.6 a scanner leaves names such as yylex alone when they are macros
# already, as they are where a scanner is included into a parser of bison's with another prefix. The wrapper
# forgets such a macro first.
wrap() {
  cat >"$WORK/bin/flex" <<WRAPPER
#!/bin/sh
output=
for word; do
  case \$word in
    -o?*) output=\${word#-o} ;;
    --outfile=*) output=\${word#--outfile=} ;;
  esac
done
'$1' "\$@" || exit
[ -n "\$output" ] && [ -f "\$output" ] || exit 0
awk '
  held != "" {
    if (\$1 == "#define" && \$2 ~ /_ALREADY_DEFINED\$/) print "#undef " name
    print held; held = ""
  }
  \$1 == "#ifdef" && \$2 ~ /^yy[a-z_]+\$/ { held = \$0; name = \$2; next }
  { print }
  END { if (held != "") print held }
' "\$output" >"\$output.tmp" && mv "\$output.tmp" "\$output"
WRAPPER
  chmod 755 "$WORK/bin/flex"
}

settings=()
oldest=2.5.31 # that Postgres-XC takes
lacks='this root has no flex'
if flex=$(command -v flex); then
  version=$(version_of "$flex")
  if is_older "${version:-0}" $oldest; then
    lacks="this root has flex ${version:-of no version}, which is older than $oldest"
    echo "dropped flex: version ${version:-unknown} is older than $oldest"
    flex=
  fi
fi
if [ -z "$flex" ] && [ -n "$FLEX_SOURCE" ]; then
  flex_from_source
  version=$(version_of "$flex")
  if is_older "${version:-0}" $oldest; then
    fail 3 "$FLEX_SOURCE is flex ${version:-of no version}, which is older than $oldest" "use the source of flex 2.5.35"
  fi
  echo "flex $version: built from source"
fi
if [ -n "$flex" ]; then
  wrap "$flex"
  settings+=("FLEX=$WORK/bin/flex")
elif [ -z "$(find . -name 'scan.c' -path '*parser*' | head -n 1)" ] && [ -n "$(find . -name 'scan.l' | head -n 1)" ]; then
  fail 3 "source tarball $SOURCE has no generated scanners and $lacks" \
    "install flex $oldest or later in the build root, or name the source of flex 2.5.35 with FLEX_SOURCE"
fi

# --- Build ---------------------------------------------------------------------------------------

configure() {
  printf '\n== configure %s\n' "${chosen[*]-}" >>"$log"
  CC=$CC CFLAGS=$cflags ./configure --prefix="$PREFIX" ${chosen[@]+"${chosen[@]}"} ${settings[@]+"${settings[@]}"} >>"$log" 2>&1
}
build() { # directory: parallel first; old makefiles may trip over that, so what is left is made one by one
  make -C "$1" -j "$JOBS" >>"$log" 2>&1 || make -C "$1" >"$WORK/serial.log" 2>&1 || { cat "$WORK/serial.log" >>"$log"; return 1; }
}
# The procedural languages are on their own: one that does not compile here is left out, the rest is built.
configure || fail 4 "configure failed: $(last_error)" "see $log inside the build root"
until build .; do
  culprit=
  for language in perl python tcl; do
    case " ${chosen[*]-} " in *" --with-$language "*) ;; *) continue ;; esac
    [ -d "src/pl/pl$language" ] || [ "$language" = python ] || continue
    dir=src/pl/pl$language
    [ "$language" != python ] || dir=src/pl/plpython
    if grep -q "Leaving directory.*/$dir'" "$WORK/serial.log" && ! make -C "$dir" >>"$log" 2>&1; then
      culprit=$language
      break
    fi
  done
  [ -n "$culprit" ] || fail 4 "make failed: $(last_error)" "see $log inside the build root"
  drop "--with-$culprit" "it does not compile here: $(last_error)"
  configure || fail 4 "configure failed: $(last_error)" "see $log inside the build root"
done

rm -rf "${OUT:?}$PREFIX"
mkdir -p "$OUT"
make install DESTDIR="$OUT" >>"$log" 2>&1 || fail 4 "make install failed: $(last_error)" "see $log inside the build root"

for contrib in pgxc_clean pgbench; do
  if [ ! -d "contrib/$contrib" ]; then
    echo "skipped contrib/$contrib: not in the tarball"
  elif ! build "contrib/$contrib" || ! make -C "contrib/$contrib" install DESTDIR="$OUT" >>"$log" 2>&1; then
    echo "skipped contrib/$contrib: $(last_error)"
  fi
done

# --- Is it all there? ------------------------------------------------------------------------------

bin=$OUT$PREFIX/bin
[ -d "$bin" ] || fail 5 "nothing was installed in $PREFIX/bin" "does the package's make install honour DESTDIR?"
if grep -qi 'postgres-xc' configure; then
  for program in initgtm gtm gtm_ctl gtm_proxy initdb postgres pg_ctl psql pg_controldata; do
    [ -x "$bin/$program" ] || fail 5 "$PREFIX/bin/$program was not installed" "is this the complete Postgres-XC source?"
    if ! said=$(LD_LIBRARY_PATH=$OUT$PREFIX/lib "$bin/$program" --version 2>&1 </dev/null); then
      fail 5 "$PREFIX/bin/$program does not run: $(printf '%s' "$said" | head -n 1)" "see $log inside the build root"
    fi
    printf 'version %s: %s\n' "$program" "$(printf '%s' "$said" | head -n 1)"
  done
fi
# What the guests must have beside the prefix itself.
find "$OUT$PREFIX" -type f \( -perm -u+x -o -name '*.so*' \) -print0 |
  LD_LIBRARY_PATH=$OUT$PREFIX/lib xargs -0 -r -n 1 ldd 2>/dev/null |
  awk -v out="$OUT" '$2 == "=>" && index($3, "/") == 1 && index($3, out) != 1 {print "library " $1}' | sort -u || true
printf 'built %s\n' "$PREFIX"
