//! What a node costs before any guest runs: in a plan, and in our use of libvirt, on its own test driver. Numbers, no
//! judgement: `scripts/bench` runs this and reads lines of the form `cost WHAT NODES NUMBER UNIT`.

use crate::hypervisor::{Host, domain, host};
use pgxc_lab::{
    config, engine,
    hypervisor::DomainDefinition,
    lab::{
        EngineKind, LabHost, NodeName, Placement, Size, Spread,
        placement::{Open, Room, place},
    },
    plan,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
    thread,
    time::Instant,
};

/// Sizes of labs; what each node costs should not grow with them.
const SIZES: [usize; 4] = [2, 10, 50, 500];
/// Small labs are over before the clock has moved much: the median of many is taken.
const ROUNDS: usize = 9;

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

#[test]
#[ignore = "a benchmark: scripts/bench runs it"]
fn domains_are_defined_started_and_listed() {
    let mut costs: BTreeMap<(&str, usize), Vec<f64>> = BTreeMap::new();
    // Sizes in turn, so that a busy moment of the machine falls on all of them.
    for size in SIZES.repeat(ROUNDS) {
        let libvirt = host("");
        let names: Vec<String> = (1..=size).map(|number| format!("db{number}")).collect();
        let begun = Instant::now();
        for name in &names {
            // The driver's machine has 8 GiB for all of them.
            let definition = DomainDefinition { memory_kib: 4096, ..domain("lab", name) };
            let (xml, _) = definition.sealed().expect("it renders");
            libvirt.define(name, &xml).unwrap_or_else(|error| panic!("{error}"));
            libvirt.start(name).unwrap_or_else(|error| panic!("{error}"));
        }
        costs.entry(("define-and-start", size)).or_default().push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        assert_eq!(libvirt.domains("lab").unwrap_or_else(|error| panic!("{error}")).len(), size);
        costs.entry(("list", size)).or_default().push(begun.elapsed().as_secs_f64());
    }
    // The test's own name stands at the beginning of the line.
    println!();
    for ((what, size), seconds) in costs {
        println!("cost {what} {size} {:.1} us", median(seconds) * 1e6 / size as f64);
    }
}

/// Connections that the nodes of a lab of several hosts are spread over.
const CONNECTIONS: usize = 5;

/// The same through several connections at once, each with the part of the lab that placement gives to its host.
#[test]
#[ignore = "a benchmark: scripts/bench runs it"]
fn domains_of_several_hosts_are_defined_started_and_listed() {
    let mut costs: BTreeMap<(String, usize), Vec<f64>> = BTreeMap::new();
    for size in [10, 50, 500].repeat(ROUNDS) {
        let lab = config::parse(&cluster(size), Path::new("lab.yaml")).unwrap_or_else(|problems| panic!("{problems}"));
        let names: Vec<NodeName> =
            (0..CONNECTIONS).map(|number| format!("h{number}").parse().expect("a name")).collect();
        let room =
            |host: &NodeName| Room { host: host.clone(), memory: Size::mib(1 << 30), cpus: 8, open: Open::ToAll };
        let rooms: Vec<Room> = names.iter().map(room).collect();
        let hosts: Vec<Host> = names.iter().map(|_| host("")).collect();
        let begun = Instant::now();
        let placement = place(&lab, &rooms, &Placement::new()).unwrap_or_else(|refusal| panic!("{refusal}"));
        let on = |name: &NodeName| {
            placement.iter().filter(|(_, host)| *host == name).map(|(node, _)| node).collect::<Vec<_>>()
        };
        thread::scope(|scope| {
            for (libvirt, name) in hosts.iter().zip(&names) {
                let nodes = on(name);
                scope.spawn(move || {
                    for node in nodes {
                        let definition = DomainDefinition { memory_kib: 4096, ..domain("lab", node.as_str()) };
                        let (xml, _) = definition.sealed().expect("it renders");
                        libvirt.define(node.as_str(), &xml).unwrap_or_else(|error| panic!("{error}"));
                        libvirt.start(node.as_str()).unwrap_or_else(|error| panic!("{error}"));
                    }
                });
            }
        });
        let seen: usize = hosts.iter().map(|libvirt| libvirt.domains("lab").expect("it answers").len()).sum();
        costs
            .entry((format!("place-define-and-start-on-{CONNECTIONS}-hosts"), size))
            .or_default()
            .push(begun.elapsed().as_secs_f64());
        assert_eq!(seen, size);
    }
    println!();
    for ((what, size), seconds) in costs {
        println!("cost {what} {size} {:.1} us", median(seconds) * 1e6 / size as f64);
    }
}

