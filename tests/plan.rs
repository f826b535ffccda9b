//! The plan of every lab under tests/labs and of the document's lab: its text, and what must hold for any plan.

use pgxc_lab::{
    config,
    engine::{self, Engine},
    lab::{EngineKind, HostKind, Lab, Node, Placed, Role, Spread},
    plan::{self, Heavy, Plan, Step, Wish},
    settings::Needs,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const ENGINES: [EngineKind; 2] = [EngineKind::PostgresXc, EngineKind::PostgresFdw];

#[track_caller]
fn load(path: &Path) -> Lab {
    match config::load(path) {
        Ok(loaded) => loaded.lab,
        Err(problems) => panic!("{problems}"),
    }
}

fn lab_files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("lab.yaml")];
    for entry in fs::read_dir("tests/labs").expect("tests/labs") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.ends_with(".yaml") && !name.starts_with("broken-") {
            files.push(path);
        }
    }
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}

/// Every plan of every lab, and of the same lab with its nodes the other way round: files list their GTM first, so
/// only then can a plan that keeps the order of the file be told from one that knows what waits for what.
fn every_plan(check: impl Fn(&str, &Lab, &dyn Engine, &Plan)) {
    for file in lab_files() {
        for kind in ENGINES {
            let engine = engine::of(kind);
            let mut lab = load(&file);
            for order in ["as written", "reversed"] {
                let what = format!("{} {order}, {}", file.display(), kind.as_str());
                check(&what, &lab, engine.as_ref(), &plan::up(&lab, engine.as_ref()));
                lab.nodes.reverse();
            }
        }
    }
}

/// Number of the chain of every step.
fn chains(plan: &Plan) -> BTreeMap<&str, usize> {
    let steps = |(number, chain): (usize, &plan::Chain)| {
        chain.steps.iter().map(|step| (step.id.clone(), number)).collect::<Vec<_>>()
    };
    let numbers: BTreeMap<String, usize> = plan.chains.iter().enumerate().flat_map(steps).collect();
    plan.steps().map(|step| (step.id.as_str(), numbers[&step.id])).collect()
}

/// The steps that must have ended before each step: its needs, and the one before it in its chain.
fn before(plan: &Plan) -> BTreeMap<&str, Vec<&str>> {
    let mut before = BTreeMap::new();
    for chain in &plan.chains {
        let mut previous: Option<&Step> = None;
        for step in &chain.steps {
            let needs = step.needs.iter().map(String::as_str).chain(previous.map(|step| step.id.as_str()));
            before.insert(step.id.as_str(), needs.collect());
            previous = Some(step);
        }
    }
    before
}

/// One line a step.
fn text(plan: &Plan) -> String {
    let mut text = String::new();
    for (number, chain) in plan.chains.iter().enumerate() {
        for step in &chain.steps {
            let heavy = if chain.heavy == Heavy::Yes { "heavy" } else { "light" };
            text += &format!("{number} {heavy}  {:<29}  {:<22}  {}", step.id, step.title, step.needs.join(" "));
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
    }
    text
}

#[test]
fn plans_as_text() {
    for name in ["two", "four"] {
        for kind in ENGINES {
            let lab = load(Path::new(&format!("tests/labs/{name}.yaml")));
            let plan = plan::up(&lab, engine::of(kind).as_ref());
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(format!("plan-{name}-{}", kind.as_str()), text(&plan));
            });
        }
    }
}

#[test]
fn a_lab_on_the_machine_itself_differs_in_the_hosts_chain_only() {
    for kind in ENGINES {
        let private = load(Path::new("tests/labs/four.yaml"));
        let system = Lab { host: HostKind::System, ..private.clone() };
        let plans = [private, system].map(|lab| plan::up(&lab, engine::of(kind).as_ref()));
        let host = |plan: &Plan| plan.chains.iter().position(|chain| chain.steps.iter().any(|step| step.id == "time"));
        let place = host(&plans[0]).expect("the host's chain");
        assert_eq!(host(&plans[1]), Some(place));
        let steps: Vec<&str> = plans[1].chains[place].steps.iter().map(|step| step.id.as_str()).collect();
        assert_eq!(steps, ["machine", "network", "firewall", "exports", "nfs", "time", "names"]);
        let [private, system] = plans.map(|mut plan| {
            plan.chains.remove(place);
            plan
        });
        assert_eq!(private, system);
    }
}

