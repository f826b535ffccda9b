//! The engine against real Postgres-XC programs, when `PGXC_LAB_TEST_PREFIX` names an installation of them: gtm, standby
//! and two data hosts in namespaces of their own, started by the lines of their units.

use super::*;
use crate::{
    engine::{GUARD, REGISTRATION_ROUNDS, fixture::smaller},
    guest::Content,
};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

const PREFIX: &str = "PGXC_LAB_TEST_PREFIX";
const INSIDE: &str = "PGXC_LAB_INSIDE_NAMESPACES";
const NOBODY: u32 = 65534;

#[test]
fn a_real_cluster() {
    let Ok(prefix) = std::env::var(PREFIX) else {
        eprintln!("skipped: {PREFIX} is not set");
        return;
    };
    if std::env::var_os(INSIDE).is_some() {
        return inside(&prefix);
    }
    let output = Command::new("unshare")
        .args(["-n", "-m", "-i", "-p", "-f", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "engine::postgres_xc::real::a_real_cluster", "--nocapture"])
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

fn as_nobody(script: &str, password: &Path) {
    let mut command = Command::new("timeout");
    command.args(["60", "setpriv", "--reuid", &NOBODY.to_string(), "--clear-groups", "bash", "-c", script]);
    run(command.env("PASSWORD_FILE", password).current_dir("/"));
}

/// The shell text of a unit's lines of this kind, as systemd reads them.
fn lines(unit: &str, key: &str) -> Vec<String> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(|text| {
            let text = text.split_once(" -c '").map_or(text, |(_, rest)| rest.trim_end_matches('\''));
            text.replace("$$", "$").replace("%%", "%").replace("\\'", "'").replace("\\\\", "\\")
        })
        .collect()
}

