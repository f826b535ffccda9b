/*
 * A stand-in for Postgres-XC 1.0.2: the command-line contract and as much behaviour as an installer can see.
 * One multi-call program; which part it plays is decided by the name it is called by. README.md says what it keeps.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define XC "(Postgres-XC) 1.0.2 stand-in"
#define PG "(PostgreSQL) 9.1.7 stand-in"
enum { T_PROXY = 1, T_COORDINATOR = 3, T_DATANODE = 4, T_GTM = 5 };
enum { NAMELEN = 64, MAXNODES = 128, GTM_TIMEOUT = 20, PEER_TIMEOUT = 30 };

static const char *prog;
static char dir[512], bindir[512];

/* ---- Small things ------------------------------------------------------------------------------------------ */

static void say(const char *level, const char *fmt, va_list ap) {
    char when[40], text[2048];
    time_t now = time(NULL);
    strftime(when, sizeof when, "%F %T UTC", gmtime(&now));
    vsnprintf(text, sizeof text, fmt, ap);
    fprintf(stderr, "%s %s:  %s\n", when, level, text);
}
static void note(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say("LOG", fmt, ap);
    va_end(ap);
}
static _Noreturn void fatal(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say("FATAL", fmt, ap);
    va_end(ap);
    _exit(1);
}
static _Noreturn void quit(const char *fmt, ...) { /* for the tools, which do not log */
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s: ", prog);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    exit(1);
}
static char *fmt(const char *f, ...) {
    char *s;
    va_list ap;
    va_start(ap, f);
    if (vasprintf(&s, f, ap) < 0) abort();
    va_end(ap);
    return s;
}
static void write_file(const char *path, const char *f, ...) {
    char *tmp = fmt("%s.tmp", path);
    FILE *out = fopen(tmp, "w");
    va_list ap;
    if (!out) fatal("could not write \"%s\": %s", path, strerror(errno));
    va_start(ap, f);
    vfprintf(out, f, ap);
    va_end(ap);
    if (fclose(out) || rename(tmp, path)) fatal("could not write \"%s\": %s", path, strerror(errno));
    free(tmp);
}
static char *read_file(const char *path) {
    FILE *in = fopen(path, "r");
    char *s = calloc(1, 1);
    size_t n = 0, got;
    char buf[4096];
    if (!in) { free(s); return NULL; }
    while ((got = fread(buf, 1, sizeof buf, in)) > 0) {
        s = realloc(s, n + got + 1);
        memcpy(s + n, buf, got);
        s[n += got] = 0;
    }
    fclose(in);
    return s;
}
/* The value of a key in a configuration file: the last assignment wins. Returns a copy. */
static char *conf(const char *path, const char *key, const char *otherwise) {
    char *text = read_file(path), *value = strdup(otherwise), *save = NULL, *line;
    if (!text) return value;
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        size_t n;
        while (isspace(*line)) line++;
        n = strcspn(line, " \t=#");
        if (n != strlen(key) || strncasecmp(line, key, n)) continue;
        line += n;
        line += strspn(line, " \t=");
        n = *line == '\'' ? strcspn(++line, "'") : strcspn(line, " \t#\r");
        free(value);
        value = strndup(line, n);
    }
    free(text);
    return value;
}
static int conf_int(const char *path, const char *key, int otherwise) {
    char *value = conf(path, key, "");
    int n = *value ? atoi(value) : otherwise;
    free(value);
    return n;
}
static bool yes(const char *s) { return !strcasecmp(s, "on") || !strcasecmp(s, "true") || !strcasecmp(s, "t") || !strcmp(s, "1"); }

/* ---- Sockets ----------------------------------------------------------------------------------------------- */

static int dial(const char *host, int port, int timeout) {
    struct addrinfo hint = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    struct timeval limit = {.tv_sec = timeout};
    char service[16];
    int fd, on = 1;
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &hint, &found)) return -1;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* bounds connect as well */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, found->ai_addr, found->ai_addrlen)) { close(fd); fd = -1; }
    freeaddrinfo(found);
    return fd;
}
static int listen_on(const char *address, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (!strcmp(address, "localhost")) address = "127.0.0.1";
    a.sin_addr.s_addr = strcmp(address, "*") ? inet_addr(address) : INADDR_ANY;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&a, sizeof a) || listen(fd, 256)) fatal("could not bind IPv4 socket %s:%d: %s", address, port, strerror(errno));
    return fd;
}
static bool get(int fd, void *to, size_t n) {
    for (char *p = to; n; ) {
        ssize_t got = recv(fd, p, n, 0);
        if (got <= 0) return false;
        p += got;
        n -= got;
    }
    return true;
}
static bool put(int fd, const void *from, size_t n) {
    for (const char *p = from; n; ) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        p += sent;
        n -= sent;
    }
    return true;
}
static bool puts_to(int fd, const char *s) { return put(fd, s, strlen(s)); }
static bool get_line(int fd, char *to, size_t size) {
    size_t n = 0;
    while (n + 1 < size) {
        if (!get(fd, to + n, 1)) return false;
        if (to[n] == '\n') { to[n] = 0; return true; }
        n++;
    }
    return false;
}
/* One request and its one-line answer; false when the other side is gone. */
static bool ask(int fd, const char *request, char *answer, size_t size) {
    return fd >= 0 && puts_to(fd, request) && puts_to(fd, "\n") && get_line(fd, answer, size);
}
/* Seconds, seconds and number of TCP's keepalives of a gtm (0: the system's): how it finds a peer that lost its power. */
static int keep_idle, keep_interval, keep_count;
static void serve(int listener, void *(*session)(void *)) {
    pthread_attr_t detached;
    pthread_t t;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (keep_idle) setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on), setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &keep_idle, sizeof on);
        if (keep_interval) setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &keep_interval, sizeof on);
        if (keep_count) setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &keep_count, sizeof on);
        if (fd >= 0 && pthread_create(&t, &detached, session, (void *)(intptr_t)fd)) close(fd);
    }
}
static int listener_fd;
static void *(*listener_session)(void *);
static void *listener_main(void *unused) {
    (void)unused;
    serve(listener_fd, listener_session);
    return NULL;
}
static void start_listener(int fd, void *(*session)(void *)) {
    pthread_t t;
    listener_fd = fd;
    listener_session = session;
    pthread_create(&t, NULL, listener_main, NULL);
}
static sigset_t block_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM); sigaddset(&set, SIGINT); sigaddset(&set, SIGQUIT); sigaddset(&set, SIGHUP); sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return set;
}
static int wait_signal(sigset_t *set, int ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    return ms < 0 ? sigwaitinfo(set, NULL) : sigtimedwait(set, NULL, &t);
}
static void lock_file(const char *name, const char *what) {
    char *old = read_file(name);
    int pid = old ? atoi(old) : 0;
    if (pid > 1 && pid != getpid() && kill(pid, 0) == 0)
        fatal("lock file \"%s\" already exists: Is another %s (PID %d) running in data directory \"%s\"?", name, what, pid, dir);
    free(old);
}
static void write_opts(const char *name, int argc, char **argv) {
    char *all = strdup("");
    for (int i = 1; i < argc; i++) all = fmt("%s \"%s\"", all, argv[i]);
    write_file(name, "%s\n", all);
}
static void log_to(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) fatal("could not open log file \"%s\": %s", path, strerror(errno));
    dup2(fd, 2);
}
static void enter(const char *d, const char *conf_name) {
    if (!d || !*d) fatal("no data directory: use -D");
    if (!realpath(d, dir) || chdir(dir)) fatal("could not enter directory \"%s\": %s", d, strerror(errno));
    if (access(conf_name, R_OK)) fatal("could not read \"%s/%s\": %s", dir, conf_name, strerror(errno));
}

/* ---- gtm --------------------------------------------------------------------------------------------------- *
 * Text protocol, a line each way: HELLO name, then REGISTER type name port address dir, UNREGISTER, SNAPSHOT, GXID,
 * LIST. The registration lasts as long as its connection. The binary probe of XC's own protocol (spec 2.8) works too. */

static struct entry { int type, port, fd; char name[NAMELEN], proxy[NAMELEN], address[NAMELEN], dir[256]; bool connected; } reg[MAXNODES];
static int nreg, next_gxid = 10000;
static bool active;
static pthread_mutex_t gtm_lock = PTHREAD_MUTEX_INITIALIZER;