/// The document's own world, planned on a machine that has nothing of it and no network.
#[test]
fn the_documents_lab_with_centos_5_can_be_planned_anywhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let lab = fs::read_to_string("lab.yaml").expect("it is there");
    let lab = lab.replace("\nimage: [centos-5.9, debian-12]\n", "\nimage: centos-5.9\n");
    assert!(lab.contains("\nimage: centos-5.9\n"));
    fs::write(directory.path().join("lab.yaml"), lab).expect("a file");
    let home = directory.path().join("home");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pgxc-lab"))
        .arg("--home")
        .arg(&home)
        .arg("plan")
        .env("PGXC_LAB_FILE", directory.path().join("lab.yaml"))
        .env("PGXC_LAB_OFFLINE", "1")
        .env_remove("PGXC_SOURCE")
        .env_remove("FLEX_SOURCE")
        .env_remove("CENTOS_TREE")
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    for words in [
        "it does not run in guests of image `centos-5.9`",
        "no source of `postgres-xc` is here",
        "47 of 48 steps would run",
    ] {
        assert!(said.contains(words), "`{words}` is missing in\n{said}");
    }
    assert!(!home.join("labs").exists() && !directory.path().join("lab.lock").exists(), "a plan leaves nothing");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("plan-document-centos-5.9", String::from_utf8_lossy(&output.stdout));
    });
}

/// What `plan` says of the document's lab with this image, with FLEX_SOURCE, and what it ends with.
fn planned(image: &str, flex: &str) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let lab = fs::read_to_string("lab.yaml").expect("it is there");
    let lab = lab.replace("\nimage: [centos-5.9, debian-12]\n", &format!("\nimage: {image}\n"));
    let lab = lab.replace("\nengine: [postgres-xc, postgres-fdw]\n", "\nengine: postgres-xc\n");
    fs::write(directory.path().join("lab.yaml"), lab).expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pgxc-lab"))
        .arg("--home")
        .arg(directory.path().join("home"))
        .args(["--file", &directory.path().join("lab.yaml").display().to_string(), "plan"])
        .env("PGXC_LAB_OFFLINE", "1")
        .env_remove("PGXC_SOURCE")
        .env_remove("CENTOS_TREE")
        .env("FLEX_SOURCE", flex)
        .output()
        .expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn flex_is_looked_for_where_the_images_own_is_too_old_only() {
    let (code, plan, said) = planned("centos-5.9", "");
    assert_eq!(code, Some(0), "{said}");
    assert!(plan.contains("build flex, then the engine"), "{plan}");
    for words in
        ["flex: source ./flex-2.5.35.tar.bz2 passed over", "no source of flex is here: this is the plan with one"]
    {
        assert!(said.contains(words), "`{words}` is missing in\n{said}");
    }
    // A file that was named is the one that is meant.
    let (code, _, said) = planned("centos-5.9", "/nowhere");
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("FLEX_SOURCE names `/nowhere`, which cannot be taken"), "{said}");

    for flex in ["", "/nowhere"] {
        let (code, plan, said) = planned("debian-12", flex);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            plan.contains("build the engine") && !plan.contains("flex") && !said.contains("flex"),
            "{plan}\n{said}"
        );
    }
}

/// A lab of three hosts, each node of it somewhere.
fn spread() -> Lab {
    let mut lab = load(Path::new("tests/labs/hosts.yaml"));
    let hosts: Vec<_> = lab.hosts.iter().flat_map(|hosts| hosts.all()).map(|host| host.name.clone()).collect();
    let node = |(number, node): (usize, &Node)| (node.name.clone(), hosts[number % hosts.len()].clone());
    let placement = lab.nodes.iter().enumerate().map(node).collect();
    lab.spread(&Spread { placement, fence: 0 });
    lab
}

#[test]
fn a_lab_of_several_hosts_as_text() {
    let plan = plan::up(&spread(), engine::of(EngineKind::PostgresXc).as_ref());
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("plan-hosts", text(&plan));
    });
}

