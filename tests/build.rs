//! The script that builds Postgres-XC, among no more programs than CentOS 5 has: which flex it takes, and what it says where
//! there is none. Postgres-XC and flex are stand-ins that are made here.
//!
//! `PGXC_LAB_TEST_BASH` names the bash that runs it, for example a bash 3.2.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/engine/postgres_xc/build.sh");
const PREFIX: &str = "/opt/pgxc";

/// What script, packages and compiler call; sort and flex are not among them.
const PROGRAMS: [&str; 26] = [
    "as", "awk", "bzip2", "cat", "chmod", "cp", "cut", "find", "gcc", "grep", "gzip", "head", "ld", "ldd", "make",
    "mkdir", "mv", "od", "paste", "rm", "sed", "sh", "tail", "tar", "wc", "xargs",
];

/// EL5's sort, of coreutils 5.97, knows no versions.
const SORT: &str = r#"for word; do
  case $word in -V | --version-sort) echo "sort: invalid option -- V" >&2; exit 2 ;; esac
done
exec REAL "$@""#;

/// A package like Postgres-XC's where flex is concerned: the program that it installs is what flex made of scan.l.
const ENGINE: [(&str, &str); 3] = [
    (
        "configure",
        "prefix= flex=\n\
         for word; do case $word in --prefix=*) prefix=${word#*=} ;; FLEX=*) flex=${word#*=} ;; esac; done\n\
         printf 'PREFIX = %s\\nFLEX = %s\\n' \"$prefix\" \"$flex\" | cat - Makefile.in >Makefile",
    ),
    (
        "Makefile.in",
        "all: src/backend/parser/scan.c\n\
         src/backend/parser/scan.c: src/backend/parser/scan.l\n\t$(FLEX) -o$@ $<\n\
         install: all\n\tmkdir -p $(DESTDIR)$(PREFIX)/bin\n\tcp src/backend/parser/scan.c $(DESTDIR)$(PREFIX)/bin/scan\n",
    ),
    ("src/backend/parser/scan.l", "rules\n"),
];

/// A flex of this version: what it makes tells so, and has the lines that our wrapper of it looks for.
fn flex(version: &str) -> String {
    format!(
        "if [ \"$1\" = --version ]; then echo 'flex {version}'; exit; fi\n\
         printf 'made by flex %s\\n#ifdef yylex\\n#define yylex_ALREADY_DEFINED\\n' '{version}' >\"${{1#-o}}\""
    )
}

/// The files of its source package.
fn flex_package(version: &str) -> Vec<(&'static str, String)> {
    let configure = "for word; do case $word in --prefix=*) prefix=${word#*=} ;; esac; done\n\
                     printf 'PREFIX = %s\\n' \"$prefix\" | cat - Makefile.in >Makefile";
    let makefile = "all: flex\nflex: flex.in\n\tcp flex.in flex\n\tchmod 755 flex\n\
                    install: all\n\tmkdir -p $(PREFIX)/bin\n\tcp flex $(PREFIX)/bin/flex\n";
    vec![
        ("configure", configure.to_owned()),
        ("Makefile.in", makefile.to_owned()),
        ("flex.in", format!("#!/bin/sh\n{}\n", flex(version))),
    ]
}

/// What a run said and left.
#[derive(Debug)]
struct Built {
    code: Option<i32>,
    facts: String,
    errors: String,
    scanner: String,
}

struct World {
    directory: tempfile::TempDir,
}

impl World {
    /// A root without flex, and Postgres-XC's package.
    fn new() -> World {
        let world = World { directory: tempfile::tempdir().expect("a temporary directory") };
        fs::create_dir(world.path("bin")).expect("a directory");
        for program in PROGRAMS {
            symlink(real(program), world.path("bin").join(program)).expect("a link");
        }
        world.program("sort", &SORT.replace("REAL", &real("sort").display().to_string()));
        world.program("m4", "exit 1");
        world.tarball("pgxc-v1.0.2.tar.gz", &ENGINE);
        world
    }

    /// One that has this flex.
    fn with_flex(version: &str) -> World {
        let world = World::new();
        world.program("flex", &flex(version));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        write(&self.path("bin").join(name), &format!("#!/bin/sh\n{text}\n"), 0o755);
    }

    /// Makes a tarball of this name, with these files in one directory.
    fn tarball<T: AsRef<str>>(&self, name: &str, files: &[(&str, T)]) -> PathBuf {
        let (top, _) = name.split_once(".tar.").expect("a tarball's name");
        for (file, text) in files {
            let path = self.path(top).join(file);
            match *file {
                "configure" => write(&path, &format!("#!/bin/sh\nset -eu\n{}\n", text.as_ref()), 0o755),
                _ => write(&path, text.as_ref(), 0o644),
            }
        }
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(self.directory.path()).arg("-caf").arg(self.path(name)).arg(top);
        assert!(tar.status().expect("tar runs").success());
        self.path(name)
    }