static void save_register(void) {
    char *all = strdup("");
    for (int i = 0; i < nreg; i++) all = fmt("%s%d %s %d %s %s %d\n", all, reg[i].type, reg[i].name, reg[i].port, reg[i].address, reg[i].dir, reg[i].connected);
    write_file("register.node", "%s", all);
    free(all);
}
static const char *do_register(int fd, const char *proxy, const char *args) {
    struct entry e = {.fd = fd, .connected = true}, *to = NULL;
    if (sscanf(args, "%d %63s %d %63s %255s", &e.type, e.name, &e.port, e.address, e.dir) != 5) return "ERROR malformed registration";
    snprintf(e.proxy, sizeof e.proxy, "%s", proxy);
    for (int i = 0; i < nreg; i++)
        if (reg[i].type == e.type && !strcmp(reg[i].name, e.name)) to = &reg[i];
    if (to && to->connected && to->fd != fd) {
        note("Node with the given ID number already exists: type %d, name \"%s\"", e.type, e.name);
        return "ERROR Node with the given ID number already exists";
    }
    if (!to && nreg == MAXNODES) return "ERROR too many nodes";
    if (!to) to = &reg[nreg++];
    *to = e;
    note("registered type %d, name \"%s\", port %d, address %s, proxy \"%s\"", e.type, e.name, e.port, e.address, proxy);
    save_register();
    return "OK";
}
static void forget(int fd) { /* the connection ended: what it registered is disconnected */
    for (int i = 0; i < nreg; i++)
        if (reg[i].fd == fd && reg[i].connected) { reg[i].connected = false; reg[i].fd = -1; save_register(); }
}
static void put32(char **p, uint32_t v, bool network) {
    if (network) v = htonl(v);
    memcpy(*p, &v, 4);
    *p += 4;
}
static void put_string(char **p, const char *s) {
    put32(p, strlen(s), false);
    memcpy(*p, s, strlen(s));
    *p += strlen(s);
}
static void answer_probe(int fd, uint32_t type) { /* 34: the next GXID; 6: the node list; 35: what is open, which is never anything */
    static char out[MAXNODES * 700], body[700];
    char *p = out + 5, *b;
    if (type == 34) { put32(&p, 20, true); put32(&p, next_gxid, true); }
    else if (type == 6) {
        put32(&p, 3, true);
        put32(&p, nreg, true);
        for (int i = 0; i < nreg; i++) {
            b = body;
            put32(&b, reg[i].type, false); put_string(&b, reg[i].name); put_string(&b, reg[i].proxy); put32(&b, reg[i].port, false);
            put_string(&b, reg[i].address); put_string(&b, reg[i].dir); put32(&b, !reg[i].connected, false);
            put32(&p, b - body, true);
            memcpy(p, body, b - body);
            p += b - body;
        }
    } else if (type == 35 && active) {
        put32(&p, 21, true);
        put32(&p, 48, true);
        memset(p, 0, 48);
        p += 48;
    } else if (type == 2 || type == 4) { /* a node into the register, and out of it: here their connections decide */
        put32(&p, type / 2, true);
    } else return;
    out[0] = 'S';
    b = out + 1;
    put32(&b, p - out - 1, true);
    put(fd, out, p - out);
}
/* After the first byte 'A': the rest of XC's own handshake. */
static bool binary_handshake(int fd) {
    char rest[76];
    return get(fd, rest, sizeof rest) && put(fd, "R\0\0\0\4", 5);
}
static void *gtm_session(void *arg) {
    int fd = (intptr_t)arg;
    char line[1024], proxy[NAMELEN] = "", *answer;
    if (!get(fd, line, 1)) goto end;
    if (*line == 'A') {
        struct { char kind; uint32_t n, type; } __attribute__((packed)) m;
        if (!binary_handshake(fd)) goto end;
        while (get(fd, &m, 5) && m.kind == 'C' && get(fd, &m.type, 4) && ntohl(m.n) >= 8 && ntohl(m.n) - 8 <= sizeof line) {
            uint32_t size = ntohl(m.n) - 8, given;
            if (size && !get(fd, line, size)) break;
            pthread_mutex_lock(&gtm_lock);
            if (ntohl(m.type) == 16 && size == 19) { /* what a GTM tells its standby: 1, slot, GXID, level, flag, connection */
                memcpy(&given, line + 8, 4);
                if (next_gxid < (int)ntohl(given)) next_gxid = ntohl(given) + 1;
            } else answer_probe(fd, ntohl(m.type));
            pthread_mutex_unlock(&gtm_lock);
        }
        goto end;
    }
    if (*line != 'H' || !get_line(fd, line, sizeof line) || sscanf(line, "ELLO %63s", proxy) != 1) goto end;
    if (!strcmp(proxy, "-")) *proxy = 0;
    puts_to(fd, "OK\n");
    while (get_line(fd, line, sizeof line)) {
        pthread_mutex_lock(&gtm_lock);
        if (!strncmp(line, "REGISTER ", 9)) answer = fmt("%s\n", do_register(fd, proxy, line + 9));
        else if (!strcmp(line, "UNREGISTER")) { forget(fd); answer = strdup("OK\n"); }
        else if (!active) answer = strdup("ERROR this is a standby\n");
        else if (!strcmp(line, "SNAPSHOT")) answer = fmt("OK %d\n", next_gxid);
        else if (!strcmp(line, "GXID")) answer = fmt("OK %d\n", next_gxid++);
        else answer = strdup("ERROR unknown request\n");
        pthread_mutex_unlock(&gtm_lock);
        if (!puts_to(fd, answer)) break;
        free(answer);
    }
end:
    pthread_mutex_lock(&gtm_lock);
    forget(fd);
    close(fd);
    pthread_mutex_unlock(&gtm_lock);
    return NULL;
}
/* Opens a connection to a gtm or proxy, says hello and registers. Answer: OK, ERROR ... or empty (unreachable). */
static int gtm_open(const char *host, int port, const char *proxy, const char *registration, char *answer, size_t size) {
    char *hello = fmt("HELLO %s", *proxy ? proxy : "-");
    int fd = dial(host, port, GTM_TIMEOUT);
    *answer = 0;
    if (!ask(fd, hello, answer, size) || (registration && !ask(fd, registration, answer, size))) *answer = 0;
    free(hello);
    if (strncmp(answer, "OK", 2) && fd >= 0) { close(fd); fd = -1; }
    return fd;
}
static int gtm_main(int argc, char **argv) {
    char *d = getenv("PGDATA"), answer[1024], *name, *address, *text, *host;
    int o, port = 0, start_gxid = 0, up = -1, listener, aport;
    uint32_t saved;
    FILE *control;
    sigset_t set = block_signals();
    while ((o = getopt(argc, argv, "D:p:x:h:n:l:")) != -1) {
        if (o == 'D') d = optarg;
        else if (o == 'p') port = atoi(optarg);
        else if (o == 'x') start_gxid = atoi(optarg);
        else if (o == '?') return 1;
    }
    if (getuid() == 0) fatal("\"root\" execution of the GTM server is not permitted");
    enter(d, "gtm.conf");
    lock_file("gtm.pid", "GTM");
    name = conf("gtm.conf", "nodename", "");
    if (!*name) fatal("nodename is not set in gtm.conf");
    active = strcasecmp(conf("gtm.conf", "startup", "ACT"), "STANDBY");
    keep_idle = conf_int("gtm.conf", "keepalives_idle", 0);
    keep_interval = conf_int("gtm.conf", "keepalives_interval", 0);
    keep_count = conf_int("gtm.conf", "keepalives_count", 0);
    address = conf("gtm.conf", "listen_addresses", "*");
    if (!port) port = conf_int("gtm.conf", "port", 6666);
    host = conf("gtm.conf", "active_host", "");
    aport = conf_int("gtm.conf", "active_port", 6666);
    if ((control = fopen("gtm.control", "r"))) { /* like the real one: four bytes in host order first */
        if (fread(&saved, sizeof saved, 1, control) == 1) next_gxid = saved;
        fclose(control);
    }
    if (start_gxid) next_gxid = start_gxid;
    write_file("gtm.pid", "%d\n%s\n%d\n", getpid(), dir, active);
    log_to(conf("gtm.conf", "log_file", "gtm.log"));
    if (!active) {
        text = fmt("REGISTER %d %s %d 0.0.0.0 %s", T_GTM, name, port, dir);
        up = gtm_open(host, aport, "", text, answer, sizeof answer);
        if (up < 0) fatal("Failed to establish a connection to active-GTM. %s", *answer ? answer + 6 : "");
    }
    listener = listen_on(address, port);
    write_opts("gtm.opts", argc, argv);
    note("Started to run as GTM-%s at (%s:%d)", active ? "Active" : "Standby", address, port);
    start_listener(listener, gtm_session);
    for (;;) {
        int s = wait_signal(&set, active ? -1 : 300);
        if (s == SIGUSR1 && !active) { /* promotion */
            FILE *f = fopen("gtm.conf", "a");
            fprintf(f, "startup = ACT\n");
            fclose(f);
            pthread_mutex_lock(&gtm_lock);
            active = true;
            pthread_mutex_unlock(&gtm_lock);
            write_file("gtm.pid", "%d\n%s\n1\n", getpid(), dir);
            if (up >= 0) close(up);
            note("Promoted to GTM-Active");
        } else if (s > 0 && s != SIGUSR1) break;
        else if (s < 0 && up >= 0) { /* a standby follows */
            if (ask(up, "SNAPSHOT", answer, sizeof answer)) next_gxid = atoi(answer + 3);
            else { close(up); up = -1; note("lost the active GTM"); }
        }
    }
    unlink("gtm.pid");
    saved = next_gxid;
    if ((control = fopen("gtm.control", "w"))) { fwrite(&saved, sizeof saved, 1, control); fclose(control); }
    note("GTM shutting down");
    return 1; /* as XC's does after a normal stop */
}

/* ---- gtm_proxy --------------------------------------------------------------------------------------------- */

static char proxy_name[NAMELEN], proxy_host[256], *proxy_registration;
static int proxy_gtm_port, proxy_generation, proxy_patience;
static pthread_mutex_t worker = PTHREAD_MUTEX_INITIALIZER; /* one worker thread, as in the document */

static void *proxy_session(void *arg) {
    int fd = (intptr_t)arg, up = -1, generation = -1;
    char line[1024], answer[1024], registration[1024] = "";
    pthread_mutex_lock(&worker);
    /* XC reads the handshake while it holds the worker's lock, and never gives it back when that fails. */
    if (!get(fd, line, 1) || (*line != 'H' && *line != 'A') ||
        !(*line == 'A' ? binary_handshake(fd) : get_line(fd, line, sizeof line) && puts_to(fd, "OK\n"))) {
        note("broken handshake: the worker is dead-locked");
        for (;;) pause();
    }
    pthread_mutex_unlock(&worker);
    while (*line != 'A' && get_line(fd, line, sizeof line)) {
        bool sent = false;
        if (!strncmp(line, "REGISTER ", 9)) snprintf(registration, sizeof registration, "%s", line);
        pthread_mutex_lock(&worker);
        for (int tries = 0; !sent && tries < proxy_patience * 2; tries++) {
            if (tries > 1) { pthread_mutex_unlock(&worker); usleep(500000); pthread_mutex_lock(&worker); }
            if (up >= 0 && generation != proxy_generation) { close(up); up = -1; }
            if (up < 0) {
                bool again = *registration && strcmp(registration, line);
                generation = proxy_generation;
                up = gtm_open(proxy_host, proxy_gtm_port, proxy_name, again ? registration : NULL, answer, sizeof answer);
                if (up < 0) continue;
            }
            sent = ask(up, line, answer, sizeof answer);
            if (!sent) { close(up); up = -1; }
        }
        pthread_mutex_unlock(&worker);
        if (!sent || !puts_to(fd, answer) || !puts_to(fd, "\n")) break;
    }
    if (*line == 'A') while (get(fd, line + 1, 1)) {}
    if (up >= 0) close(up);
    close(fd);
    return NULL;
}
static int proxy_main(int argc, char **argv) {
    char *d = getenv("PGDATA"), *address, answer[1024], *text, *c = "gtm_proxy.conf";
    int o, port, up, listener, down = 0;
    sigset_t set = block_signals();
    while ((o = getopt(argc, argv, "D:h:p:n:s:t:i:l:")) != -1) {
        if (o == 'D') d = optarg;
        else if (o == '?') return 1;
    }
    if (getuid() == 0) fatal("\"root\" execution of the GTM proxy is not permitted");
    enter(d, c);
    lock_file("gtm_proxy.pid", "GTM proxy");
    snprintf(proxy_name, sizeof proxy_name, "%s", conf(c, "nodename", ""));
    if (!*proxy_name) fatal("nodename is not set in gtm_proxy.conf");
    address = conf(c, "listen_addresses", "*");
    port = conf_int(c, "port", 6666);
    snprintf(proxy_host, sizeof proxy_host, "%s", conf(c, "gtm_host", "localhost"));
    proxy_gtm_port = conf_int(c, "gtm_port", 6668);
    proxy_patience = conf_int(c, "gtm_connect_retry_idle", 30) + conf_int(c, "gtm_connect_retry_count", 10) * conf_int(c, "gtm_connect_retry_interval", 10) +
                     conf_int(c, "err_wait_idle", 60) + conf_int(c, "err_wait_count", 10) * conf_int(c, "err_wait_interval", 10);
    write_file("gtm_proxy.pid", "%d\n%s\n", getpid(), dir);
    proxy_registration = fmt("REGISTER %d %s %d %s %s", T_PROXY, proxy_name, port, *address == '*' ? "0.0.0.0" : address, dir);
    up = gtm_open(proxy_host, proxy_gtm_port, "", proxy_registration, answer, sizeof answer);
    if (up < 0) fatal("%s", *answer ? answer + 6 : "can not connect to GTM"); /* the pid file stays behind */
    log_to(conf(c, "log_file", "gtm_proxy.log"));
    listener = listen_on(address, port);
    write_opts("gtm_proxy.opts", argc, argv);
    note("Starting GTM proxy at (%s:%d)", address, port);
    start_listener(listener, proxy_session);
    for (;;) {
        int s = wait_signal(&set, 500);
        struct pollfd p = {.fd = up, .events = POLLIN};
        if (s == SIGUSR1) { /* gtm_ctl reconnect */
            if (!(text = read_file("newgtm")) || sscanf(text, " -s %255s -t %d", proxy_host, &proxy_gtm_port) != 2) note("newgtm is not usable");
            unlink("newgtm");
            if (up >= 0) close(up);
            up = -1;
            proxy_generation++;
        } else if (s > 0) break;
        if (up >= 0 && poll(&p, 1, 0) > 0) { close(up); up = -1; note("lost connection to GTM"); }
        if (up >= 0) { down = 0; continue; }
        up = gtm_open(proxy_host, proxy_gtm_port, "", proxy_registration, answer, sizeof answer);
        if (up < 0 && ++down > proxy_patience * 2) fatal("GTM did not come back in time");
    }
    if (!ask(up, "UNREGISTER", answer, sizeof answer)) fatal("could not unregister at GTM"); /* again, the pid file stays */
    unlink("gtm_proxy.pid");
    note("GTM proxy shutting down");
    return 1;
}