/// Before a guest that moved has ended nothing lets it into the network, and a host that is lost holds up only its nodes.
#[test]
fn hosts_are_joined_after_strays_are_gone_and_hold_up_their_own_nodes_only() {
    for kind in ENGINES {
        let lab = spread();
        let plan = plan::up(&lab, engine::of(kind).as_ref());
        let before = before(&plan);
        let all = |step: &str| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![step.to_owned()]);
            while let Some(step) = open.pop() {
                for earlier in &before[step.as_str()] {
                    if seen.insert((*earlier).to_owned()) {
                        open.push((*earlier).to_owned());
                    }
                }
            }
            seen
        };
        for host in ["here", "alpha", "beta"] {
            assert!(all(&format!("wire@{host}")).contains("strays"), "{host}");
        }
        for served in ["nfs", "time"] {
            assert!(all(served).contains("wire@here"), "{served} for a guest that is to be cut off");
        }
        for node in &lab.nodes {
            let boot = all(&format!("{}/boot", node.name));
            let own = lab.host_of(node).map(|other| other.host.name.to_string());
            for host in ["alpha", "beta"] {
                let needs = boot.contains(&format!("stock@{host}")) && boot.contains(&format!("wire@{host}"));
                assert_eq!(needs, own.as_deref() == Some(host), "{} on {own:?}: {boot:?}", node.name);
            }
        }
    }
}

/// Components by their kinds, in the order of the nodes.
fn chosen<'lab>(lab: &'lab Lab, engine: &dyn Engine, roles: &[Role]) -> Vec<Placed<'lab>> {
    roles.iter().filter(|role| engine.runs(**role)).flat_map(|role| lab.placed(*role)).collect()
}

#[test]
fn components_as_text() {
    let lab = load(Path::new("tests/labs/four.yaml"));
    let xc = engine::of(EngineKind::PostgresXc);
    let mut all = String::new();
    for (what, wish, roles) in [
        ("stop everything", Wish::Stop, &Role::ALL[..]),
        ("start everything", Wish::Start, &Role::ALL[..]),
        ("restart the GTM", Wish::Restart, &[Role::Gtm][..]),
        ("start what needs no GTM in between", Wish::Start, &[Role::Gtm, Role::Coordinator][..]),
        ("restart what needs no GTM", Wish::Restart, &[Role::Datanode, Role::Coordinator][..]),
    ] {
        let plan = plan::components(&lab, xc.as_ref(), wish, &chosen(&lab, xc.as_ref(), roles));
        all += &format!("# {what}\n{}\n", text(&plan));
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("plan-four-components", all);
    });
}

#[test]
fn a_failover_as_text() {
    let lab = load(Path::new("tests/labs/four.yaml")).with_gtm_on("db-192-168-122-172").expect("it has the standby");
    let plan = plan::failover(&lab, Some(10313));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("plan-four-failover", text(&plan));
    });
}

#[test]
fn nodes_that_leave_as_text() {
    let lab = load(Path::new("tests/labs/four.yaml"));
    let mut all = String::new();
    for (what, kind, node) in [
        ("a data node", EngineKind::PostgresXc, 3),
        ("a data node of the substitute", EngineKind::PostgresFdw, 3),
        ("a standby, which no coordinator knows", EngineKind::PostgresXc, 1),
    ] {
        let plan = plan::leaving(&lab, engine::of(kind).as_ref(), &[&lab.nodes[node]]);
        all += &format!("# {what}\n{}\n", text(&plan));
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("plan-four-leaving", all);
    });
}

/// Two GTMs give the same GXIDs: whatever a failover does, it does after the old one ended.
#[test]
fn a_failover_ends_the_old_gtm_before_anything_else() {
    for file in lab_files() {
        let lab = load(&file);
        let Some(standby) = lab.placed(Role::GtmStandby).first().map(|placed| placed.node.name.to_string()) else {
            continue;
        };
        let lab = lab.with_gtm_on(&standby).expect("it has the standby");
        let plan = plan::failover(&lab, None);
        let before = before(&plan);
        let fence = format!("{}/fence", lab.placed(Role::GtmStandby)[0].node.name);
        for step in before.keys().filter(|step| **step != fence) {
            let (mut open, mut seen) = (vec![*step], BTreeSet::new());
            while let Some(next) = open.pop() {
                if seen.insert(next) {
                    open.extend(&before[next]);
                }
            }
            assert!(seen.contains(fence.as_str()), "{}: {step} does not wait for {fence}", file.display());
        }
        assert!(before[fence.as_str()].is_empty());
    }
}