    fn build(&self, flex_source: Option<&Path>) -> Built {
        let bash = std::env::var_os("PGXC_LAB_TEST_BASH").map_or_else(|| real("bash"), PathBuf::from);
        let output = Command::new(bash)
            .arg(SCRIPT)
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("SOURCE", self.path("pgxc-v1.0.2.tar.gz"))
            .env("FLEX_SOURCE", flex_source.unwrap_or(Path::new("")))
            .env("PREFIX", PREFIX)
            .env("OUT", self.path("out"))
            .env("WORK", self.path("work"))
            .output()
            .expect("bash runs");
        Built {
            code: output.status.code(),
            facts: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
            scanner: fs::read_to_string(self.path("out").join(&PREFIX[1..]).join("bin/scan")).unwrap_or_default(),
        }
    }
}

impl Built {
    /// It went well, with this flex, and the wrapper was between.
    #[track_caller]
    fn is_by(&self, version: &str) {
        assert_eq!((self.code, self.errors.as_str()), (Some(0), ""), "{self:?}");
        assert_eq!(
            self.scanner,
            format!("made by flex {version}\n#undef yylex\n#ifdef yylex\n#define yylex_ALREADY_DEFINED\n"),
            "{self:?}"
        );
    }

    /// It ended with this code and these words in the error and its hint, and nothing is installed.
    #[track_caller]
    fn failed(&self, code: i32, error: &str, hint: &str) {
        assert_eq!((self.code, self.scanner.as_str()), (Some(code), ""), "{self:?}");
        let line = |kind: &str| self.errors.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
        assert!(line("error: ").contains(error) && line("hint: ").contains(hint), "{self:?}");
    }

    fn says(&self, fact: &str) -> bool {
        self.facts.lines().any(|line| line == fact)
    }
}

/// Where this machine has a program.
fn real(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").expect("there is a PATH");
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("this machine has no {program}"))
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().expect("it is below a directory")).expect("a directory");
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

#[test]
fn a_flex_that_is_too_old_is_built_from_source() {
    let world = World::with_flex("version 2.5.4");
    let source = world.tarball("flex-2.5.35.tar.bz2", &flex_package("2.5.35"));
    let built = world.build(Some(&source));
    built.is_by("2.5.35");
    assert!(built.says("dropped flex: version 2.5.4 is older than 2.5.31"), "{built:?}");
    assert!(built.says("flex 2.5.35: built from source"), "{built:?}");
    // What the guests get has nothing of it.
    let installed = fs::read_dir(world.path("out").join(&PREFIX[1..]).join("bin")).expect("it is there").count();
    assert_eq!(installed, 1);
}

#[test]
fn a_root_without_flex_gets_one_too() {
    let world = World::new();
    let source = world.tarball("flex-2.5.35.tar.gz", &flex_package("2.5.35"));
    let built = world.build(Some(&source));
    built.is_by("2.5.35");
    assert!(built.says("flex 2.5.35: built from source") && !built.facts.contains("dropped flex"), "{built:?}");
}

#[test]
fn a_flex_that_is_new_enough_is_taken_and_no_other_built() {
    // Compared part by part, as numbers: 2.6.4 is newer than 2.5.31, and 2.5.4 is older.
    for version in ["2.5.31", "2.5.39", "2.6.4", "2.10", "3.0.1"] {
        let world = World::with_flex(version);
        let source = world.tarball("flex-2.5.35.tar.gz", &flex_package("2.5.35"));
        let built = world.build(Some(&source));
        built.is_by(version);
        assert!(!built.facts.contains("built from source") && !world.path("work/flex").exists(), "{built:?}");
    }
}

#[test]
fn without_its_source_an_old_flex_is_an_error() {
    for version in ["version 2.5.4", "2.5.4a", "2.5.30", "2.4.40", "1.9"] {
        let built = World::with_flex(version).build(None);
        built.failed(3, "no generated scanners and this root has flex", "FLEX_SOURCE");
    }
    World::new().build(None).failed(3, "no generated scanners and this root has no flex", "FLEX_SOURCE");
}

#[test]
fn a_package_with_generated_scanners_needs_no_flex() {
    let world = World::with_flex("version 2.5.4");
    // Younger than the rules, as make sees it.
    let mut files = ENGINE.to_vec();
    files.push(("src/backend/parser/scan.c", "generated before\n"));
    world.tarball("pgxc-v1.0.2.tar.gz", &files);
    let built = world.build(None);
    assert_eq!((built.code, built.scanner.as_str()), (Some(0), "generated before\n"), "{built:?}");
}

