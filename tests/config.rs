//! lab.yaml from text to `Lab`: the document's lab, defaults, other sizes, and every problem with its place.

use pgxc_lab::{
    config::{self, Problems},
    error::{Class, Error},
    lab::{EngineKind, Lab, Mirror, Nightly, OwnAsk, Role, Size},
};
use std::{fs, path::Path};

#[track_caller]
fn load(path: &str) -> Lab {
    match config::load(Path::new(path)) {
        Ok(loaded) => loaded.lab,
        Err(problems) => panic!("{problems}"),
    }
}

fn problems(text: &str) -> Problems {
    match config::parse(text, Path::new("lab.yaml")) {
        Ok(_) => panic!("it was taken as good:\n{text}"),
        Err(problems) => problems,
    }
}

/// A good lab of two nodes with a change: the base of most small tests.
fn two(extra: &str) -> String {
    let nodes = "nodes:\n  - {name: a, address: 192.168.122.2, roles: [gtm]}\n  - {name: b, address: 192.168.122.3, roles: [gtm_proxy, datanode, coordinator]}\n";
    format!("name: t\n{nodes}{extra}")
}

#[test]
fn the_documents_lab() {
    let lab = load("lab.yaml");
    assert_eq!(lab.nodes.len(), 8);
    let first = &lab.nodes[0];
    assert_eq!(
        (first.name.as_str(), first.export.as_str(), first.memory),
        ("db-192-168-122-171", "/data03/171", Size::mib(8192))
    );
    let names = |role| lab.placed(role).iter().map(|placed| placed.name.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(names(Role::Gtm), "one");
    assert_eq!(names(Role::GtmStandby), "two");
    assert_eq!(names(Role::GtmProxy), "1 2 3 4 5 6");
    assert_eq!(names(Role::Datanode), "datanode_1 datanode_2 datanode_3 datanode_4 datanode_5 datanode_6");
    assert_eq!(
        names(Role::Coordinator),
        "coordinate_1 coordinate_2 coordinate_3 coordinate_4 coordinate_5 coordinate_6"
    );
    let datanode = &lab.cluster.components[&Role::Datanode];
    let value = |name: &str| datanode.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    for (name, expected) in [
        ("unix_socket_permissions", "0700"),
        ("random_page_cost", "1.0"),
        ("synchronous_commit", "off"),
        ("archive_command", "/bin/date"),
        ("datestyle", "iso, mdy"),
        ("unix_socket_directory", "."),
        ("log_filename", "postgresql-%Y-%m-%d_%H%M%S.log"),
    ] {
        assert_eq!(value(name), Some(expected), "{name}");
    }
}

/// The defaults are the document's values: lab.yaml says the same as its first and last keys alone.
#[test]
fn lab_yaml_writes_every_default() {
    let text = fs::read_to_string("lab.yaml").expect("lab.yaml");
    let start = text.find("\nnodes:").expect("nodes");
    let end = text.find("\nguest:").expect("guest after nodes");
    let small = format!("name: pgxc\n{}\n", &text[start..end]);
    let small = config::parse(&small, Path::new("lab.yaml")).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(small, load("lab.yaml"));
    assert_eq!(text.lines().next(), Some("# yaml-language-server: $schema=./lab.schema.json"));
}

/// lab.yaml is the manual: a key that it does not show is one that nobody finds.
#[test]
fn lab_yaml_shows_every_key() {
    let text = fs::read_to_string("lab.yaml").expect("lab.yaml");
    let schema: serde_json::Value = serde_json::from_str(&config::schema()).expect("a schema");
    let mut missing = Vec::new();
    for section in [
        "HostFile",
        "NetworkFile",
        "VmFile",
        "NfsFile",
        "GuestFile",
        "ClusterFile",
        "CoordinatorFile",
        "ComponentFile",
        "NightlyFile",
        "NotifyFile",
        "CheckFile",
        "MirrorFile",
    ] {
        let properties = schema["definitions"][section]["properties"].as_object();
        for key in properties.expect(section).keys() {
            // What has no default stands there as a comment.
            let shown = |line: &str| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key}:"));
            if !text.lines().any(shown) && key != "password" {
                missing.push(key.clone());
            }
        }
    }
    assert!(missing.is_empty(), "lab.yaml does not write {missing:?}");
}