/* ---- PostgreSQL's wire protocol, version 3 --------------------------------------------------------------------- */

typedef struct { char *at; size_t n, room; } Buf;
static void add(Buf *b, const void *p, size_t n) {
    if (b->n + n >= b->room) b->at = realloc(b->at, b->room = 2 * (b->n + n) + 64);
    memcpy(b->at + b->n, p, n);
    b->n += n;
}
static void add_string(Buf *b, const char *s) { add(b, s, strlen(s) + 1); }
static void add32(Buf *b, uint32_t v) { v = htonl(v); add(b, &v, 4); }
static void add16(Buf *b, uint16_t v) { v = htons(v); add(b, &v, 2); }
static size_t begin(Buf *b, char kind) { size_t mark = b->n + 1; add(b, &kind, 1); add32(b, 0); return mark; }
static void end(Buf *b, size_t mark) { uint32_t n = htonl(b->n - mark); memcpy(b->at + mark, &n, 4); }

/* The result of one statement: an error, or a tag with rows of text. */
typedef struct {
    char *error, code[6], *tag;
    int ncol, nrow, oid[16];
    char *col[16], **cell; /* cell: nrow x ncol */
} Result;
enum { BOOL = 16, CHAR = 18, NAME = 19, INT8 = 20, INT4 = 23, TEXT = 25, OID = 26 };

static Result failed(const char *code, const char *f, ...) {
    Result r = {0};
    va_list ap;
    va_start(ap, f);
    if (vasprintf(&r.error, f, ap) < 0) abort();
    va_end(ap);
    snprintf(r.code, sizeof r.code, "%s", code);
    return r;
}
static Result done(const char *tag) { return (Result){.tag = strdup(tag)}; }
static void add_row(Result *r, char **cells) {
    r->cell = realloc(r->cell, sizeof(char *) * r->ncol * (r->nrow + 1));
    for (int i = 0; i < r->ncol; i++) r->cell[r->nrow * r->ncol + i] = cells[i];
    r->nrow++;
}
static Result single(const char *column, int oid, const char *value) {
    Result r = {.ncol = 1, .oid = {oid}, .col = {strdup(column)}};
    char *cell = strdup(value);
    add_row(&r, &cell);
    return r;
}
static void add_error(Buf *b, const char *level, const char *code, const char *text) {
    size_t m = begin(b, 'E');
    add(b, "S", 1); add_string(b, level); add(b, "C", 1); add_string(b, code); add(b, "M", 1); add_string(b, text); add(b, "", 1);
    end(b, m);
}
static void add_result(Buf *b, Result *r) {
    size_t m;
    char tag[40];
    if (r->error) { add_error(b, "ERROR", r->code, r->error); return; }
    if (r->ncol) {
        m = begin(b, 'T');
        add16(b, r->ncol);
        for (int i = 0; i < r->ncol; i++) {
            int o = r->oid[i];
            add_string(b, r->col[i]);
            add32(b, 0); add16(b, 0); add32(b, o);
            add16(b, o == BOOL || o == CHAR ? 1 : o == INT4 || o == OID ? 4 : o == INT8 ? 8 : o == NAME ? 64 : 0xffff);
            add32(b, 0xffffffff); add16(b, 0);
        }
        end(b, m);
        for (int i = 0; i < r->nrow; i++) {
            m = begin(b, 'D');
            add16(b, r->ncol);
            for (int j = 0; j < r->ncol; j++) {
                char *c = r->cell[i * r->ncol + j];
                add32(b, strlen(c));
                add(b, c, strlen(c));
            }
            end(b, m);
        }
        snprintf(tag, sizeof tag, "SELECT %d", r->nrow);
    }
    m = begin(b, 'C');
    add_string(b, r->tag ? r->tag : tag);
    end(b, m);
}
/* One message from the other side; the body is a fresh string with a NUL after it. */
static char *get_message(int fd, char *kind, uint32_t *size) {
    char *body;
    if ((kind && !get(fd, kind, 1)) || !get(fd, size, 4)) return NULL;
    *size = ntohl(*size) - 4;
    if (*size > 1 << 26) return NULL;
    body = calloc(1, *size + 1);
    if (get(fd, body, *size)) return body;
    free(body);
    return NULL;
}
static char *error_text(const char *body) {
    while (*body && *body != 'M') body += strlen(body) + 1;
    return strdup(*body ? body + 1 : "error");
}
/* Client side: reads messages until ReadyForQuery. Several results: the last one counts, or the first error. */
static Result pq_read(int fd, void (*each)(Result *)) {
    Result r = {0};
    for (;;) {
        char kind, *body, *p;
        uint32_t n;
        if (!(body = get_message(fd, &kind, &n))) return r.error ? r : failed("08006", "server closed the connection unexpectedly");
        p = body + 2;
        if (kind == 'E' && !r.error) {
            const char *c = body;
            while (*c && *c != 'C') c += strlen(c) + 1;
            r = failed(*c ? c + 1 : "XX000", "%s", p = error_text(body));
        } else if (kind == 'T') {
            r = (Result){.ncol = ntohs(*(uint16_t *)body)};
            for (int i = 0; i < r.ncol && i < 16; i++) {
                uint32_t oid;
                r.col[i] = strdup(p);
                p += strlen(p) + 1;
                memcpy(&oid, p + 6, 4);
                r.oid[i] = ntohl(oid);
                p += 18;
            }
        } else if (kind == 'D') {
            char *cells[16];
            for (int i = 0; i < r.ncol; i++) {
                memcpy(&n, p, 4);
                n = ntohl(n) == 0xffffffff ? 0 : ntohl(n);
                cells[i] = strndup(p + 4, n);
                p += 4 + n;
            }
            add_row(&r, cells);
        } else if (kind == 'C' && !r.error) {
            if (!r.ncol) r.tag = strdup(body);
            if (each) { r.tag = strdup(body); each(&r); r = (Result){0}; }
        } else if (kind == 'Z') { free(body); return r; }
        else if (kind == 'G' && each) { /* a user's COPY; a node has sent its rows already */
            Buf b = {0};
            size_t m = begin(&b, 'f');
            add_string(&b, "the stand-in's psql sends no data");
            end(&b, m);
            put(fd, b.at, b.n);
            free(b.at);
        }
        else if (kind == 'R' && ntohl(*(uint32_t *)body) != 0) {
            char *password = getenv("PGPASSWORD");
            Buf b = {0};
            size_t m = begin(&b, 'p');
            if (!password || each == NULL) { free(body); return failed("28000", "fe_sendauth: no password supplied"); }
            add_string(&b, "md5-stand-in"); /* any password does: see README.md */
            end(&b, m);
            put(fd, b.at, b.n);
        }
        free(body);
    }
}
static Result pq_exec(int fd, const char *sql, void (*each)(Result *)) {
    Buf b = {0};
    size_t m = begin(&b, 'Q');
    add_string(&b, sql);
    end(&b, m);
    if (!put(fd, b.at, b.n)) return failed("08006", "server closed the connection unexpectedly");
    free(b.at);
    return pq_read(fd, each);
}
static void ignore_result(Result *r) { (void)r; }
static int pq_connect(const char *host, int port, const char *user, const char *db, const char *peer, char **why) {
    Buf b = {0};
    int fd = dial(host, port, PEER_TIMEOUT);
    Result r;
    if (fd < 0) { *why = fmt("could not connect to server: %s: host \"%s\", port %d", strerror(errno), host, port); return -1; }
    add32(&b, 0); add32(&b, 196608);
    add_string(&b, "user"); add_string(&b, user); add_string(&b, "database"); add_string(&b, db);
    if (peer) { add_string(&b, "standin_peer"); add_string(&b, peer); }
    add(&b, "", 1);
    end(&b, 0);
    put(fd, b.at, b.n);
    free(b.at);
    r = pq_read(fd, peer ? NULL : ignore_result); /* nodes have no passwords for each other */
    if (!peer) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0}, sizeof(struct timeval)); /* a user waits */
    if (!r.error) return fd;
    *why = fmt("FATAL:  %s", r.error);
    close(fd);
    return -1;
}

/* ---- postgres: catalogue and placement --------------------------------------------------------------------------- */

typedef struct { int oid, port; char name[NAMELEN], host[NAMELEN], type; bool primary, preferred; } Node;
typedef struct Prepared { struct Prepared *next; char *name, *sql; } Prepared; /* sql NULL: closed */
typedef struct {
    int fd, nnode, generation;
    const char *peer;
    char user[NAMELEN], db[NAMELEN], *portal, *portal_sql;
    Prepared *prepared;
    Node node[MAXNODES];
} Session;
typedef struct { char *s, *at; char kind; } Token; /* kind: w word, s string, n number, or the character itself */

static bool coordinator;
static char self_name[NAMELEN], *gtm_host, *node_registration;
static int gtm_port, gtm_fd = -1, pool_generation, sessions;
static pthread_mutex_t catalog = PTHREAD_MUTEX_INITIALIZER, gtm_mutex = PTHREAD_MUTEX_INITIALIZER;

#define ROT(x, k) ((x) << (k) | (x) >> (32 - (k)))
static uint32_t hash_final(uint32_t a, uint32_t b, uint32_t c) { /* Jenkins' lookup3, as in xc_hash.py */
    c ^= b; c -= ROT(b, 14); a ^= c; a -= ROT(c, 11); b ^= a; b -= ROT(a, 25); c ^= b; c -= ROT(b, 16);
    a ^= c; a -= ROT(c, 4); b ^= a; b -= ROT(a, 14); c ^= b; c -= ROT(b, 24);
    return c;
}
static int32_t hash_name(const char *s) {
    uint32_t n = strlen(s), a, b, c, w[3];
    a = b = c = 0x9e3779b9 + n + 3923095;
    for (; n >= 12; s += 12, n -= 12) {
        memcpy(w, s, 12);
        a += w[0]; b += w[1]; c += w[2];
        a -= c; a ^= ROT(c, 4); c += b; b -= a; b ^= ROT(a, 6); a += c; c -= b; c ^= ROT(b, 8); b += a;
        a -= c; a ^= ROT(c, 16); c += b; b -= a; b ^= ROT(a, 19); a += c; c -= b; c ^= ROT(b, 4); b += a;
    }
    memset(w, 0, sizeof w);
    memcpy(w, s, n < 8 ? n : 8);
    for (uint32_t i = 8; i < n; i++) w[2] += (uint32_t)(unsigned char)s[i] << 8 * (i - 7);
    return hash_final(a + w[0], b + w[1], c + w[2]);
}
static int place(int k, int nodes) {
    uint32_t seed = 0x9e3779b9 + 4 + 3923095;
    int64_t h = (int32_t)hash_final(seed + (uint32_t)k, seed, seed);
    return (h < 0 ? -h : h) % nodes;
}
static int load_nodes(Node *to) {
    char *text = read_file("global/pgxc_node"), *save = NULL, *line;
    int n = 0, primary, preferred;
    if (!text) return 0;
    for (line = strtok_r(text, "\n", &save); line && n < MAXNODES; line = strtok_r(NULL, "\n", &save), n++) {
        memset(to + n, 0, sizeof *to);
        sscanf(line, "%d %63s %c %d %63s %d %d", &to[n].oid, to[n].name, &to[n].type, &to[n].port, to[n].host, &primary, &preferred);
        to[n].primary = primary;
        to[n].preferred = preferred;
    }
    free(text);
    return n;
}
static void save_nodes(Node *node, int n) {
    char *all = strdup("");
    for (int i = 0; i < n; i++)
        all = fmt("%s%d %s %c %d %s %d %d\n", all, node[i].oid, node[i].name, node[i].type, node[i].port, node[i].host, node[i].primary, node[i].preferred);
    write_file("global/pgxc_node", "%s", all);
    free(all);
}
static int by_name(const void *a, const void *b) { return strcmp(((const Node *)a)->name, ((const Node *)b)->name); }
static Node *find(Node *node, int n, const char *name) {
    for (int i = 0; i < n; i++) if (!strcmp(node[i].name, name)) return node + i;
    return NULL;
}
/* Every statement needs GTM, through the proxy. A lost connection is opened and registered again, once. */
static bool gtm_ask(const char *request) {
    char answer[1024];
    bool ok;
    pthread_mutex_lock(&gtm_mutex);
    errno = 0;
    ok = ask(gtm_fd, request, answer, sizeof answer) && !strncmp(answer, "OK", 2);
    if (!ok && errno != EAGAIN) {
        if (gtm_fd >= 0) close(gtm_fd);
        usleep(100000);
        gtm_fd = gtm_open(gtm_host, gtm_port, "", node_registration, answer, sizeof answer);
        ok = ask(gtm_fd, request, answer, sizeof answer) && !strncmp(answer, "OK", 2);
    }
    pthread_mutex_unlock(&gtm_mutex);
    return ok;
}