#[test]
fn a_source_of_flex_that_is_none_is_an_error() {
    let world = World::with_flex("version 2.5.4");
    let build = |name: &str, files: &[(&str, String)]| world.build(Some(&world.tarball(name, files)));
    build("older.tar.gz", &flex_package("2.5.4")).failed(3, "is flex 2.5.4, which is older than 2.5.31", "2.5.35");
    let mut broken = flex_package("2.5.35");
    broken[0].1 = "echo 'configure: error: no luck'; exit 1".into();
    build("broken.tar.gz", &broken).failed(4, "flex does not build: configure: error: no luck", "build.log");
    let mut other = flex_package("2.5.35");
    other[1].1 = "all:\ninstall:\n".into();
    build("other.tar.gz", &other).failed(5, "other.tar.gz installed no flex", "flex");
    build("binary.tar.gz", &other[2..]).failed(3, "has no binary/configure", "source release of flex");
    world.build(Some(Path::new("/nowhere"))).failed(3, "/nowhere cannot be read", "flex source tarball");
    let page = world.path("page.tar.gz");
    fs::write(&page, "<html>").expect("a file");
    world.build(Some(&page)).failed(3, "page.tar.gz is not a tar archive", "flex-2.5.35.tar.gz");
}

#[test]
fn what_flex_and_its_package_need_is_named() {
    let world = World::with_flex("version 2.5.4");
    let source = world.tarball("flex-2.5.35.tar.bz2", &flex_package("2.5.35"));
    let without = |program: &str| {
        let path = world.path("bin").join(program);
        fs::rename(&path, world.path("aside")).expect("it is there");
        let built = world.build(Some(&source));
        fs::rename(world.path("aside"), &path).expect("it goes back");
        built
    };
    without("m4").failed(2, "m4 is not installed", "m4");
    without("bzip2").failed(3, "is packed with bzip2, which this root does not have", "gzip");
    world.build(Some(&source)).is_by("2.5.35");
}

/// What no machine of today would show: bash before 4.4 takes an empty array for an unbound variable, and EL5's programs know
/// less.
#[test]
fn its_words_are_those_of_bash_3() {
    let script = fs::read_to_string(SCRIPT).expect("it is there");
    let code = || script.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    let newer =
        ["mapfile", "readarray", "declare -A", "local -n", "|&", "&>>", ",,}", "^^}", "sort -V", "nproc", "realpath"];
    for (number, line) in code() {
        let mut rest = line.to_owned();
        for array in ["chosen", "kept", "settings", "wanted"] {
            rest = rest
                .replace(&format!("${{{array}[@]+\"${{{array}[@]}}\"}}"), "")
                .replace(&format!("${{{array}[*]-}}"), "");
        }
        for word in newer.iter().chain(&["[@]", "[*]"]) {
            assert!(!rest.contains(word), "line {}: `{word}` in `{line}`", number + 1);
        }
    }
    assert!(code().count() > 200);
}

/// Lines like those of Postgres-XC's that are corrected, among others like them.
const UNCORRECTED: [(&str, &str); 4] = [
    (
        "src/gtm/main/gtm_txn.c",
        "GTM_BeginTransactionMulti(char *name)\n{\n\tuse(TopMemoryContext);\n}\n\
         GTM_BkupBeginTransactionGetGXIDMulti(char *name,\n\tint count)\n{\n\tuse(TopMemoryContext);\n}\n\
         After(void)\n{\n\tuse(TopMemoryContext);\n}\n",
    ),
    (
        "src/gtm/proxy/proxy_main.c",
        "static void GTMProxy_HandleDisconnect(Info *conninfo);\n\
         GTMProxy_HandleDisconnect(Info *conninfo)\n{\n\tRecovery_PGXCNodeDisconnect(conninfo->con_port);\n\
         \tif (gtmpqPutMsgStart(1) ||\n\t\tgtmpqPutMsgStart(2))\n\t\tfail();\n\tproxyhdr.ph_conid = conninfo->con_id;\n}\n\
         \t\tthrinfo->thr_any_backup[ii] = FALSE;\n\
         \t\t\tif ((thrinfo->thr_any_backup[ii]) ||\n\t\t\t\t(thrinfo->thr_poll_fds[ii]))\n\
         \t\t\t\t(thrinfo->thr_all_conns[res->gr_proxyhdr.ph_conid] != cmdinfo->ci_conn))\n\
         \tnrfds = poll(thrinfo->thr_poll_fds, thrinfo->thr_conn_count, 1000);\n",
    ),
    (
        "src/gtm/proxy/proxy_thread.c",
        "\tconninfo->con_id = thrinfo->thr_conn_count;\n\tthrinfo->thr_all_conns[thrinfo->thr_conn_count] = conninfo;\n\
         \tthrinfo->thr_any_backup[ii] = FALSE;\n\tthrinfo->thr_qtype[ii] = 0;\n\
         \tresetStringInfo(&(thrinfo->thr_inBufData[ii]));\n\t\tthrinfo->thr_all_conns[ii]->con_id = ii;\n\
         \t\tthrinfo->thr_all_conns[ii] = NULL;\n",
    ),
    (
        "src/backend/pgxc/pool/poolmgr.c",
        "\t\t\t\tcancel_query_on_connections(agent, datanodelist, coordlist);\n\t\t\t\tbreak;\n\
         cancel_query_on_connections(PoolAgent *agent, List *datanodelist, List *coordlist)\n{\n}\n\
         PoolManagerReleaseConnections(void)\n{\n\tpool_flush(&poolHandle->port);\n}\n\
         PoolManagerCancelQuery(int dn_count)\n{\n\tpool_putmessage();\n\tpool_flush(&poolHandle->port);\n}\n",
    ),
];