#[test]
fn the_schema_is_checked_in() {
    let current = config::schema();
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write("lab.schema.json", &current).expect("the file can be written");
    }
    let written = fs::read_to_string("lab.schema.json").unwrap_or_default();
    assert!(written == current, "lab.schema.json is old: run the tests with UPDATE_EXPECTED=1");
}

#[test]
fn labs_of_other_sizes() {
    let lab = load("tests/labs/two.yaml");
    assert_eq!((lab.nodes.len(), lab.placed(Role::Coordinator).len()), (2, 1));

    let lab = load("tests/labs/four.yaml");
    assert_eq!(lab.engines, [EngineKind::PostgresXc, EngineKind::PostgresFdw]);
    assert_eq!(lab.images, ["debian-12"]);
    let datanode = &lab.cluster.components[&Role::Datanode].parameters;
    assert!(datanode.contains(&("shared_buffers".into(), "64MB".into())), "changed");
    assert!(datanode.contains(&("wal_level".into(), "hot_standby".into())), "kept");
    assert!(!datanode.iter().any(|(key, _)| key == "archive_mode"), "left out");
    assert_eq!(datanode.iter().position(|(key, _)| key == "shared_buffers"), Some(8), "in its place");

    let lab = load("tests/labs/forty.yaml");
    assert_eq!((lab.nodes.len(), lab.placed(Role::Datanode).len()), (40, 38));
    assert_eq!(lab.placed(Role::Datanode)[9].name.as_str(), "datanode_10");
    assert_eq!(lab.placed(Role::Datanode)[0].name.as_str(), "datanode_01");
}

/// What Postgres-XC's own suite has in its expected output, and costs as in the cluster that it makes for itself.
#[test]
fn the_lab_of_the_regression_suite() {
    let lab = load("tests/labs/regress.yaml");
    for (role, names) in [(Role::Coordinator, ["coord1", "coord2"]), (Role::Datanode, ["dn1", "dn2"])] {
        let placed = lab.placed(role);
        assert_eq!(placed.iter().map(|placed| placed.name.as_str()).collect::<Vec<_>>(), names);
        let parameters = &lab.cluster.components[&role].parameters;
        assert!(parameters.contains(&("max_prepared_transactions".into(), "50".into())), "{role:?}");
        for cost in ["random_page_cost", "effective_cache_size"] {
            assert!(!parameters.iter().any(|(key, _)| key == cost), "{role:?}: {cost}");
        }
    }
    assert_eq!(lab.nodes.iter().filter(|node| node.roles.is_empty()).count(), 1, "the baseline's guest");
}

#[test]
fn what_follows_from_other_values() {
    let lab = config::parse(
        &two("network: {subnet: 192.168.122.0/25}\nnfs: {mount: /srv/}\ncluster: {link: /usr/xc, version: 1.0.4}\n"),
        Path::new("x/lab.yaml"),
    );
    let lab = lab.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(lab.network.gateway.to_string(), "192.168.122.1");
    assert_eq!(lab.cluster.components[&Role::Gtm].directory, "/srv/pgxc_gtm");
    assert_eq!(lab.cluster.prefix, "/usr/xc_1.0.4");
    assert_eq!(lab.nodes[1].export, "/data03/3");
    assert!(lab.directory.ends_with("x"));
}

