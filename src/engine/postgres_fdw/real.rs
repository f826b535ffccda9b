//! The engine against real PostgreSQL 15 servers: two coordinators and two datanodes in namespaces of their own, which
//! end with the test. Skipped where Debian's packages or the right to make namespaces are missing.

use super::*;
use crate::{engine::fixture::smaller, guest::Content};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

const INSIDE: &str = "PGXC_LAB_INSIDE_NAMESPACES";
const NOBODY: u32 = 65534;

#[test]
fn a_real_cluster() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let unshare = ["-n", "-m", "-p", "-f", "--kill-child", "--mount-proc"];
    let possible = Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|status| status.success());
    if !possible || !Path::new(PROGRAMS).join("initdb").exists() {
        eprintln!("skipped: needs namespaces (root) and postgresql-15");
        return;
    }
    let output = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "engine::postgres_fdw::real::a_real_cluster", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn psql(address: &str, port: u16, sql: &str) -> Result<String, String> {
    session(address, port, &[sql])
}

/// The same for statements of one session.
fn session(address: &str, port: u16, statements: &[&str]) -> Result<String, String> {
    let mut command = Command::new(format!("{PROGRAMS}/psql"));
    command.args(["-XAtqw", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-h", address]);
    command.args(["-p", &port.to_string()]).args(statements.iter().flat_map(|sql| ["-c", sql]));
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// The lab as node `index` sees it on this one machine: directories of its own, its own loopback address.
fn lab_of(lab: &Lab, root: &Path, index: usize) -> Lab {
    let mut lab = lab.clone();
    for (role, component) in &mut lab.cluster.components {
        component.directory = root.join(format!("{index}-{}", role.as_str())).display().to_string();
        component.parameters.push(("listen_addresses".to_owned(), lab.nodes[index].address.to_string()));
    }
    lab
}

fn inside() {
    run(Command::new("ip").args(["link", "set", "lo", "up"]));
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut lab = smaller(2);
    lab.guest.uid = NOBODY;
    for (index, node) in lab.nodes.iter_mut().enumerate() {
        node.address = [127, 0, 0, 11 + u8::try_from(index).unwrap()].into();
    }
    let hosts: String = lab.nodes.iter().map(|node| format!("{} {}\n", node.address, node.name)).collect();
    fs::write(root.path().join("hosts"), hosts).unwrap();
    run(Command::new("mount").arg("--bind").arg(root.path().join("hosts")).arg("/etc/hosts"));
    let password = root.path().join("password");
    fs::write(&password, "secret word\n").unwrap();

    for index in 2..lab.nodes.len() {
        let lab = lab_of(&lab, root.path(), index);
        for placed in lab.components_of(&lab.nodes[index]) {
            if !PostgresFdw.runs(placed.role) {
                continue;
            }
            let setup = PostgresFdw.component(&lab, placed);
            let as_nobody = |script: &str| {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", &NOBODY.to_string(), "--clear-groups", "bash", "-c", script])
                    .env("PASSWORD_FILE", &password);
                run(command.current_dir("/"));
            };
            as_nobody(&setup.initialise);
            for file in &setup.files {
                let Content::Text(text) = &file.content else { panic!("{file:?}") };
                fs::write(&file.path, text).unwrap();
            }
            let directory = &setup.directory;
            as_nobody(&format!(
                "ulimit -s 10240; {PROGRAMS}/postgres -D {directory} >{directory}.log 2>&1 </dev/null & \
                 until {PROGRAMS}/pg_isready -q -h {} -p {}; do sleep 0.1; kill -0 $! || {{ cat {directory}.log >&2; exit 1; }}; done",
                placed.node.address, placed.component.port
            ));
            let Ready::Query { port, sql, value } = setup.ready else { panic!("{:?}", setup.ready) };
            assert_eq!(psql(&placed.node.address.to_string(), port, &sql), Ok(value));
        }
    }

    for on in lab.placed(Role::Coordinator) {
        let address = on.node.address.to_string();
        let rows = || -> Vec<Row> {
            let text = psql(&address, on.component.port, PostgresFdw.inventory()).unwrap();
            text.lines().map(|line| line.split('\t').map(|field| Some(field.to_owned())).collect()).collect()
        };
        let statements = PostgresFdw.registration(&lab, on, &rows());
        assert!(!statements.is_empty());
        for statement in statements {
            psql(&address, on.component.port, &statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        assert_eq!(PostgresFdw.registration(&lab, on, &rows()), Vec::<String>::new());
    }

    let coordinators = lab.placed(Role::Coordinator);
    let first = |sql: &str| psql(&coordinators[0].node.address.to_string(), coordinators[0].component.port, sql);
    let last = |sql: &str| psql(&coordinators[1].node.address.to_string(), coordinators[1].component.port, sql);
    let proof = PostgresFdw.proof(&lab);
    // In one session connections to the other three servers are kept, if it says so.
    let fill: Vec<&str> = proof.fill.iter().map(String::as_str).collect();
    const KEPT: &str = "select cardinality(public.dblink_get_connections())";
    for (statements, kept) in [(fill.as_slice(), "3"), (&fill[1..], "")] {
        let all: Vec<&str> = statements.iter().copied().chain([KEPT]).collect();
        let said = session(&coordinators[0].node.address.to_string(), coordinators[0].component.port, &all);
        assert_eq!(said.map(|said| said.trim().to_owned()), Ok(kept.to_owned()));
        let counts: Vec<u64> =
            proof.counts.iter().map(|(_, query, _)| first(query).unwrap().parse().unwrap()).collect();
        assert_eq!(counts.iter().sum::<u64>(), proof.rows);
        assert!(counts.iter().all(|count| *count > proof.rows / 3), "{counts:?}");
        assert_eq!(last(&proof.total), Ok(proof.rows.to_string()));
        for (placed, count) in lab.placed(Role::Datanode).iter().zip(&counts) {
            let query = "select count(*) from pgxc_lab_proof";
            assert_eq!(psql(&placed.node.address.to_string(), placed.component.port, query), Ok(count.to_string()));
        }
    }

    // The same again is nothing; another one under the same name is an error, and so is nonsense.
    let create = |columns: &str, key: &str| {
        first(&format!("select pgxc_lab.create_distributed_table('pgxc_lab_proof', '{columns}', '{key}')"))
    };
    assert_eq!(create("k int, v text", "k"), Ok(String::new()));
    for (columns, key, complaint) in
        [("k int", "k", "table public.pgxc_lab_proof exists and is another one"), ("k int, v text", "", "key is empty")]
    {
        let error = create(columns, key).unwrap_err();
        assert!(error.contains(complaint), "{error}");
    }
    let error = first("select pgxc_lab.create_distributed_table('bad', 'k nonsense', 'k')").unwrap_err();
    assert!(error.contains("node datanode_1: type \"nonsense\" does not exist"), "{error}");
    let error = first("select pgxc_lab.create_distributed_table('a.b.c', 'k int', 'k')").unwrap_err();
    assert!(error.contains("is not the name of a table"), "{error}");

    // Lost on one coordinator: the next call brings it back. With a schema and odd names.
    first("select pgxc_lab.create_distributed_table('shop.\"Odd name\"', 'id int not null, note text', 'id')").unwrap();
    last("drop table shop.\"Odd name\"").unwrap();
    first("select pgxc_lab.create_distributed_table('shop.\"Odd name\"', 'id int not null, note text', 'id')").unwrap();
    last("insert into shop.\"Odd name\" select generate_series(1, 100)").unwrap();
    assert_eq!(first("select count(*) from shop.\"Odd name\""), Ok("100".to_owned()));

    for statement in &proof.clean {
        first(statement).unwrap();
    }
    assert!(last(&proof.total).is_err());
}
