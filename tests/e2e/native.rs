//! Data directories are initialised on the host, in a chroot of the guests' image. What comes out must be what the guest
//! itself would have made.

use super::bench::{Bench, Ran, until};
use pgxc_lab::{
    engine,
    lab::{EngineKind, Role},
};
use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

/// Type, mode, owner, and the digest of the content, by path.
type Tree = BTreeMap<String, String>;

/// Where the guest makes its own: on its disk, since NFS takes longer and is not what is compared.
const OWN: &str = "/var/tmp/own";
/// Files whose content is another each time: the system's identifier and times are in them.
const UNIQUE: [&str; 3] = ["global/pg_control", "pg_stat/pgstat.stat", "pg_wal/000000010000000000000001"];
/// Files that are configured after initdb.
const CONFIGURED: [&str; 2] = ["postgresql.conf", "pg_hba.conf"];

/// Runs `up` (with the arguments given), takes a data node's directory before any guest's server could touch it, lets
/// the guest initialise one too, and compares the two.
pub fn up_initialises_what_the_guest_would(bench: &Bench, name: &str, arguments: &[&str]) -> Ran {
    let (lab, directory) = (bench.load(), bench.lab_directory(name));
    let datanode = lab.placed(Role::Datanode)[0];
    let (node, data) = (datanode.node.name.to_string(), datanode.component.directory.clone());
    let native = bench.path("native");
    let ran = std::thread::scope(|scope| {
        let up = scope.spawn(|| bench.run(arguments));
        let done = format!("\"entry\":\"done\",\"step\":\"{node}/initialise\"");
        until("the data node is initialised", Duration::from_secs(240), || {
            assert!(!up.is_finished(), "`up` ended before");
            std::fs::read_to_string(directory.join("journal.jsonl")).is_ok_and(|journal| journal.contains(&done))
        });
        copy(&directory, &format!("exports/{node}/{}", data.rsplit('/').next().expect("a name")), &native);
        up.join().expect("it ran")
    });
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);

    let setup = engine::of(EngineKind::PostgresFdw).component(&lab, datanode);
    let password = std::fs::read_to_string(directory.join("keys/password")).expect("it was made");
    let (owner, script) = (lab.guest.uid, setup.initialise.replace(&data, OWN));
    let own = format!(
        "install -d -o {owner} -g {owner} -m 700 {OWN}\nprintf '%s\\n' '{}' >/var/tmp/password\n\
         chown {owner} /var/tmp/password\n\
         cat >/var/tmp/initialise <<'END'\n{script}\nEND\n\
         setpriv --reuid={owner} --regid={owner} --clear-groups env -i PATH=/usr/bin:/bin LC_ALL=C \
         PASSWORD_FILE=/var/tmp/password sh -ceu 'cd /; . /var/tmp/initialise' >&2",
        password.trim()
    );
    bench.run(&["ssh", &node, "--", &own]).succeeded();
    let guests = tree(&bench.run(&["ssh", &node, "--", &listing(OWN)]).succeeded().stdout);
    let listed = Command::new("sh").args(["-ceu", &listing(&native.display().to_string())]).output().expect("sh runs");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let hosts = tree(&String::from_utf8_lossy(&listed.stdout));
    assert!(hosts.len() > 900, "a data directory has almost a thousand files: {}", hosts.len());
    let differ: Vec<_> = hosts
        .keys()
        .chain(guests.keys())
        .filter(|path| !CONFIGURED.contains(&path.as_str()) && hosts.get(*path) != guests.get(*path))
        .map(|path| format!("{path}: {:?} on the host, {:?} in the guest", hosts.get(path), guests.get(path)))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    ran
}

/// Copies a directory out of the lab's mount namespace.
fn copy(lab: &Path, below: &str, to: &Path) {
    let holder = std::fs::read_to_string(lab.join("holder.json")).expect("the lab has a holder");
    let holder: serde_json::Value = serde_json::from_str(&holder).expect("JSON");
    let from = format!("/proc/{}/root{}/{below}", holder["pid"], lab.display());
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(done.success());
}

/// A script that lists a tree; of files whose content is another each time only that they are there.
fn listing(directory: &str) -> String {
    let unique = UNIQUE.map(|path| format!("! -path ./{path}")).join(" ");
    format!(
        "cd {directory}; find . -mindepth 1 -printf '%P\\t%y %m %U:%G\\n'; \
         find . -type f {unique} -exec sha256sum {{}} + | sed 's,^\\([^ ]*\\)  \\./\\(.*\\),\\2\\t\\1,'"
    )
}

fn tree(listed: &str) -> Tree {
    let mut tree = Tree::new();
    for (path, fact) in listed.lines().filter_map(|line| line.split_once('\t')) {
        let facts = tree.entry(path.to_owned()).or_default();
        facts.push_str(fact);
        facts.push(' ');
    }
    tree
}