#[test]
fn what_nightly_runs_keep_and_tell() {
    let nightly = |extra: &str| match config::parse(&two(extra), Path::new("lab.yaml")) {
        Ok(lab) => lab.nightly,
        Err(problems) => panic!("{problems}"),
    };
    assert_eq!(nightly(""), Nightly::default());
    assert_eq!(nightly("nightly:\nnotify: ~\n").keep, 14);
    assert_eq!(nightly("nightly: {keep: 3}\n").keep, 3);
    let told = nightly("notify: {command: [/bin/tell, -v], webhook: 'https://example.org/x?y=1'}\n").notify;
    assert_eq!(told.command, Some(vec!["/bin/tell".to_owned(), "-v".to_owned()]));
    assert_eq!(told.webhook.as_deref(), Some("https://example.org/x?y=1"));
    let told = nightly("notify: {command: cat > /tmp/run.json}\n").notify;
    assert_eq!(told.command, Some(vec!["sh".to_owned(), "-c".to_owned(), "cat > /tmp/run.json".to_owned()]));
}

#[test]
fn mirrors_of_an_image() {
    let mirrors = |extra: &str| match config::parse(&two(extra), Path::new("lab.yaml")) {
        Ok(lab) => lab.mirrors,
        Err(problems) => panic!("{problems}"),
    };
    assert!(mirrors("mirrors: []\n").is_empty());
    let mirrors = mirrors(
        "image: [centos-7.9, rocky-9]\nmirrors:\n  - {image: centos-7.9, disk: [./images, 'https://a/b'], packages: 'http://a/c/'}\n  \
         - {image: rocky-9, disk: /srv}\n",
    );
    let of = |image: &str, disk: &[&str], packages: Option<&str>| Mirror {
        image: image.to_owned(),
        disk: disk.iter().map(|text| (*text).to_owned()).collect(),
        packages: packages.map(str::to_owned),
    };
    assert_eq!(
        mirrors,
        [of("centos-7.9", &["./images", "https://a/b"], Some("http://a/c")), of("rocky-9", &["/srv"], None)]
    );
}

#[test]
fn checks_of_its_own_know_whom_they_ask() {
    let lab = |extra: &str| match config::parse(&two(extra), Path::new("lab.yaml")) {
        Ok(lab) => lab,
        Err(problems) => panic!("{problems}"),
    };
    assert!(lab("checks: []\n").checks.is_empty());
    let lab = lab("checks:\n  - {name: rows, sql: select 1, expected: 0700, within: 30}\n  \
         - {name: disk, command: 'df', expected: '/^[0-9]/'}\n  - {name: all, sql: x, expected: '', on: all}\n");
    let list = &lab.checks;
    let places = |check: usize| list[check].places(&lab).expect("they are there").join(" ");
    assert_eq!(list[0].ask, OwnAsk::Sql("select 1".into()));
    assert_eq!((places(0), list[0].within.as_secs()), ("b".into(), 30));
    assert!(list[0].expected.fits("0700") && !list[0].expected.fits("700"));
    assert_eq!((places(1), list[1].within.as_secs()), ("a b".into(), 10));
    assert!(list[1].expected.fits("12%") && !list[1].expected.fits("full"));
    assert_eq!(places(2), "b", "a has no database");
}

#[test]
fn empty_sections_are_defaults() {
    let lab = config::parse(&two("network:\n  # subnet: …\nvm: ~\ncluster:\n  gtm:\n"), Path::new("lab.yaml"));
    let plain = config::parse(&two(""), Path::new("lab.yaml"));
    assert_eq!(
        lab.unwrap_or_else(|problems| panic!("{problems}")),
        plain.unwrap_or_else(|problems| panic!("{problems}"))
    );
}

/// Every tests/labs/broken-*.yaml has exactly the problems of the text file beside it.
#[test]
fn broken_labs() {
    let mut count = 0;
    let mut files: Vec<_> =
        fs::read_dir("tests/labs").expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.starts_with("broken-") || !name.ends_with(".yaml") {
            continue;
        }
        count += 1;
        let problems = match config::load(&path) {
            Ok(_) => panic!("{name} was taken as good"),
            Err(problems) => format!("{problems}\n"),
        };
        let beside = path.with_extension("txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&beside, &problems).expect("the file can be written");
        }
        assert_eq!(problems, fs::read_to_string(&beside).unwrap_or_default(), "{name}");
    }
    assert!(count >= 5, "only {count} files were found");
}