#[test]
fn corrections_of_the_source_are_made_once() {
    let world = World::with_flex("2.6.4");
    let package = |sources: &[(&'static str, String)]| {
        let engine = ENGINE.iter().map(|(file, text)| match *file {
            "Makefile.in" => {
                let keeps = sources.iter().map(|(file, _)| format!("\tcp {file} $(DESTDIR)$(PREFIX)/bin\n"));
                (*file, format!("{text}{}", keeps.collect::<String>()))
            }
            _ => (*file, (*text).to_owned()),
        });
        engine.chain(sources.iter().cloned()).collect::<Vec<_>>()
    };
    let sources = UNCORRECTED.map(|(file, text)| (file, text.to_owned()));
    world.tarball("pgxc-v1.0.2.tar.gz", &package(&sources));
    let built = world.build(None);
    let facts = |origin: &str| built.facts.lines().filter(|line| line.starts_with(origin)).count();
    assert_eq!((facts("backported "), facts("corrected ")), (5, 1), "{built:?}");
    let corrected = sources.map(|(file, _)| {
        let name = Path::new(file).file_name().expect("it has one");
        let built = world.path("out").join(&PREFIX[1..]).join("bin").join(name);
        (file, fs::read_to_string(built).expect("it is kept"))
    });
    let [(_, gtm), (_, proxy), (_, thread), (_, pooler)] = &corrected;
    let after = UNCORRECTED[0]
        .1
        .replace("int count)\n{\n\tuse(TopMemoryContext)", "int count)\n{\n\tuse(TopMostMemoryContext)");
    assert_eq!(*gtm, after);
    let after = UNCORRECTED[1]
        .1
        .replace("\tRecovery", "\tif (conninfo->con_port == NULL)\n\t\treturn;\n\tRecovery")
        .replace("\tif (gtmpq", "\tproxyhdr.ph_conid = conninfo->con_id;\n\tif (gtmpq")
        .replace("((thrinfo->thr_any_backup[ii])", "((thrinfo->thr_any_backup[conninfo->con_id])")
        .replace(
            "thrinfo->thr_all_conns[res->gr_proxyhdr.ph_conid] != cmdinfo->ci_conn",
            "res->gr_proxyhdr.ph_conid != cmdinfo->ci_conn->con_id",
        )
        .replace("thr_conn_count, 1000)", "thr_conn_count, 50)");
    assert_eq!(*proxy, after);
    let after =
        UNCORRECTED[3].1.replace("coordlist);\n", "coordlist),\n\t\t\t\tpool_sendres(&agent->port, 0);\n").replace(
            "message();\n\tpool_flush(&poolHandle->port);",
            "message();\n\tif (pool_flush(&poolHandle->port) == 0)\n\t\tpool_recvres(&poolHandle->port);",
        );
    assert_eq!(*pooler, after);
    // A session has the least number that no other one has, and keeps it; what is kept for it is found by it.
    for (line, count) in [
        ("\t\tconninfo->con_id = 0;\n", 1),
        ("(thrinfo->thr_all_conns[other]->con_id == conninfo->con_id)\n", 1),
        ("[conninfo->con_id]", 3),
        ("con_id = ii;", 0),
        ("con_id = thrinfo->thr_conn_count", 0),
        ("\t\tthrinfo->thr_all_conns[ii] = NULL;\n", 1),
    ] {
        assert_eq!(thread.matches(line).count(), count, "{line} in\n{thread}");
    }

    // A release that has them.
    world.tarball("pgxc-v1.0.2.tar.gz", &package(&corrected));
    let built = world.build(None);
    assert_eq!(built.code, Some(0), "{built:?}");
    assert!(!built.facts.contains("backported") && !built.facts.contains("corrected"), "{built:?}");
}