/* ---- postgres: statements ---------------------------------------------------------------------------------------- */

static Token *tokens(char *sql, int *n) {
    Token *t = calloc(strlen(sql) + 2, sizeof *t);
    int k = 0;
    for (char *p = sql; *p; ) {
        char *from = p, *to;
        if (isspace(*p)) { p++; continue; }
        if (p[0] == '-' && p[1] == '-') { p += strcspn(p, "\n"); continue; }
        t[k].at = from;
        if (*p == '\'' || *p == '"') {
            t[k].kind = *p == '"' ? 'w' : 's';
            t[k].s = to = malloc(strlen(p) + 1);
            for (p++; *p && (*p != *from || p[1] == *from); p++) {
                if (*p == *from) p++;
                *to++ = *p;
            }
            *to = 0;
            if (*p) p++;
        } else if (isalpha(*p) || *p == '_') {
            while (isalnum(*p) || *p == '_') p++;
            t[k].kind = 'w';
            t[k].s = strndup(from, p - from);
            for (to = t[k].s; *to; to++) *to = tolower(*to);
        } else if (isdigit(*p) || (*p == '-' && isdigit(p[1]))) {
            for (p++; isdigit(*p); p++) {}
            t[k].kind = 'n';
            t[k].s = strndup(from, p - from);
        } else {
            t[k].kind = *p++;
            t[k].s = strndup(from, 1);
        }
        k++;
    }
    t[k].s = "";
    t[k].at = sql + strlen(sql);
    *n = k;
    return t;
}
/* Do the tokens follow this pattern? Words of the pattern stand for themselves, @ for any one token. */
static bool like(Token *t, const char *pattern) {
    char *copy = strdup(pattern), *save = NULL, *w;
    bool ok = true;
    for (w = strtok_r(copy, " ", &save); w && ok; w = strtok_r(NULL, " ", &save), t++)
        ok = t->kind && (!strcmp(w, "@") || (!strcmp(t->s, w) && t->kind != 's'));
    free(copy);
    return ok;
}
static Result syntax(Token *t) { return failed("42601", *t->s ? "syntax error at or near \"%s\"" : "syntax error at end of input%s", t->s); }