#[test]
fn a_missing_file() {
    let problems = config::load(Path::new("tests/labs/none.yaml")).expect_err("there is no such file");
    assert_eq!(problems.list().len(), 1);
    let error = Error::from(problems);
    assert_eq!(error.class(), Class::LabFile);
    assert!(error.to_string().contains("none.yaml"), "{error}");
}

#[test]
fn problems_for_programs() {
    let problems = problems("name: Bad\nnodes: []\n");
    let json = serde_json::to_value(problems.list()).expect("JSON");
    assert_eq!(json[0]["line"], 1);
    assert_eq!(json[0]["column"], 7);
    assert_eq!(json[1]["message"], "`nodes` names no node");
    assert_eq!(Error::from(problems).to_string().lines().next(), Some("lab.yaml has 2 problems; nothing was touched"));
}

/// Two hosts: what is said of the first, and all of the second.
fn of(name: &str, address: &str, second: &str) -> String {
    format!("hosts: [{{name: {name}, address: {address}}}, {{{second}}}]\n")
}

fn bridged(first: &str, second: &str) -> String {
    format!("hosts: [{{name: a, {first}}}, {{{second}}}]\n")
}

fn on_bridge(bridge: &str) -> String {
    b("").replace("address: ", &format!("bridge: {bridge}"))
}

fn b(address: &str) -> String {
    format!("name: b, address: {address}, connection: 'qemu+ssh://root@b/system'")
}

#[test]
fn nodes_are_pinned_to_hosts_that_there_are() {
    let two = |first: &str, second: &str| {
        let ports = "cluster: {gtm_standby: {port: 1931}}\n";
        let text = two(&(of("a", "10.0.0.1", &b("10.0.0.2")) + ports));
        let text = text.replacen("roles:", &format!("on: {first}, roles:"), 1);
        text.replacen("roles: [gtm_proxy", &format!("on: {second}, roles: [gtm_standby, gtm_proxy"), 1)
    };
    let lab = config::parse(&two("a", "b"), Path::new("lab.yaml")).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(lab.nodes[1].on.as_ref().map(ToString::to_string).as_deref(), Some("b"));
    let hosts = lab.hosts.expect("hosts");
    assert_eq!(
        (hosts.all().count(), hosts.other("b").map(|other| other.host.address().map(|address| address.octets()[3]))),
        (2, Some(Some(2)))
    );
    let wrong = problems(&two("a", "c")).to_string();
    assert!(wrong.contains("`b` is to be on `c`, which is none of `hosts`"), "{wrong}");
    let wrong = problems(&two("b", "b")).to_string();
    assert!(wrong.contains("the GTM `a` and its standby `b` are both on `b`"), "{wrong}");
}