/// The lab as node `index` sees it on this one machine: directories of its own, its own loopback address.
fn lab_of(lab: &Lab, index: usize) -> Lab {
    let mut lab = lab.clone();
    for (role, component) in &mut lab.cluster.components {
        component.directory = format!("{}/{index}-{}", lab.nfs.mount, role.as_str());
        component.parameters.push(("listen_addresses".to_owned(), lab.nodes[index].address.to_string()));
        if matches!(role, Role::Datanode | Role::Coordinator) {
            let small = [("shared_buffers", "32MB"), ("max_connections", "100"), ("max_prepared_transactions", "100")];
            component.parameters.extend(small.map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
    }
    lab
}

fn inside(prefix: &str) {
    run(Command::new("ip").args(["link", "set", "lo", "up"]));
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut lab = smaller(2);
    lab.guest.uid = NOBODY;
    lab.cluster.prefix = prefix.to_owned();
    lab.nfs.mount = root.path().display().to_string();
    for (index, node) in lab.nodes.iter_mut().enumerate() {
        node.address = [127, 0, 0, 11 + u8::try_from(index).unwrap()].into();
    }
    // Everything comes from 127.0.0.1 here, which initdb's own lines trust.
    let hosts: String = lab.nodes.iter().map(|node| format!("{} {}\n", node.address, node.name)).collect();
    let put = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
    put("hosts", &hosts);
    put("password", "secret word\n");
    put("gxid-mark", include_str!("gxid-mark.sh"));
    put(GUARD, "");
    let password = root.path().join("password");
    let mark = root.path().join("gxid-mark");
    fs::set_permissions(&mark, fs::Permissions::from_mode(0o755)).unwrap();
    run(Command::new("mount").arg("--bind").arg(root.path().join("hosts")).arg("/etc/hosts"));

    for index in 0..lab.nodes.len() {
        let lab = lab_of(&lab, index);
        for placed in lab.components_of(&lab.nodes[index]) {
            let setup = PostgresXc.component(&lab, placed);
            as_nobody(&setup.initialise, &password);
            for file in &setup.files {
                let Content::Text(text) = &file.content else { panic!("{file:?}") };
                let text = text.replace("gtm_host = '127.0.0.1'", &format!("gtm_host = '{}'", placed.node.address));
                fs::write(&file.path, text).unwrap();
                run(Command::new("chown").arg(NOBODY.to_string()).arg(&file.path));
            }
            for check in lines(&setup.unit_text, "ExecStartPre") {
                as_nobody(&check, &password);
            }
            let command = lines(&setup.unit_text, "ExecStart")
                .remove(0)
                .replace(units::MARK_PROGRAM, &mark.display().to_string());
            as_nobody(
                &format!(
                    "export LD_LIBRARY_PATH={prefix}/lib; ulimit -s 10240; {command} >{0}.log 2>&1 </dev/null & \
                     echo $! >{0}.main",
                    setup.directory
                ),
                &password,
            );
            for listening in lines(&setup.unit_text, "ExecStartPost") {
                as_nobody(&format!("export MAINPID=$(cat {}.main); {listening}", setup.directory), &password);
            }
            if let Ready::Query { port, sql, value } = setup.ready {
                let mut answer = Err(String::new());
                for _ in 0..100 {
                    answer = psql(prefix, &placed, port, &sql);
                    if answer.is_ok() {
                        break;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(200));
                }
                let log = fs::read_to_string(format!("{}.log", setup.directory)).unwrap();
                assert_eq!(answer, Ok(value), "{log}");
            }
        }
    }

    let rows = |on: &Placed<'_>| -> Vec<Row> {
        let text = psql(prefix, on, on.component.port, PostgresXc.inventory()).unwrap();
        text.lines().map(|line| line.split('\t').map(|field| Some(field.to_owned())).collect()).collect()
    };
    let register = |lab: &Lab| {
        for on in lab.placed(Role::Coordinator) {
            let mut round = 0;
            loop {
                let statements = PostgresXc.registration(lab, on, &rows(&on));
                if statements.is_empty() {
                    break;
                }
                round += 1;
                assert!(round <= REGISTRATION_ROUNDS, "{statements:?}");
                session(prefix, &on, &statements);
            }
            eprintln!("{}: {round} rounds", on.name);
        }
    };
    newcomers(prefix, &lab, &register);
    prove(prefix, &lab);
    // The first datanode, which is the primary, gets another name for its host: the trap of spec 2.9.
    let mut moved = lab.clone();
    moved.nodes[2].name = "other".parse().unwrap();
    fs::write(root.path().join("hosts"), format!("{hosts}127.0.0.13 other\n")).unwrap();
    register(&moved);
    prove(prefix, &moved);
}

/// Why `scale add` refuses a cluster that holds something: the second data host joins after a table was made.
fn newcomers(prefix: &str, lab: &Lab, register: &dyn Fn(&Lab)) {
    let mut before = lab.clone();
    before.nodes[3].roles.clear();
    register(&before);
    let on = lab.placed(Role::Coordinator)[0];
    let ask = |sql: &str| psql(prefix, &on, on.component.port, sql);
    assert_eq!(ask(nodes::UNKNOWN_TO_NEWCOMERS), Ok(String::new()), "a new cluster holds nothing");
    ask("create table early (k int)").unwrap();
    assert_eq!(ask(nodes::UNKNOWN_TO_NEWCOMERS), Ok("table\tpublic.early".to_owned()));
    register(lab);
    let dropped = ask("drop table early");
    assert!(matches!(&dropped, Err(told) if told.contains("early")), "{dropped:?}");
}

fn prove(prefix: &str, lab: &Lab) {
    let proof = PostgresXc.proof(lab);
    let coordinators = lab.placed(Role::Coordinator);
    let ask = |on: &Placed<'_>, sql: &str| {
        psql(prefix, on, on.component.port, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    };
    for statement in &proof.fill {
        ask(&coordinators[0], statement);
    }
    // The rows that the proof copies: psql -c takes no data.
    let rows = format!("insert into pgxc_lab_proof select k, 'row ' || k from generate_series(1, {}) as k", proof.rows);
    ask(&coordinators[0], &rows);
    for (name, query, count) in &proof.counts {
        assert_eq!(Some(ask(&coordinators[0], query)), count.map(|count| count.to_string()), "{name}");
    }
    assert_eq!(ask(&coordinators[coordinators.len() - 1], &proof.total), proof.rows.to_string());
    for statement in &proof.clean {
        ask(&coordinators[0], statement);
    }
}

/// Statements one by one in one session.
fn session(prefix: &str, on: &Placed<'_>, statements: &[String]) {
    let script = format!("{};\n", statements.join(";\n"));
    let command = format!(
        "{prefix}/bin/psql -XAtqw -v ON_ERROR_STOP=1 -U postgres -h {} -p {} postgres <<'END'\n{script}END\n",
        on.node.address, on.component.port
    );
    run(Command::new("bash").args(["-c", &command]).env("LD_LIBRARY_PATH", format!("{prefix}/lib")));
}

fn psql(prefix: &str, on: &Placed<'_>, port: u16, sql: &str) -> Result<String, String> {
    let mut command = Command::new(format!("{prefix}/bin/psql"));
    command.args([
        "-XAtqw",
        "-F",
        "\t",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        "postgres",
        "-d",
        "postgres",
        "-h",
        &on.node.address.to_string(),
    ]);
    command.env("LD_LIBRARY_PATH", format!("{prefix}/lib")).args(["-p", &port.to_string(), "-c", sql]);
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}