static Result node_statement(Session *s, Token *t) { /* create | alter | drop node NAME [with (...)] */
    bool create = t->s[0] == 'c', drop = t->s[0] == 'd', has_primary = false;
    char *name = t[2].s;
    Node list[MAXNODES + 1], *e, new = {.port = 5432, .host = "localhost"};
    int n = load_nodes(list), next = 16384;
    for (int i = 0; i < n; i++) if (list[i].oid >= next) next = list[i].oid + 1;
    for (int i = 0; i < s->nnode; i++) has_primary |= s->node[i].primary;
    e = find(list, n, name);
    if (strlen(name) >= NAMELEN) return failed("42622", "Node name \"%s\" is too long", name);
    if (create && e) return failed("42710", "PGXC Node %s: object already defined", name);
    if (!create && !e) return failed("42704", "PGXC Node %s: object not defined", name);
    if (drop) {
        if (!strcmp(name, self_name)) return failed("42809", "PGXC Node %s: cannot drop local node", name);
        *e = list[n - 1];
        save_nodes(list, n - 1);
        return done("DROP NODE");
    }
    if (!create) new = *e;
    if (!like(t + 3, "with (")) return syntax(t + 3);
    for (t += 5; ; t++) {
        char *key = t->s, *value = "true";
        if (t->kind != 'w') return syntax(t);
        t++;
        if (like(t, "= @")) { value = t[1].s; t += 2; }
        if (!strcmp(key, "type")) {
            if (strcmp(value, "coordinator") && strcmp(value, "datanode")) return failed("42601", "PGXC node %s: Incorrect node type", name);
            new.type = *value == 'c' ? 'C' : 'D';
        } else if (!strcmp(key, "host")) snprintf(new.host, NAMELEN, "%s", value);
        else if (!strcmp(key, "port")) { if ((new.port = atoi(value)) < 1 || new.port > 65535) return failed("42601", "port value is out of range"); }
        else if (!strcmp(key, "primary")) new.primary = yes(value);
        else if (!strcmp(key, "preferred")) new.preferred = yes(value);
        else return failed("42601", "incorrect option: %s", key);
        if (strcmp(t->s, ",")) break;
    }
    if (strcmp(t->s, ")")) return syntax(t);
    if (!new.type) return failed("42601", "PGXC node %s: Node type not specified", name);
    if (new.type == 'C' && new.primary) return failed("42601", "PGXC node %s: cannot be a primary node, it has to be a Datanode", name);
    if (new.type == 'C' && new.preferred) return failed("42601", "PGXC node %s: cannot be a preferred node, it has to be a Datanode", name);
    if (new.primary && has_primary) return failed("42601", "PGXC node %s: two nodes cannot be primary", name); /* the session's view, as in 1.0.2 */
    snprintf(new.name, NAMELEN, "%s", name);
    if (create) { if (n == MAXNODES) return failed("54000", "too many nodes"); new.oid = next; e = list + n++; }
    *e = new;
    save_nodes(list, n);
    return done(create ? "CREATE NODE" : "ALTER NODE");
}
static Result select_nodes(Token *t) { /* select columns from pgxc_node [where column = value] [order by node_name] */
    static const struct { const char *name; int oid; } all[] = {{"oid", OID}, {"node_name", NAME}, {"node_type", CHAR}, {"node_port", INT4},
        {"node_host", NAME}, {"nodeis_primary", BOOL}, {"nodeis_preferred", BOOL}, {"node_id", INT4}};
    Result r = {0};
    int pick[16], n, filter = -1;
    Node list[MAXNODES];
    char *wanted = NULL;
    bool count = like(t, "select count ( * )");
    for (t++; count && strcmp(t->s, "from"); t++) {}
    for (; strcmp(t->s, "from"); t++) {
        int i = 0;
        if (!strcmp(t->s, ",")) continue;
        if (!strcmp(t->s, "*")) { for (i = 1; i < 8; i++) pick[r.ncol++] = i; continue; }
        while (i < 8 && strcmp(all[i].name, t->s)) i++;
        if (i == 8 || r.ncol == 8) return failed("42703", "column \"%s\" does not exist", t->s);
        pick[r.ncol++] = i;
    }
    for (int i = 0; i < r.ncol; i++) { r.col[i] = (char *)all[pick[i]].name; r.oid[i] = all[pick[i]].oid; }
    t += 2;
    if (like(t, "where @ = @")) {
        for (filter = 0; filter < 8 && strcmp(all[filter].name, t[1].s); filter++) {}
        if (filter == 8) return failed("42703", "column \"%s\" does not exist", t[1].s);
        wanted = t[3].s;
        t += 4;
    }
    n = load_nodes(list);
    if (like(t, "order by node_name")) { qsort(list, n, sizeof *list, by_name); t += 3; }
    if (t->kind) return syntax(t);
    int found = 0;
    for (int i = 0; i < n; i++) {
        Node *e = list + i;
        char *v[8] = {fmt("%d", e->oid), fmt("%s", e->name), fmt("%c", e->type), fmt("%d", e->port), fmt("%s", e->host), e->primary ? "t" : "f",
                      e->preferred ? "t" : "f", fmt("%d", hash_name(e->name))}, *cells[16];
        if (wanted && strcmp(v[filter], wanted)) continue;
        for (int j = 0; j < r.ncol; j++) cells[j] = v[pick[j]];
        if (!count) add_row(&r, cells);
        found++;
    }
    return count ? single("count", INT8, fmt("%d", found)) : r;
}
static char *table_path(const char *name) {
    char *path = fmt("base/%s.table", name);
    if (strchr(name, '/')) *path = 0;
    return path;
}
/* The nodes that a statement of this coordinator has to reach: connections, all or none. */
static int reach(Session *s, Node *list, int n, int *fd, Result *r) {
    for (int i = 0; i < n; i++) {
        char *why = NULL;
        if ((fd[i] = pq_connect(list[i].host, list[i].port, s->user, s->db, self_name, &why)) >= 0) continue;
        note("node %s: %s", list[i].name, why);
        while (i--) close(fd[i]);
        *r = failed("53000", "Failed to get pooled connections");
        return -1;
    }
    return 0;
}
static int select_type(Session *s, char type, bool others_only, Node *to) {
    int n = 0;
    for (int i = 0; i < s->nnode; i++)
        if (s->node[i].type == type && !(others_only && !strcmp(s->node[i].name, self_name))) to[n++] = s->node[i];
    qsort(to, n, sizeof *to, by_name);
    return n;
}
/* The datanodes that a table was made on, in the order of placement. */
static int table_nodes(Session *s, const char *table, Node *to, Result *r) {
    char *text = read_file(table_path(table)), *save = NULL, *w;
    int n = 0;
    if (!text) { *r = failed("42P01", "relation \"%s\" does not exist", table); return -1; }
    for (w = strtok_r(text, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
        Node *e = find(s->node, s->nnode, w);
        if (!e) { *r = failed("XX000", "PGXC Node %s: object not defined", w); return -1; }
        to[n++] = *e;
    }
    return n;
}
static Result local_ddl(Session *s, bool create, char *name, bool if_exists) {
    char *path = table_path(name), *all = strdup("");
    Node dn[MAXNODES];
    int n;
    bool there = access(path, F_OK) == 0;
    if (!*path) return failed("42602", "invalid name \"%s\"", name);
    if (create) {
        if (there) return failed("42P07", "relation \"%s\" already exists", name);
        n = coordinator ? select_type(s, 'D', false, dn) : 0;
        for (int i = 0; i < n; i++) all = fmt("%s%s ", all, dn[i].name);
        write_file(path, "%s\n", all);
        return done("CREATE TABLE");
    }
    if (!there && !if_exists) return failed("42P01", "table \"%s\" does not exist", name);
    unlink(path);
    unlink(fmt("base/%s.rows", name));
    return done("DROP TABLE");
}
static Result ddl(Session *s, Token *t, char *text) { /* create table NAME (...) ..., drop table [if exists] NAME */
    bool create = t->s[0] == 'c', if_exists = like(t + 2, "if exists");
    char *name = t[if_exists ? 4 : 2].s;
    Node to[2 * MAXNODES];
    int n, dns, fd[2 * MAXNODES];
    Result r, first = {0};
    if (create && !like(t, "create table @ ( @")) return syntax(t + 3);
    if (!coordinator || s->peer) return local_ddl(s, create, name, if_exists);
    if (create == (access(table_path(name), F_OK) == 0)) return local_ddl(s, create, name, if_exists);
    dns = select_type(s, 'D', false, to);
    if (!dns) return failed("42704", "No Datanode defined in cluster");
    n = dns + select_type(s, 'C', true, to + dns);
    if (reach(s, to, n, fd, &r)) return r;
    if (!gtm_ask("GXID")) return failed("XX000", "GTM error, could not obtain a transaction id");
    for (int i = 0; i < n; i++) {
        r = pq_exec(fd[i], text, NULL);
        if (r.error && !first.error) first = r;
        if (!r.error && create) to[i].oid = -1; /* to be undone if another one fails */
    }
    for (int i = 0; i < n; i++) {
        if (first.error && create && to[i].oid == -1) pq_exec(fd[i], fmt("drop table %s", name), NULL);
        close(fd[i]);
    }
    return first.error && create ? first : local_ddl(s, create, name, if_exists);
}
/* Where the rows of a table go: its datanodes, connected in the order of placement; on a datanode itself no others. */
typedef struct { int nodes, fd[MAXNODES]; } Target;
static bool target(Session *s, const char *name, Target *to, Result *r) {
    Node dn[MAXNODES];
    to->nodes = 0;
    if (access(table_path(name), F_OK)) { *r = failed("42P01", "relation \"%s\" does not exist", name); return false; }
    if (!coordinator) return true;
    if ((to->nodes = table_nodes(s, name, dn, r)) < 0 || reach(s, dn, to->nodes, to->fd, r)) return false;
    if (gtm_ask("GXID")) return true;
    while (to->nodes) close(to->fd[--to->nodes]);
    *r = failed("XX000", "GTM error, could not obtain a transaction id");
    return false;
}
/* Writes the rows, or hands each node its share by a COPY of its own, and ends the connections. */
static Result store(Target *to, const char *name, int *key, int n, const char *tag) {
    Result r, first = {0};
    if (!coordinator) {
        FILE *f = fopen(fmt("base/%s.rows", name), "a");
        if (!f) return failed("58030", "could not write rows: %s", strerror(errno));
        for (int i = 0; i < n; i++) fprintf(f, "%d\n", key[i]);
        fclose(f);
    }
    for (int i = 0; i < to->nodes; i++) {
        Buf b = {0};
        size_t m = begin(&b, 'Q'), none;
        char *sql = fmt("copy \"%s\" from stdin", name), row[16];
        add_string(&b, sql);
        end(&b, m);
        none = b.n;
        for (int j = 0; j < n; j++) {
            if (place(key[j], to->nodes) != i) continue;
            m = begin(&b, 'd');
            add(&b, row, snprintf(row, sizeof row, "%d\n", key[j]));
            end(&b, m);
        }
        m = begin(&b, 'c');
        end(&b, m);
        if (b.n > none + 5) { /* has rows */
            r = put(to->fd[i], b.at, b.n) ? pq_read(to->fd[i], NULL) : failed("08006", "server closed the connection unexpectedly");
            if (r.error && !first.error) first = r;
        }
        free(sql);
        free(b.at);
        close(to->fd[i]);
    }
    return first.error ? first : done(fmt(tag, n));
}
static Result insert(Session *s, Token *t) { /* insert into NAME [(columns)] values (k, ...), ... | select ... generate_series(A, B) ... */
    char *name = t[2].s;
    int *key = NULL, n = 0;
    Target to;
    Result r;
    for (t += 3; t->kind == '('; t++) while (t->kind && t->kind != ')') t++;
    if (access(table_path(name), F_OK)) return failed("42P01", "relation \"%s\" does not exist", name);
    if (like(t, "values")) {
        for (t++; like(t, "( @"); t++) {
            key = realloc(key, sizeof *key * (n + 1));
            key[n++] = atoi(t[1].s);
            while (t->kind && t->kind != ')') t++;
            if (strcmp(t[1].s, ",")) break;
            t++;
        }
    } else if (like(t, "select")) {
        while (t->kind && !like(t, "generate_series ( @ , @ )")) t++;
        if (!t->kind) return failed("0A000", "stand-in: only generate_series can be selected from here");
        int from = atoi(t[2].s), to = atoi(t[4].s);
        if (to - from >= 10000000) return failed("54000", "stand-in: too many rows");
        key = malloc(sizeof *key * (to >= from ? to - from + 1 : 1));
        for (int k = from; k <= to; k++) key[n++] = k;
    }
    if (!n) return syntax(t);
    if (target(s, name, &to, &r)) r = store(&to, name, key, n, "INSERT 0 %d");
    free(key);
    return r;
}
/* The rows of a COPY as they arrive, in pieces that end anywhere. Only the first field is kept; \\. in it ends the data. */
typedef struct { char field[64]; int len, fields, *key, n; bool escaped, any, ended; } Rows;
static Result row_ends(Rows *w, int columns) {
    char *rest;
    long k;
    bool last = w->fields == 1 && !strcmp(w->field, "\\.");
    int fields = w->fields;
    w->any = false;
    if (last) { w->ended = true; return (Result){0}; }
    errno = 0;
    k = strtol(w->field, &rest, 10);
    while (isspace((unsigned char)*rest)) rest++;
    if (columns && fields < columns) return failed("22P04", "missing data for column %d", fields + 1);
    if (columns && fields > columns) return failed("22P04", "extra data after last expected column");
    if (rest == w->field || *rest) return failed("22P02", "invalid input syntax for integer: \"%s\"", w->field);
    if (errno || k != (int)k) return failed("22003", "value \"%s\" is out of range for type integer", w->field);
    if (w->n == 10000000) return failed("54000", "stand-in: too many rows");
    if (!(w->n & (w->n - 1))) w->key = realloc(w->key, sizeof *w->key * (w->n ? 2 * w->n : 1));
    w->key[w->n++] = k;
    return (Result){0};
}
static Result rows(Rows *w, const char *p, uint32_t size, int columns) {
    for (Result r; size--; p++) {
        if (w->ended) break;
        if (!w->any) { w->any = true; w->fields = 1; w->len = 0; w->escaped = false; memset(w->field, 0, sizeof w->field); }
        if (*p == '\n') {
            r = row_ends(w, columns);
            if (r.error) return r;
            continue;
        }
        if (*p == '\t' && !w->escaped) w->fields++;
        else if (w->fields == 1 && w->len + 1 < (int)sizeof w->field) w->field[w->len++] = *p;
        w->escaped = *p == '\\' && !w->escaped;
    }
    return (Result){0};
}
static bool is_copy(Token *t) { return like(t, "copy @") && t[1].kind == 'w'; }
/* copy NAME [(columns)] from stdin; what waits in OUT is sent with the CopyInResponse. Nothing is kept before CopyDone. */
static Result copy(Session *s, Token *t, Buf *out) {
    char *name = t[1].s, kind = 0, *body;
    int columns = 0;
    uint32_t size;
    size_t m;
    Target to;
    Rows w = {0};
    Result r = {0};
    t += 2;
    if (t->kind == '(') {
        do { if (t[1].kind != 'w') return syntax(t + 1); columns++; t += 2; } while (t->kind == ',');
        if (t++->kind != ')') return syntax(t - 1);
    }
    if (!like(t, "from stdin")) return failed("0A000", "stand-in: COPY is known as COPY name [(columns)] FROM STDIN only");
    if (t[2].kind && (t[2].kind != ';' || t[3].kind)) return failed("0A000", "stand-in: COPY is known without options only");
    if (s->generation != pool_generation) { s->nnode = load_nodes(s->node); s->generation = pool_generation; }
    if (!gtm_ask("SNAPSHOT")) return failed("XX000", "GTM error, could not obtain snapshot");
    if (!target(s, name, &to, &r)) return r;
    m = begin(out, 'G');
    add(out, "", 1);
    add16(out, columns);
    for (int i = 0; i < columns; i++) add16(out, 0);
    end(out, m);
    put(s->fd, out->at, out->n);
    out->n = 0;
    while (!r.error && kind != 'c') {
        if (!(body = get_message(s->fd, &kind, &size))) r = failed("08006", "unexpected EOF on client connection");
        else if (kind == 'd') r = rows(&w, body, size, columns);
        else if (kind == 'f') r = failed("57014", "COPY from stdin failed: %s", body);
        else if (kind != 'c' && kind != 'H' && kind != 'S') /* a Sync here is passed over, as in PostgreSQL: tokio-postgres sends one */
            r = failed("08P01", "unexpected message type 0x%02X during COPY from stdin", kind);
        free(body);
    }
    if (!r.error && w.any && !w.ended) r = rows(&w, "\n", 1, columns); /* a last line without its end */
    if (r.error) while (to.nodes) close(to.fd[--to.nodes]);
    else {
        if (!coordinator) pthread_mutex_lock(&catalog);
        r = store(&to, name, w.key, w.n, "COPY %d");
        if (!coordinator) pthread_mutex_unlock(&catalog);
    }
    free(w.key);
    return r;
}
static Result count(Session *s, const char *name) {
    Node dn[MAXNODES];
    int nodes, fd[MAXNODES], c;
    long total = 0;
    Result r, first = {0};
    if (access(table_path(name), F_OK)) return failed("42P01", "relation \"%s\" does not exist", name);
    if (!coordinator || s->peer) {
        FILE *f = fopen(fmt("base/%s.rows", name), "r");
        while (f && (c = getc(f)) != EOF) total += c == '\n';
        if (f) fclose(f);
        return single("count", INT8, fmt("%ld", total));
    }
    if ((nodes = table_nodes(s, name, dn, &r)) < 0 || reach(s, dn, nodes, fd, &r)) return r;
    for (int i = 0; i < nodes; i++) {
        r = pq_exec(fd[i], fmt("select count(*) from %s", name), NULL);
        if (r.error && !first.error) first = r;
        else if (!r.error) total += atol(r.cell[0]);
        close(fd[i]);
    }
    return first.error ? first : single("count", INT8, fmt("%ld", total));
}
static long rows_written(void) { /* bytes of all tables: what stands for the WAL's position here */
    DIR *d = opendir("base");
    struct dirent *e;
    struct stat st;
    long total = 0;
    while (d && (e = readdir(d))) if (strstr(e->d_name, ".rows") && !stat(fmt("base/%s", e->d_name), &st)) total += st.st_size;
    if (d) closedir(d);
    return total;
}
static Result select_relations(Token *t) { /* select relkind , relname from pg_class where relname ~ '^START' ... */
    Result r = {.ncol = 2, .oid = {CHAR, NAME}, .col = {"relkind", "relname"}};
    DIR *d = opendir("base");
    struct dirent *e;
    if (t[9].kind != 's' || *t[9].s != '^') return syntax(t + 9);
    while (d && (e = readdir(d))) {
        char *end = strstr(e->d_name, ".table"), *cells[2] = {"r"};
        if (!end || strncmp(e->d_name, t[9].s + 1, strlen(t[9].s) - 1)) continue;
        cells[1] = strndup(e->d_name, end - e->d_name);
        add_row(&r, cells);
    }
    if (d) closedir(d);
    return r;
}
static Result drop_several(Session *s, Token *t) { /* drop table if exists NAME, NAME, ...: one after the other */
    Result r;
    int n;
    for (t += 4;; t += 2) {
        char *one = fmt("drop table if exists %s", t->s);
        r = ddl(s, tokens(one, &n), one);
        if (r.error || !like(t + 1, ", @")) return r;
    }
}
static Result run(Session *s, Token *t, char *text);
static Result execute_direct(Session *s, Token *t) { /* execute direct on NODE 'query' */
    Node *e;
    Result r;
    int fd, n;
    if (t[4].kind != 's') return syntax(t + 4);
    if (!coordinator) return failed("0A000", "EXECUTE DIRECT cannot be executed on a Datanode");
    if (strncasecmp(t[4].s, "select", 6)) return failed("0A000", "EXECUTE DIRECT cannot execute this utility query");
    if (!(e = find(s->node, s->nnode, t[3].s))) return failed("42704", "PGXC Node %s: object not defined", t[3].s);
    if (!strcmp(e->name, self_name)) {
        Session local = *s;
        Token *inner = tokens(t[4].s, &n);
        local.peer = self_name;
        return run(&local, inner, t[4].s);
    }
    if (reach(s, e, 1, &fd, &r)) return r;
    r = pq_exec(fd, t[4].s, NULL);
    close(fd);
    return r;
}
static Result run(Session *s, Token *t, char *text) {
    const char *c = "postgresql.conf";
    if (like(t, "set")) return done("SET");
    if (!gtm_ask("SNAPSHOT")) return failed("XX000", "GTM error, could not obtain snapshot");
    if (like(t, "create node @") || like(t, "alter node @") || like(t, "drop node @")) return node_statement(s, t);
    if (like(t, "drop table if exists @ ,")) return drop_several(s, t);
    if (like(t, "create table @") || like(t, "drop table @")) return ddl(s, t, text);
    if (like(t, "insert into @")) return insert(s, t);
    if (like(t, "execute direct on @")) return execute_direct(s, t);
    if (like(t, "show @") && !t[2].kind) {
        char *v = conf(c, t[1].s, "");
        return *v ? single(t[1].s, TEXT, v) : failed("42704", "unrecognized configuration parameter \"%s\"", t[1].s);
    }
    if (!like(t, "select")) return syntax(t);
    if (t[1].kind == 'n' && !t[2].kind) return single("?column?", INT4, t[1].s);
    if (like(t + 1, "@ ( )") && !t[4].kind) {
        char *f = t[1].s;
        if (!strcmp(f, "pgxc_node_str")) return single(f, NAME, self_name);
        if (!strcmp(f, "pgxc_version")) return single(f, TEXT, "Postgres-XC 1.0.2 stand-in, based on PostgreSQL 9.1.7");
        if (!strcmp(f, "version")) return single(f, TEXT, "PostgreSQL 9.1.7 stand-in");
        if (!strcmp(f, "txid_current_snapshot")) return single(f, TEXT, "10001:10001:"); /* no transaction is open */
        if (!strcmp(f, "pg_current_xlog_location")) return single(f, TEXT, fmt("0/%lX", rows_written()));
        if (!strcmp(f, "pgxc_pool_reload")) {
            if (coordinator) { pool_generation++; s->nnode = load_nodes(s->node); s->generation = pool_generation; }
            return single(f, BOOL, "t");
        }
        if (!strcmp(f, "pgxc_pool_check")) {
            Node now[MAXNODES] = {0};
            return single(f, BOOL, load_nodes(now) == s->nnode && !memcmp(now, s->node, s->nnode * sizeof *now) ? "t" : "f");
        }
        return failed("42883", "function %s() does not exist", f);
    }
    for (Token *from = t; from->kind; from++) if (like(from, "from pgxc_node")) return select_nodes(t);
    if (like(t, "select count ( * ) from pg_class where relname = @") && !t[11].kind)
        return single("count", INT8, access(table_path(t[10].s), F_OK) ? "0" : "1");
    if (like(t, "select relkind , relname from pg_class where relname ~ @")) return select_relations(t);
    /* it prepares no transaction and has no node group */
    if (like(t, "select gid from pg_prepared_xacts")) return (Result){.ncol = 1, .oid = {TEXT}, .col = {"gid"}};
    if (like(t, "select transaction , case when gid =")) return (Result){.ncol = 2, .oid = {TEXT, TEXT}, .col = {"transaction", "case"}};
    if (like(t, "select group_name from pgxc_group")) return (Result){.ncol = 1, .oid = {NAME}, .col = {"group_name"}};
    if (like(t, "select count ( * ) from pg_prepared_xacts")) return single("count", INT8, "0"); /* it prepares none */
    if (like(t, "select sum ( case when application_name")) { /* it keeps no pool either */
        Result r = {.ncol = 5, .oid = {INT8, INT8, INT8, INT8, INT8}, .col = {"sum", "sum", "sum", "count", "count"}};
        char *cells[5] = {"0", "0", "0", "0", "0"};
        add_row(&r, cells);
        return r;
    }
    if (like(t, "select count ( * ) from @") && !t[7].kind) return count(s, t[6].s);
    return failed("0A000", "stand-in: this statement is not known: %.60s", text);
}

/* ---- postgres: sessions and the server ----------------------------------------------------------------------------- */

/* The method of the first line of pg_hba.conf that fits an IPv4 address; host lines with CIDR only. */
static const char *hba_method(struct in_addr from, const char *db, const char *user) {
    char *text = read_file("pg_hba.conf"), *save = NULL, *line;
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char d[NAMELEN], u[NAMELEN], cidr[64], method[32], *slash;
        struct in_addr net;
        uint32_t mask;
        if (sscanf(line, " host %63s %63s %63s %31s", d, u, cidr, method) != 4 || !(slash = strchr(cidr, '/'))) continue;
        *slash = 0;
        mask = atoi(slash + 1) ? htonl(~0U << (32 - atoi(slash + 1))) : 0;
        if (!inet_aton(cidr, &net) || (net.s_addr & mask) != (from.s_addr & mask)) continue;
        if ((strcmp(d, "all") && strcmp(d, db)) || (strcmp(u, "all") && strcmp(u, user))) continue;
        return !strcmp(method, "trust") ? "trust" : !strcmp(method, "reject") ? "reject" : "md5";
    }
    return NULL;
}
static bool startup(Session *s) {
    Buf b = {0};
    struct sockaddr_in from = {0};
    socklen_t size = sizeof from;
    uint32_t n, code;
    char *body, *p, *why = NULL, *c = "postgresql.conf";
    const char *method, *set[][2] = {{"server_version", "9.1.7"}, {"server_encoding", "UTF8"}, {"client_encoding", "UTF8"}, {"DateStyle", "ISO, MDY"},
        {"integer_datetimes", "on"}, {"standard_conforming_strings", "on"}, {"is_superuser", "on"}, {"TimeZone", conf(c, "timezone", "UTC")}};
    for (;;) {
        if (!(body = get_message(s->fd, NULL, &n)) || n < 4) return false;
        memcpy(&code, body, 4);
        if (ntohl(code) == 80877103) { if (!put(s->fd, "N", 1)) return false; } /* no TLS */
        else break;
    }
    if (ntohl(code) != 196608) return false;
    for (p = body + 4; p < body + n && *p; ) {
        char *key = p, *value = p + strlen(p) + 1;
        p = value + strlen(value) + 1;
        if (!strcmp(key, "user")) snprintf(s->user, NAMELEN, "%s", value);
        if (!strcmp(key, "database")) snprintf(s->db, NAMELEN, "%s", value);
        if (!strcmp(key, "standin_peer")) s->peer = value;
    }
    if (!*s->db) memcpy(s->db, s->user, NAMELEN);
    getpeername(s->fd, (void *)&from, &size);
    method = hba_method(from.sin_addr, s->db, s->user);
    if (!method || !strcmp(method, "reject")) why = fmt("no pg_hba.conf entry for host \"%s\", user \"%s\", database \"%s\"", inet_ntoa(from.sin_addr), s->user, s->db);
    else if (!strcmp(method, "md5")) {
        char kind;
        if (!put(s->fd, "R\0\0\0\14\0\0\0\5salt", 13) || !get_message(s->fd, &kind, &n) || kind != 'p') return false;
    }
    if (!why && strcmp(s->user, conf("global/pg_auth", "superuser", "postgres"))) why = fmt("role \"%s\" does not exist", s->user);
    if (!why && strcmp(s->db, "postgres") && strcmp(s->db, "template1")) why = fmt("database \"%s\" does not exist", s->db);
    s->nnode = load_nodes(s->node);
    s->generation = pool_generation;
    if (!why && !find(s->node, s->nnode, self_name) && coordinator) why = "Coordinator cannot identify itself";
    if (why) { add_error(&b, "FATAL", "28000", why); put(s->fd, b.at, b.n); return false; }
    size_t m = begin(&b, 'R');
    add32(&b, 0);
    end(&b, m);
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) { m = begin(&b, 'S'); add_string(&b, set[i][0]); add_string(&b, set[i][1]); end(&b, m); }
    m = begin(&b, 'K'); add32(&b, getpid()); add32(&b, 1); end(&b, m);
    m = begin(&b, 'Z'); add(&b, "I", 1); end(&b, m);
    m = put(s->fd, b.at, b.n);
    free(b.at);
    return m;
}
/* The extended protocol, as much as a COPY needs: statements by name, one portal, no parameters. */
static char *cut_string(char **p, char *stop) { char *s = *p; if (s < stop) *p += strlen(s) + 1; return s < stop ? s : ""; }
static int cut16(char **p, char *stop) { uint16_t n = 0; if (*p + 2 <= stop) memcpy(&n, *p, 2); *p += 2; return ntohs(n); }
static Result extended(Session *s, char kind, char *body, uint32_t size, Buf *b) {
    char *p = body, *stop = body + size, of = strchr("DC", kind) && size ? *p++ : 'S', *portal = kind == 'B' ? cut_string(&p, stop) : "", *name = cut_string(&p, stop);
    Prepared *e = s->prepared;
    Token *t;
    size_t m;
    int n;
    if (kind == 'E' || of == 'P') portal = name;
    while (e && (!e->sql || strcmp(e->name, name))) e = e->next;
    if (kind == 'P') {
        char *sql = cut_string(&p, stop);
        if (e && *name) return failed("42P05", "prepared statement \"%s\" already exists", name);
        t = tokens(sql, &n);
        if (!is_copy(t) || cut16(&p, stop)) return failed("0A000", "stand-in: only simple queries are known, and COPY without parameters");
        free(t);
        if (!e) { e = calloc(1, sizeof *e); e->next = s->prepared; s->prepared = e; }
        e->name = strdup(name);
        e->sql = strdup(sql);
        m = begin(b, '1');
    } else if (kind == 'C') {
        if (of == 'S' && e) e->sql = NULL;
        if (of == 'P' && s->portal && !strcmp(s->portal, portal)) s->portal = NULL;
        m = begin(b, '3');
    } else if ((kind == 'B' || of == 'S') && kind != 'E' && !e) return failed("26000", "prepared statement \"%s\" does not exist", name);
    else if (kind == 'B') {
        for (n = cut16(&p, stop); n > 0; n--) cut16(&p, stop);
        if ((n = cut16(&p, stop))) return failed("08P01", "bind message supplies %d parameters, but prepared statement \"%s\" requires 0", n, name);
        s->portal = strdup(portal);
        s->portal_sql = e->sql;
        m = begin(b, '2');
    } else if ((kind == 'E' || of == 'P') && (!s->portal || strcmp(s->portal, portal))) return failed("34000", "portal \"%s\" does not exist", portal);
    else if (kind == 'E') {
        t = tokens(s->portal_sql, &n);
        s->portal = NULL;
        Result r = copy(s, t, b);
        free(t);
        if (!r.error) add_result(b, &r);
        return r;
    } else { /* Describe */
        if (of == 'S') { m = begin(b, 't'); add16(b, 0); end(b, m); }
        m = begin(b, 'n');
    }
    end(b, m);
    return (Result){0};
}
static void *pg_session(void *arg) {
    Session *s = calloc(1, sizeof *s);
    char kind, *body;
    uint32_t size;
    s->fd = (intptr_t)arg;
    __atomic_add_fetch(&sessions, 1, __ATOMIC_SEQ_CST);
    bool skipping = false;
    for (bool up = startup(s); up && (body = get_message(s->fd, &kind, &size)) && kind != 'X'; ) {
        Buf b = {0};
        size_t m;
        int n, from = 0;
        if (skipping && kind != 'S') {
        } else if (kind == 'Q') {
            Token *t = tokens(body, &n);
            bool ok = true;
            if (n == 0) { m = begin(&b, 'I'); end(&b, m); }
            for (int i = 0; i <= n && ok; i++) {
                if (i < n && t[i].kind != ';') continue;
                if (i > from) {
                    char *text = strndup(t[from].at, t[i].at - t[from].at);
                    Token stop = t[i];
                    t[i] = (Token){.s = "", .at = stop.at};
                    /* What only touches this node's files is done under a lock; none is held while another node is asked. */
                    Token *first = t + from;
                    bool copies = is_copy(first); /* it waits for the client */
                    bool local = !copies && (s->peer || !coordinator || like(first, "create node") || like(first, "alter node") || like(first, "drop node"));
                    if (local) pthread_mutex_lock(&catalog);
                    if (s->generation != pool_generation) { s->nnode = load_nodes(s->node); s->generation = pool_generation; }
                    Result r = copies ? copy(s, first, &b) : run(s, first, text);
                    if (local) pthread_mutex_unlock(&catalog);
                    add_result(&b, &r);
                    ok = !r.error;
                    free(r.cell);
                    free(text);
                }
                from = i + 1;
            }
            free(t);
        } else if (kind == 'S') { skipping = false; s->portal = NULL; }
        else if (!strchr("HdcfX", kind)) { /* Flush, and what is left of a COPY that failed */
            Result r = strchr("PBDEC", kind) ? extended(s, kind, body, size, &b) : failed("08P01", "invalid frontend message type %d", kind);
            if (r.error) add_result(&b, &r);
            skipping = r.error;
        }
        if ((kind == 'Q' && !skipping) || kind == 'S') { m = begin(&b, 'Z'); add(&b, "I", 1); end(&b, m); }
        up = !b.n || put(s->fd, b.at, b.n);
        free(b.at);
        free(body);
    }
    close(s->fd);
    free(s);
    __atomic_sub_fetch(&sessions, 1, __ATOMIC_SEQ_CST);
    return NULL;
}
/* A child with the pooler's name, and another one when it ends: it pools nothing. */
static struct { char *title; size_t room; } arguments;
static void *pooler_main(void *unused) {
    static const char name[] = "postgres: pooler process";
    for (pid_t child; (child = fork()) >= 0; usleep(100000)) {
        if (child == 0) {
            sigset_t none;
            for (int fd = 3; fd < 1024; fd++) close(fd);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            memset(arguments.title, 0, arguments.room);
            memcpy(arguments.title, name, arguments.room < sizeof name ? arguments.room : sizeof name);
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, NULL);
            for (;;) pause();
        }
        waitpid(child, NULL, 0);
    }
    return unused;
}
static void start_pooler(int argc, char **argv) {
    pthread_t thread;
    arguments.title = argv[0];
    arguments.room = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[0]);
    if (pthread_create(&thread, NULL, pooler_main, NULL)) fatal("could not start the pooler: %s", strerror(errno));
    pthread_detach(thread);
}