/// One line each: what is changed, and the start of the only message that it gives.
#[test]
fn single_problems() {
    let mut wrong = Vec::new();
    for (extra, place, message) in [
        ("fit: grow\n", "5:6", "`grow` is not known here"),
        ("nfs: {mount: data02}\n", "5:14", "`data02` is not an absolute path"),
        ("nfs: {options: ['a,b']}\n", "5:17", "`a,b` is not a mount option"),
        ("nfs: {options: tcp}\n", "5:16", "`options` cannot be the single value `tcp`"),
        ("vm: {cpus: 0}\n", "5:12", "`0` is not a number of CPUs"),
        ("vm: {memory: 255MiB}\n", "5:14", "`255MiB` is too little"),
        ("vm: {memory: 1.5GiB}\n", "5:14", "`1.5GiB` is not a size"),
        ("vm: {memory: }\n", "5:6", "`memory` has no value"),
        ("vm: 4\n", "5:5", "`vm` cannot be the single value `4`"),
        ("engine: []\n", "5:9", "the list `[]` has no choice"),
        ("engine: postgres_xc\n", "5:9", "`postgres_xc` is not known here"),
        ("engine: {a: b}\n", "5:9", "`engine` cannot be a mapping"),
        ("image: [a, a]\n", "5:12", "choice `a` is given twice"),
        ("mirrors: [{disk: /srv}]\n", "5:11", "a mirror has no `image`"),
        (
            "mirrors: [{image: rocky-9, disk: /srv}]\n",
            "5:19",
            "a mirror of `rocky-9`, which is none of the lab's images",
        ),
        ("mirrors: [{image: debian-12}]\n", "5:11", "the mirror of `debian-12` names no place"),
        ("mirrors: [{image: debian-12, disk: []}]\n", "5:36", "the list `[]` has no choice"),
        ("mirrors: [{image: debian-12, disk: 'ftp://x/y'}]\n", "5:36", "`ftp://x/y` is not a mirror"),
        ("mirrors: [{image: debian-12, packages: /srv}]\n", "5:40", "`/srv` is not where packages are"),
        ("mirrors: [{image: debian-12, packages: \"http://a/$(id)\"}]\n", "5:40", "`http://a/$(id)` is not where"),
        (
            "mirrors: [{image: debian-12, disk: /a}, {image: debian-12, disk: /b}]\n",
            "5:49",
            "mirror of `debian-12` is given twice",
        ),
        ("network: {gateway: 192.168.122.0}\n", "5:20", "gateway `192.168.122.0` is not a host address"),
        ("network: {gateway: 192.168.122.2}\n", "3:24", "address `192.168.122.2` is the gateway's"),
        ("network: {domain: Sky_Mobi}\n", "5:19", "`Sky_Mobi` is not a domain"),
        ("guest: {uid: 0}\n", "5:14", "`0` is not a uid"),
        ("guest: {user: root}\n", "5:15", "`root` cannot run a database"),
        ("guest: {timezone: Asia Shanghai}\n", "5:19", "`Asia Shanghai` is not the name of a time zone"),
        ("guest: {sysctl: {kernel: 1}}\n", "5:18", "`kernel` is not a kernel parameter"),
        ("guest: {limits: ['* soft nofile']}\n", "5:18", "`* soft nofile` is not a line of limits.conf"),
        ("guest: {services: {on: [acpid]}}\n", "5:25", "service `acpid` is both off and on"),
        ("guest: {iptables: 'iptables -F'}\n", "5:19", "line 1 of iptables, `iptables -F`"),
        ("guest: {iptables: '*filter'}\n", "5:19", "the table of iptables has no `COMMIT`"),
        ("cluster: {source: ['ftp://x/y']}\n", "5:20", "`ftp://x/y` is not a place of a source package"),
        ("cluster: {configure: [--prefix=/x]}\n", "5:23", "`--prefix=/x` cannot be given here"),
        ("cluster: {hba: [trust all]}\n", "5:17", "`trust all` is not a line of pg_hba.conf"),
        ("cluster: {link: /opt/x, prefix: /opt/x}\n", "5:17", "link `/opt/x` lies in the prefix"),
        ("cluster: {version: one}\n", "5:20", "`one` is not a version"),
        ("cluster: {gtm: {port: 65536}}\n", "5:23", "`65536` is not a port"),
        ("cluster: {gtm: {pooler_port: 1}}\n", "5:17", "unknown key `pooler_port` in `gtm`"),
        ("cluster: {gtm: {directory: /data/gtm}}\n", "5:28", "data directory `/data/gtm` of gtm is not below"),
        ("cluster: {datanode: {port: 1922}}\n", "4:68", "port `1922` is coordinator pooler's and datanode's on `b`"),
        (
            "cluster: {coordinator: {pooler_port: 1924}}\n",
            "5:38",
            "port `1924` is coordinator pooler's and gtm_proxy's",
        ),
        (
            "cluster: {datanode: {directory: /data02/pgxc_gtm_proxy/d}}\n",
            "5:33",
            "data directory `/data02/pgxc_gtm_proxy/d` of datanode overlaps",
        ),
        (
            "cluster: {datanode: {name: coordinate_1}}\n",
            "4:68",
            "`coordinate_1` would be the name of datanode and coordinator",
        ),
        ("cluster: {datanode: {name: 'Data {n}'}}\n", "5:28", "`Data 1` is not an identifier"),
        ("cluster: {datanode: {parameters: {gtm_port: 1}}}\n", "5:35", "parameter `gtm_port` is set by pgxc-lab"),
        (
            "cluster: {datanode: {parameters: {port: 1}}}\n",
            "5:41",
            "parameter `port` is `1`, but the port of datanode is 1923",
        ),
        ("cluster: {datanode: {parameters: {Fsync: on, fsync: off}}}\n", "5:46", "key `fsync` is given twice"),
        ("cluster: {datanode: {parameters: {a: \"'x'\"}}}\n", "5:35", "value `'x'` of `a` has quotes inside"),
        ("cluster: {datanode: {parameters: {a: [1]}}}\n", "5:38", "`a` cannot be a list"),
        (
            "cluster: {coordinator: {parameters: {max_datanodes: 0}}}\n",
            "5:53",
            "1 nodes have the role `datanode`, but `max_datanodes` is `0`",
        ),
        (
            "cluster: {coordinator: {parameters: {max_datanodes: many}}}\n",
            "5:53",
            "`many` is not a value of `max_datanodes`",
        ),
        ("nightly: {keep: 0}\n", "5:17", "`0` is not a number of runs"),
        ("nightly: {keep: all}\n", "5:17", "`all` is not a number of runs"),
        ("nightly: 14\n", "5:10", "`nightly` cannot be the single value `14`"),
        ("notify: {mail: me}\n", "5:10", "unknown key `mail` in `notify`"),
        ("notify: {command: []}\n", "5:19", "`command` names no program"),
        ("notify: {command: '  '}\n", "5:19", "`command` names no program"),
        ("notify: {command: {a: b}}\n", "5:19", "`command` cannot be a mapping"),
        ("notify: {webhook: chat.example.org/x}\n", "5:19", "`chat.example.org/x` is not a URL for a webhook"),
        ("notify: {webhook: 'ftp://x/y'}\n", "5:19", "`ftp://x/y` is not a URL for a webhook"),
        ("checks: [{sql: select 1, expected: 1}]\n", "5:10", "a check has no `name`"),
        ("checks: [{name: a, sql: select 1}]\n", "5:10", "a check has no `expected`"),
        ("checks: [{name: a, expected: 1}]\n", "5:10", "a check asks nothing"),
        ("checks: [{name: a, sql: x, command: y, expected: 1}]\n", "5:10", "a check has `sql` and `command`"),
        ("checks: [{name: a, sql: ' ', expected: 1}]\n", "5:25", "a check asks an empty line"),
        ("checks: [{name: A, sql: x, expected: 1}]\n", "5:17", "`A` is not a host name"),
        ("checks: [{name: a, sql: x, expected: /(/}]\n", "5:38", "`/(/` is not a regular expression"),
        ("checks: [{name: a, sql: x, expected: 1, within: 0}]\n", "5:49", "`0` is not a number of seconds"),
        ("checks: [{name: a, sql: x, expected: 1, on: c}]\n", "5:45", "the lab has no node `c`"),
        ("checks: [{name: a, sql: x, expected: 1, on: gtm}]\n", "5:45", "no node of `gtm` has a database for `sql`"),
        (
            "checks: [{name: a, sql: x, expected: 1}, {name: a, sql: y, expected: 1}]\n",
            "5:49",
            "check `a` is given twice",
        ),
        ("checks: {a: 1}\n", "5:9", "`checks` cannot be a mapping"),
        ("lost: wait\n", "5:7", "`lost` is said of no host"),
        ("hosts: []\n", "5:8", "`hosts` names no host"),
        ("hosts: [{name: a, address: 10.0.0.1}]\n", "5:8", "`hosts` names no other host"),
        (&of("a", "10.0.0.1", "name: b, address: 10.0.0.2"), "5:39", "host `b` has no `connection`"),
        (&of("a", "10.0.0.1", &b("10.0.0.1")), "5:58", "address `10.0.0.1` is given twice"),
        (&of("b", "10.0.0.1", &b("10.0.0.2")), "5:46", "host `b` is given twice"),
        (&of("a", "192.168.122.9", &b("10.0.0.2")), "5:28", "address `192.168.122.9` of a host lies in the lab's own"),
        (
            &of("a", "10.0.0.1, connection: 'qemu+ssh://a/system'", &b("10.0.0.2")),
            "5:50",
            "the first host is this machine",
        ),
        (
            &of("a", "10.0.0.1", &b("10.0.0.2").replace("+ssh", "")),
            "5:80",
            "`qemu://root@b/system` is not a connection",
        ),
        (&(of("a", "10.0.0.1", &b("10.0.0.2")) + "host: system\n"), "5:8", "`hosts` with `host: system`"),
        ("network: {hosts_file: true}\n", "5:23", "`hosts_file: true` with `host: private`"),
        ("network: {hosts_file: maybe}\n", "5:23", "`maybe` is not known here"),
        (&bridged("bridge: br0", &b("10.0.0.2")), "5:33", "host `a` has a `bridge`, and host `b` has none"),
        (&bridged("address: 10.0.0.1", &on_bridge("br0")), "5:9", "host `b` has a `bridge`, and host `a` has none"),
        (
            &bridged("address: 10.0.0.1, bridge: br0", &on_bridge("br0")),
            "5:46",
            "host `a` has an `address` and a `bridge`",
        ),
        (&bridged("bridge: br0/1", &on_bridge("br0")), "5:27", "`br0/1` is not a network device"),
        (
            &(bridged("bridge: br0", &on_bridge("br0")) + "lost: replace\n"),
            "6:7",
            "`lost: replace` with `bridge`: guests of a host that is lost could not be cut off",
        ),
        (&(of("a", "10.0.0.1", &b("10.0.0.2")) + "lost: sell\n"), "6:7", "`sell` is not known here"),
        ("name: u\n", "5:1", "key `name` is given twice in lab.yaml"),
        ("memory: 8GiB\n", "5:1", "unknown key `memory` in lab.yaml"),
        ("vm: {\n", "5:5", "not YAML in"),
    ] {
        let problems = problems(&two(extra));
        let text = problems.to_string();
        if problems.list().len() != 1 || !text.starts_with(&format!("lab.yaml:{place}: {message}")) {
            wrong.push(format!("{extra}{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn parameters_that_repeat_the_port_are_written_once() {
    let lab = config::parse(&two("cluster: {datanode: {parameters: {port: 1923}}}\n"), Path::new("lab.yaml"));
    let lab = lab.unwrap_or_else(|problems| panic!("{problems}"));
    assert!(!lab.cluster.components[&Role::Datanode].parameters.iter().any(|(key, _)| key == "port"));
}

/// Half-written files are what an editor's checker sees most.
#[test]
fn a_file_cut_off_anywhere() {
    let text = fs::read_to_string("lab.yaml").expect("lab.yaml");
    for end in (0..text.len()).step_by(97).filter(|end| text.is_char_boundary(*end)) {
        if let Err(problems) = config::parse(&text[..end], Path::new("lab.yaml")) {
            assert!(!problems.list().is_empty());
        }
    }
}