/// Whatever is chosen, no component starts before one of an earlier kind or stops before one of a later kind.
#[test]
fn components_start_and_stop_in_order() {
    for file in lab_files() {
        let lab = load(&file);
        for kind in ENGINES {
            let engine = engine::of(kind);
            let components = chosen(&lab, engine.as_ref(), &Role::ALL);
            let plan = plan::components(&lab, engine.as_ref(), Wish::Restart, &components);
            assert_eq!(plan.steps().count(), components.len() * 2, "{}", file.display());
            let before = before(&plan);
            let role = |id: &str| Role::ALL.into_iter().find(|role| id.ends_with(&format!("-{}", role.as_str())));
            for (step, needs) in &before {
                for need in needs {
                    let (this, that) = (role(step).expect("a role"), role(need).expect("a role"));
                    match (step.contains("/start-"), need.contains("/start-")) {
                        (true, true) => assert!(that < this, "{step} after {need}"),
                        (false, false) => assert!(that > this, "{step} after {need}"),
                        (starts, _) => assert!(starts, "{step} stops after {need} starts"),
                    }
                }
            }
            let first = components.iter().map(|placed| placed.role).max().expect("a component");
            let free = before.iter().filter(|(_, needs)| needs.is_empty());
            assert!(free.clone().count() > 0 && free.clone().all(|(step, _)| role(step) == Some(first)));
        }
    }
}

#[test]
fn changed_parameters_go_node_by_node() {
    let lab = load(Path::new("tests/labs/four.yaml"));
    let changes = [
        ("db-192-168-122-174", Needs::Reload),
        ("db-192-168-122-173", Needs::Restart),
        ("db-192-168-122-171", Needs::Restart),
    ];
    let plan = plan::configure(&lab, &changes.map(|(node, needs)| (node.to_owned(), needs)).into());
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("plan-four-configure", text(&plan));
    });
}

#[test]
fn ids_are_unique() {
    every_plan(|what, _, _, plan| {
        let mut seen = BTreeSet::new();
        for step in plan.steps() {
            assert!(seen.insert(&step.id), "{what}: {} is there twice", step.id);
        }
    });
}

#[test]
fn needs_name_steps_of_other_chains() {
    every_plan(|what, _, _, plan| {
        let chains = chains(plan);
        for step in plan.steps() {
            for need in &step.needs {
                let Some(chain) = chains.get(need.as_str()) else {
                    panic!("{what}: {} needs {need}, which is no step", step.id);
                };
                assert_ne!(*chain, chains[step.id.as_str()], "{what}: {} needs {need} of its own chain", step.id);
            }
        }
    });
}

#[test]
fn nothing_waits_for_itself() {
    every_plan(|what, _, _, plan| {
        let mut before = before(plan);
        while !before.is_empty() {
            let free: Vec<&str> = before
                .iter()
                .filter(|(_, needs)| needs.iter().all(|need| !before.contains_key(need)))
                .map(|(step, _)| *step)
                .collect();
            assert!(!free.is_empty(), "{what}: a cycle among {:?}", before.keys());
            before.retain(|step, _| !free.contains(step));
        }
    });
}

/// A heavy chain keeps its token while it waits: what it waits for must have had its own before, whether it is
/// waited for itself or through chains that take none.
#[test]
fn a_heavy_chain_waits_only_for_earlier_heavy_chains() {
    every_plan(|what, _, _, plan| {
        let (chains, before) = (chains(plan), before(plan));
        for (number, chain) in plan.chains.iter().enumerate().filter(|(_, chain)| chain.heavy == Heavy::Yes) {
            let mut open: Vec<&str> = chain.steps.iter().flat_map(|step| &step.needs).map(String::as_str).collect();
            let mut seen = BTreeSet::new();
            while let Some(need) = open.pop() {
                let at = chains[need];
                if !seen.insert(need) || at == number {
                    continue;
                }
                if plan.chains[at].heavy == Heavy::Yes {
                    assert!(at < number, "{what}: {need} is in chain {at}, but chain {number} waits for it");
                }
                open.extend(&before[need]);
            }
        }
    });
}