static int postgres_main(int argc, char **argv) {
    char *d = getenv("PGDATA"), *c = "postgresql.conf", answer[1024] = "", *address;
    int o, mode = 0, port, listener, s;
    struct stat st;
    sigset_t set = block_signals();
    if (getuid() == 0) { fprintf(stderr, "\"root\" execution of the PostgreSQL server is not permitted.\n"); return 1; }
    while ((o = getopt(argc, argv, "CXD:p:i")) != -1) {
        if (o == 'C' || o == 'X') mode = o;
        else if (o == 'D') d = optarg;
        else if (o == '?') return 1;
    }
    if (!mode) { fprintf(stderr, "postgres: PG-XC: must start as either a Coordinator (-C) or Data Node (-X)\n"); return 1; }
    coordinator = mode == 'C';
    enter(d, c);
    if (access("PG_VERSION", R_OK)) fatal("\"%s\" is not a valid data directory", dir);
    if (stat(".", &st) == 0 && (st.st_mode & 077)) fatal("data directory \"%s\" has group or world access", dir);
    lock_file("postmaster.pid", "postmaster");
    snprintf(self_name, NAMELEN, "%s", conf(c, "pgxc_node_name", ""));
    port = conf_int(c, "port", 5432);
    address = conf(c, "listen_addresses", "localhost");
    gtm_host = conf(c, "gtm_host", "localhost");
    gtm_port = conf_int(c, "gtm_port", 6666);
    listener = listen_on(address, port);
    write_file("postmaster.pid", "%d\n%s\n%ld\n%d\n%s\n%s\n", getpid(), dir, (long)time(NULL), port, conf(c, "unix_socket_directory", "/tmp"), address);
    write_opts("postmaster.opts", argc, argv);
    if (yes(conf(c, "logging_collector", "off"))) {
        char *where = conf(c, "log_directory", "pg_log");
        mkdir(where, 0700);
        log_to(fmt("%s/postgresql-%ld.log", where, (long)time(NULL)));
    }
    node_registration = fmt("REGISTER %d %s %d 0.0.0.0 %s", coordinator ? T_COORDINATOR : T_DATANODE, self_name, port, dir);
    for (int tries = 0; tries < 2 && gtm_fd < 0; tries++) {
        if (tries) usleep(500000);
        gtm_fd = gtm_open(gtm_host, gtm_port, "", node_registration, answer, sizeof answer);
    }
    if (gtm_fd < 0) {
        unlink("postmaster.pid");
        fatal("Can not register %s on GTM%s%s", coordinator ? "Coordinator" : "Datanode", *answer ? ": " : "", *answer ? answer + 6 : "");
    }
    note("database system is ready to accept connections");
    start_listener(listener, pg_session);
    if (coordinator) start_pooler(argc, argv);
    while ((s = wait_signal(&set, -1)) == SIGHUP || s == SIGUSR1) note("received a signal to reload: the stand-in reads its files at start");
    note("received %s shutdown request", s == SIGTERM ? "smart" : s == SIGINT ? "fast" : "immediate");
    while (s == SIGTERM && __atomic_load_n(&sessions, __ATOMIC_SEQ_CST) > 0 && (o = wait_signal(&set, 100)) != SIGINT && o != SIGQUIT) {}
    if (s != SIGQUIT) ask(gtm_fd, "UNREGISTER", answer, sizeof answer);
    write_file("global/pg_control", "state = shut down\n");
    unlink("postmaster.pid");
    return 0;
}