/// Datanodes whose names two digits keep in order.
const DATANODES: usize = 99;

/// A cluster on that many nodes, with datanodes on as many of them as there may be.
fn cluster(nodes: usize) -> String {
    let mut text = format!(
        "name: large\nnetwork: {{subnet: 10.0.0.0/8}}\n\
         cluster:\n  datanode: {{name: 'datanode_{{nn}}'}}\n  coordinator:\n    \
         parameters: {{max_coordinators: {nodes}, max_datanodes: {nodes}}}\nnodes:\n"
    );
    for number in 0..nodes {
        let roles = match number {
            0 => "gtm",
            1..=DATANODES => "gtm_proxy, coordinator, datanode",
            _ => "gtm_proxy, coordinator",
        };
        let (high, low) = (number / 250, number % 250 + 2);
        writeln!(
            text,
            "  - {{name: db{number}, address: 10.0.{high}.{low}, export: /data03/db{number}, roles: [{roles}]}}"
        )
        .expect("a string takes everything");
    }
    text
}

/// Hosts of the largest lab.
const HOSTS: usize = 40;

/// The same lab spread over hosts that have the room for it.
fn on_hosts(text: &str, nodes: usize) -> String {
    let mut text = format!("{text}hosts:\n  - {{name: h0, address: 172.16.0.1, memory: 1TiB}}\n");
    for number in 1..HOSTS {
        let connection = format!("qemu+ssh://root@h{number}/system");
        let (low, memory) = (number + 1, nodes * 8 / HOSTS * 2);
        writeln!(
            text,
            "  - {{name: h{number}, address: 172.16.0.{low}, connection: '{connection}', memory: {memory}GiB}}"
        )
        .expect("a string takes everything");
    }
    text
}

/// What placing adds to a plan: lab.yaml with its hosts is read and checked, every node is placed, and the plan is made.
#[test]
#[ignore = "a benchmark: scripts/bench runs it"]
fn a_lab_is_placed_on_hosts_and_planned() {
    println!();
    for nodes in [100, 1000] {
        let text = on_hosts(&cluster(nodes), nodes);
        let mut seconds = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let mut lab = config::parse(&text, Path::new("lab.yaml")).unwrap_or_else(|problems| panic!("{problems}"));
            let rooms: Vec<Room> = lab.hosts.iter().flat_map(|hosts| hosts.all()).map(room).collect();
            let placement = place(&lab, &rooms, &Placement::new()).unwrap_or_else(|refusal| panic!("{refusal}"));
            lab.spread(&Spread { placement, fence: 0 });
            let plan = plan::up(&lab, engine::of(EngineKind::PostgresXc).as_ref());
            let told = serde_json::to_string(&plan).expect("it is data");
            seconds.push(begun.elapsed().as_secs_f64());
            assert_eq!(lab.nodes.iter().filter_map(|node| node.on.as_ref()).collect::<BTreeSet<_>>().len(), HOSTS);
            assert!(told.contains(&format!("db{}/serve", nodes - 1)), "the last node is in the plan");
        }
        println!("cost plan-on-{HOSTS}-hosts {nodes} {:.4} s", median(seconds));
    }
}

fn room(host: &LabHost) -> Room {
    Room { host: host.name.clone(), memory: host.memory.expect("it is written"), cpus: 64, open: Open::ToAll }
}

/// All of `pgxc-lab plan` that does not look at the host, which has to be large enough for the lab: lab.yaml is read and
/// checked, the plan is made, and told as data.
#[test]
#[ignore = "a benchmark: scripts/bench runs it"]
fn a_lab_is_read_checked_and_planned() {
    println!();
    for nodes in [8, 100, 1000] {
        let text = cluster(nodes);
        let mut seconds = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let lab = match config::parse(&text, Path::new("lab.yaml")) {
                Ok(lab) => lab,
                Err(problems) => panic!("{problems}"),
            };
            let plan = plan::up(&lab, engine::of(EngineKind::PostgresXc).as_ref());
            let told = serde_json::to_string(&plan).expect("it is data");
            seconds.push(begun.elapsed().as_secs_f64());
            assert!(told.contains(&format!("db{}/serve", nodes - 1)), "the last node is in the plan");
        }
        println!("cost plan {nodes} {:.4} s", median(seconds));
    }
}