#[test]
fn the_gtms_chain_is_the_first_of_a_node() {
    every_plan(|what, lab, _, plan| {
        let gtm = lab.placed(Role::Gtm)[0].node.name.to_string();
        let mut heavy = plan.chains.iter().filter(|chain| chain.heavy == Heavy::Yes);
        let first = heavy.find(|chain| chain.steps[0].node.is_some()).expect("a heavy chain of a node");
        assert_eq!(first.steps[0].node.as_ref(), Some(&gtm), "{what}");
    });
}

/// A template is made where guests of one size share it; each waits for it, but its native work does not.
#[test]
fn guests_wait_for_their_template() {
    every_plan(|what, lab, _, plan| {
        let shared = lab.shapes().into_values().any(|count| count > 1);
        let template = plan.steps().find(|step| step.id == "template");
        assert_eq!(template.is_some(), shared, "{what}");
        for step in plan.steps().filter(|step| step.needs.contains(&"template".to_owned())) {
            assert!(matches!(step.action, pgxc_lab::plan::Action::Boot), "{what}: {}", step.id);
        }
        let waiting = plan.steps().filter(|step| step.needs.contains(&"template".to_owned())).count();
        assert_eq!(waiting, if shared { lab.nodes.len() } else { 0 }, "{what}");
    });
}

/// What the engine runs is initialised before the boot and served after the GTM; what it does not run only boots.
#[test]
fn every_node_has_its_whole_story() {
    every_plan(|what, lab, engine, plan| {
        let before = before(plan);
        let gtm = format!("{}/serve", lab.placed(Role::Gtm)[0].node.name);
        for node in &lab.nodes {
            let chain = plan
                .chains
                .iter()
                .find(|chain| chain.heavy == Heavy::Yes && chain.steps[0].node.as_deref() == Some(node.name.as_str()));
            let steps = &chain.unwrap_or_else(|| panic!("{what}: no chain of {}", node.name)).steps;
            let words: Vec<_> = steps.iter().map(|step| step.id.rsplit('/').next().expect("a word")).collect();
            let runs = node.roles.keys().any(|role| engine.runs(*role));
            let expected: &[&str] = if runs { &["initialise", "boot", "tune", "serve"] } else { &["boot", "tune"] };
            assert_eq!(words, expected, "{what}: {}", node.name);
            if runs && engine.runs(Role::Gtm) && steps[3].id != gtm {
                assert!(before[steps[3].id.as_str()].contains(&gtm.as_str()), "{what}: {} without its GTM", node.name);
            }
            assert!(before[steps[0].id.as_str()].contains(&"time"), "{what}: {} without its host", node.name);
        }
    });
}

/// The proof is the last step, and nothing is left running beside it.
#[test]
fn the_proof_comes_after_everything() {
    every_plan(|what, _, _, plan| {
        let before = before(plan);
        let (mut open, mut seen) = (vec!["proof"], BTreeSet::new());
        while let Some(step) = open.pop() {
            if seen.insert(step) {
                open.extend(&before[step]);
            }
        }
        let all: BTreeSet<&str> = plan.steps().map(|step| step.id.as_str()).collect();
        assert_eq!(all.difference(&seen).collect::<Vec<_>>(), Vec::<&&str>::new(), "{what}");
    });
}

/// `roles: []` on every node: guests boot and are tuned, and there is nothing to prove. Left out, it is an oversight.
#[test]
fn a_lab_of_plain_machines_has_no_cluster() {
    let text = |roles: &str| {
        format!(
            "name: plain\nnodes:\n  - {{name: a, address: 192.168.122.2{roles}}}\n  - {{name: b, address: 192.168.122.3, roles: []}}\n"
        )
    };
    let Ok(lab) = config::parse(&text(", roles: []"), Path::new("lab.yaml")) else { panic!("it is a good lab") };
    for kind in ENGINES {
        let plan = plan::up(&lab, engine::of(kind).as_ref());
        let nodes: Vec<&str> = plan.steps().filter(|step| step.node.is_some()).map(|step| step.id.as_str()).collect();
        assert_eq!(nodes, ["a/boot", "a/tune", "b/boot", "b/tune"]);
        assert!(plan.steps().all(|step| step.id != "proof"), "nothing to prove");
    }
    let Err(problems) = config::parse(&text(""), Path::new("lab.yaml")) else { panic!("roles were forgotten") };
    assert!(problems.to_string().contains("no node has the role `gtm`"), "{problems}");
}