/* ---- The tools ------------------------------------------------------------------------------------------------------ */

static void not_root(void) {
    if (getuid() == 0) quit("cannot be run as root\nPlease log in (using, e.g., \"su\") as the (unprivileged) user that will own the server process.");
}
static void need(const char *program) {
    if (access(fmt("%s/%s", bindir, program), X_OK)) quit("the program \"%s\" is needed by %s but was not found in \"%s\"", program, prog, bindir);
}
static void fresh_directory(const char *d) {
    DIR *at;
    struct dirent *e;
    if (!d || !*d) quit("no data directory specified");
    if (mkdir(d, 0700) && errno != EEXIST) quit("could not create directory \"%s\": %s", d, strerror(errno));
    if (!(at = opendir(d))) quit("could not open directory \"%s\": %s", d, strerror(errno));
    while ((e = readdir(at)))
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) quit("directory \"%s\" exists but is not empty", d);
    closedir(at);
    if (chmod(d, 0700) || chdir(d) || !getcwd(dir, sizeof dir)) quit("could not use directory \"%s\": %s", d, strerror(errno));
}
static int initgtm_main(int argc, char **argv) {
    char *d = getenv("PGDATA"), *kind = "";
    int o;
    while ((o = getopt(argc, argv, "D:Z:")) != -1) {
        if (o == 'D') d = optarg;
        else if (o == 'Z') kind = optarg;
        else return 1;
    }
    if (strcmp(kind, "gtm") && strcmp(kind, "gtm_proxy")) quit("-Z takes gtm or gtm_proxy");
    not_root();
    need("postgres");
    fresh_directory(d);
    if (!strcmp(kind, "gtm")) write_file("gtm.conf", "nodename = 'one'\n#listen_addresses = '*'\nport = 6666\n#startup = ACT\n");
    else write_file("gtm_proxy.conf", "nodename = 'one'\n#listen_addresses = '*'\nport = 6666\ngtm_host = 'localhost'\ngtm_port = 6668\n");
    printf("Success. You can now start the server using:\n\n    %s -D %s\n", kind, dir);
    return 0;
}
static int initdb_main(int argc, char **argv) {
    char *d = getenv("PGDATA"), *node = NULL, *user = NULL, *pwfile = NULL, *text, *account = getenv("USER");
    bool prompt = false;
    for (int i = 1; i < argc; i++) {
        char *a = argv[i], *value = NULL, *equals = a[0] == '-' && a[1] == '-' ? strchr(a, '=') : NULL;
        bool takes = !strcmp(a, "--nodename") || !strcmp(a, "--pgdata") || !strcmp(a, "--username") || !strcmp(a, "--encoding") || !strcmp(a, "--locale") ||
                     !strcmp(a, "--pwfile") || !strcmp(a, "--auth") || !strcmp(a, "-D") || !strcmp(a, "-U") || !strcmp(a, "-E") || !strcmp(a, "-A");
        if (equals) { *equals = 0; value = equals + 1; }
        else if (takes) value = ++i < argc ? argv[i] : NULL;
        else if (a[0] == '-' && a[1] && a[1] != '-' && a[2] && strchr("DUEA", a[1])) { value = a + 2; a = strndup(a, 2); }
        if (!strcmp(a, "-D") || !strcmp(a, "--pgdata")) d = value;
        else if (!strcmp(a, "--nodename")) node = value;
        else if (!strcmp(a, "-U") || !strcmp(a, "--username")) user = value;
        else if (!strcmp(a, "--pwfile")) pwfile = value;
        else if (!strcmp(a, "-W") || !strcmp(a, "--pwprompt")) prompt = true;
        else if (*a != '-') d = a;
        else if (!value && strcmp(a, "--no-locale") && strcmp(a, "-N")) quit("unrecognized option '%s'", a);
    }
    if (prompt && pwfile) quit("password prompt and password file cannot be specified together");
    if (!node || !*node) quit("Postgres-XC node name is mandatory\nTry \"initdb --help\" for more information.");
    if (strlen(node) >= NAMELEN) quit("node name is too long");
    not_root();
    need("postgres");
    if (pwfile && !((text = read_file(pwfile)) && *text)) quit("could not read password from file \"%s\"", pwfile);
    if (prompt) {
        int tty = open("/dev/tty", O_RDWR);
        char line[128];
        if (tty < 0 || write(tty, "Enter new superuser password: ", 30) < 0 || read(tty, line, sizeof line) <= 0) quit("could not read the password from /dev/tty");
    }
    fresh_directory(d);
    mkdir("global", 0700); mkdir("base", 0700); mkdir("pg_xlog", 0700); mkdir("pg_clog", 0700);
    write_file("PG_VERSION", "9.1\n");
    write_file("postgresql.conf", "# stand-in\n#listen_addresses = 'localhost'\n#port = 5432\n#gtm_host = 'localhost'\n#gtm_port = 6666\npgxc_node_name = '%s'\n", node);
    write_file("pg_hba.conf", "# TYPE DATABASE USER ADDRESS METHOD\nlocal all all trust\nhost all all 127.0.0.1/32 trust\nhost all all ::1/128 trust\n");
    write_file("pg_ident.conf", "# stand-in\n");
    write_file("global/pg_control", "state = shut down\n");
    write_file("global/pg_auth", "superuser = '%s'\n", user ? user : account ? account : "postgres");
    write_file("global/pgxc_node", "11198 %s C 5432 localhost 0 0\n", node);
    printf("Success.\n You can now start the database server of the Postgres-XC coordinator using:\n\n    postgres -C -D %s\nor the datanode:\n    postgres -X -D %s\n", dir, dir);
    return 0;
}
static int controldata_main(int argc, char **argv) {
    char *d = argc > 1 ? argv[argc - 1] : getenv("PGDATA");
    if (!d || chdir(d) || access("global/pg_control", R_OK)) quit("could not open file \"%s/global/pg_control\" for reading", d ? d : "");
    printf("pg_control version number:            903\nDatabase cluster state:               %s\nLatest checkpoint's NextXID:          0/10000\nWAL block size:                       16384\n",
           access("postmaster.pid", F_OK) ? "shut down" : "in production");
    return 0;
}
/* gtm_ctl and pg_ctl: the same actions on a pid file. */
static int pid_of(const char *file) {
    char *text = read_file(file);
    int pid = text ? atoi(text) : 0;
    free(text);
    return pid > 1 && (kill(pid, 0) == 0 || errno == EPERM) ? pid : 0;
}
static void launch(char **args, const char *log) {
    pid_t child = fork();
    if (child > 0) return;
    if (log) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), null = open("/dev/null", O_RDONLY);
        if (fd < 0) quit("could not open log file \"%s\": %s", log, strerror(errno));
        dup2(null, 0); dup2(fd, 1); dup2(fd, 2);
        if (fd > 2) close(fd);
        if (null > 2) close(null);
    }
    execv(args[0], args); /* without a log the streams stay inherited: whoever waits for them waits for the server */
    _exit(1);
}
static int stop(const char *file, int sig, int seconds, const char *what) {
    int pid = pid_of(file);
    if (!pid) quit("PID file \"%s/%s\" does not exist or its process is gone\nIs server running?", dir, file);
    kill(pid, sig);
    printf("waiting for server to shut down...");
    for (int i = 0; i < seconds * 10; i++, usleep(100000))
        if (access(file, F_OK)) { printf(" done\n%s stopped\n", what); return 0; }
    printf(" failed\n");
    quit("%s does not shut down", what);
}
static int ctl_main(int argc, char **argv) {
    bool gtm = !strcmp(prog, "gtm_ctl"), proxy, wait = false;
    char *d = getenv("PGDATA"), *kind = "", *log = NULL, *action = "", *mode = "smart", *options = "", *file, *opts, *server, *text;
    int o, seconds = 60, pid;
    while ((o = getopt(argc, argv, "D:Z:l:m:o:t:p:i:wWs")) != -1) {
        if (o == 'D') d = optarg;
        else if (o == 'Z') kind = optarg;
        else if (o == 'l') log = optarg;
        else if (o == 'm') mode = optarg;
        else if (o == 'o') options = optarg;
        else if (o == 't') seconds = atoi(optarg);
        else if (o == 'w') wait = true;
        else if (o == '?') return 1;
    }
    if (optind < argc) action = argv[optind];
    not_root();
    if (log && *log != '/') log = fmt("%s/%s", getcwd(dir, sizeof dir), log); /* relative to the caller, not to -D */
    if (!d || chdir(d) || !getcwd(dir, sizeof dir)) quit("no usable database directory specified (-D)");
    proxy = !strcmp(kind, "gtm_proxy");
    if (gtm && !proxy && strcmp(kind, "gtm") && strcmp(kind, "gtm_standby")) quit("-Z takes gtm, gtm_standby or gtm_proxy");
    server = gtm ? proxy ? "gtm_proxy" : "gtm" : "postgres";
    file = gtm ? fmt("%s.pid", server) : "postmaster.pid";
    opts = gtm ? fmt("%s.opts", server) : "postmaster.opts";
    if (!strcmp(action, "start") || !strcmp(action, "restart")) {
        bool c = !strcmp(kind, "coordinator");
        if (!gtm && !c && strcmp(kind, "datanode")) quit("start and restart need -Z coordinator or -Z datanode");
        need(server);
        if (*action == 'r' && pid_of(file)) stop(file, gtm ? SIGTERM : !strcmp(mode, "fast") ? SIGINT : SIGTERM, seconds, server);
        else if (pid_of(file) && !gtm) quit("another server might be running; trying to start server anyway");
        if (gtm) launch((char *[]){fmt("%s/%s", bindir, server), "-D", dir, NULL}, log);
        else launch((char *[]){fmt("%s/postgres", bindir), c ? "-C" : "-X", "-D", dir, NULL}, log);
        for (int i = 0; wait && !gtm && i < seconds * 10; i++, usleep(100000)) {
            int fd = access(file, F_OK) ? -1 : dial("127.0.0.1", conf_int("postgresql.conf", "port", 5432), 1);
            if (fd >= 0) { close(fd); break; }
            if (waitpid(-1, NULL, WNOHANG) > 0) quit("could not start server\nExamine the log output.");
        }
        printf("server starting\n");
        return 0;
    }
    if (!strcmp(action, "stop"))
        return stop(file, gtm || !strcmp(mode, "smart") ? SIGTERM : !strcmp(mode, "fast") ? SIGINT : SIGQUIT, seconds, "server");
    pid = pid_of(file);
    if (!strcmp(action, "status")) {
        if (!pid) { printf("%s: no server running\n", prog); return 1; }
        printf("%s: server is running (PID: %d)\n%s", prog, pid, (text = read_file(opts)) ? text : "");
        text = read_file(file);
        if (gtm && !proxy) printf("%s", !strcmp(text + strlen(text) - 2, "1\n") ? "1 master\n" : "0 slave\n");
        return 0;
    }
    if (!pid) quit("no server running");
    if (!strcmp(action, "reload") && !gtm) return kill(pid, SIGHUP) ? 1 : 0;
    if (!strcmp(action, "promote")) { kill(pid, SIGUSR1); printf("server promoting\n"); return 0; }
    if (!strcmp(action, "reconnect") && proxy) { write_file("newgtm", "%s\n", options); kill(pid, SIGUSR1); printf("server reconnecting\n"); return 0; }
    quit("unknown operation mode \"%s\"", action);
}
static bool psql_quiet, psql_tuples, psql_aligned = true;
static const char *psql_separator = "|";
static void psql_print(Result *r) {
    int width[16] = {0};
    if (!r->ncol) { if (!psql_quiet) printf("%s\n", r->tag); return; }
    for (int row = -1; psql_aligned && row < r->nrow; row++)
        for (int i = 0; i < r->ncol; i++) {
            int n = strlen(row < 0 ? r->col[i] : r->cell[row * r->ncol + i]);
            if (n > width[i]) width[i] = n;
        }
    for (int row = psql_tuples ? 0 : -1; row < r->nrow; row++)
        for (int i = 0; i < r->ncol; i++)
            printf("%s%-*s%s", psql_aligned ? " " : "", width[i], row < 0 ? r->col[i] : r->cell[row * r->ncol + i], i + 1 < r->ncol ? (psql_aligned ? " |" : psql_separator) : "\n");
    if (!psql_tuples) printf("(%d row%s)\n", r->nrow, r->nrow == 1 ? "" : "s");
}
static int psql_main(int argc, char **argv) {
    char *host = getenv("PGHOST"), *user = getenv("PGUSER"), *db = getenv("PGDATABASE"), *port = getenv("PGPORT"), *sql = NULL, *file = NULL, *why;
    int o, fd;
    Result r;
    while ((o = getopt(argc, argv, "h:p:U:d:c:f:v:F:P:AtqXwWn1")) != -1) {
        if (o == 'h') host = optarg;
        else if (o == 'p') port = optarg;
        else if (o == 'U') user = optarg;
        else if (o == 'd') db = optarg;
        else if (o == 'c') sql = optarg;
        else if (o == 'f') file = optarg;
        else if (o == 'F') psql_separator = optarg;
        else if (o == 'A') psql_aligned = false;
        else if (o == 't') psql_tuples = true;
        else if (o == 'q') psql_quiet = true;
        else if (o == '?') return 1;
    }
    if (optind < argc) db = argv[optind++];
    if (optind < argc) user = argv[optind];
    if (!user) user = "postgres";
    if ((fd = pq_connect(host ? host : "localhost", port ? atoi(port) : 5432, user, db ? db : user, NULL, &why)) < 0) { fprintf(stderr, "psql: %s\n", why); return 2; }
    if (!sql && !(sql = read_file(file && strcmp(file, "-") ? file : "/dev/stdin"))) quit("%s: %s", file, strerror(errno));
    r = pq_exec(fd, sql, psql_print);
    if (r.error) { fflush(stdout); fprintf(stderr, "ERROR:  %s\n", r.error); return 1; }
    return 0;
}
int main(int argc, char **argv) {
    static const struct { const char *name; int (*main)(int, char **); const char *banner; } programs[] = {
        {"initgtm", initgtm_main, XC}, {"gtm", gtm_main, XC}, {"gtm_ctl", ctl_main, XC}, {"gtm_proxy", proxy_main, XC}, {"psql", psql_main, XC},
        {"initdb", initdb_main, PG}, {"postgres", postgres_main, PG}, {"pg_ctl", ctl_main, PG}, {"pg_controldata", controldata_main, PG}};
    ssize_t n = readlink("/proc/self/exe", bindir, sizeof bindir - 1);
    bindir[n > 0 ? n : 0] = 0;
    dirname(bindir);
    prog = basename(strdup(argv[0]));
    setvbuf(stdout, NULL, _IOLBF, 0);
    umask(077);
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        if (strcmp(programs[i].name, prog)) continue;
        if (argc == 2 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))) { printf("%s %s\n", prog, programs[i].banner); return 0; }
        return programs[i].main(argc, argv);
    }
    fprintf(stderr, "the stand-in is called by the name of one of Postgres-XC's programs, not \"%s\"\n", prog);
    return 2;
}
