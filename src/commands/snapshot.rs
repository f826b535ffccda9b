//! `snapshot`: takes and looks after snapshots.

mod create;

pub(super) use create::{Wanted, create};

use super::run::{confirm, lock, shown};
use crate::{
    cli::{Arguments, SnapshotVerb},
    context,
    error::{Error, Result},
    host::Home,
    lab::NodeName,
    snapshot::{self, Depth, Kind, Manifest, Store},
    ui::{self, Table},
};
use jiff::{Timestamp, tz::TimeZone};
use std::{
    io::IsTerminal,
    path::Path,
    time::{Duration, Instant},
};

/// Carries it out.
///
/// # Errors
/// When there is no such snapshot, it is damaged, or another run is at work.
pub async fn run(arguments: &Arguments, verb: &SnapshotVerb) -> Result<u8> {
    let home = context::home(arguments)?;
    // An archive says itself which lab it is of.
    if let SnapshotVerb::Import { file } = verb {
        return import(&home, file);
    }
    let store = Store::new(&home, &context::lab_name(arguments, &home)?);
    match verb {
        SnapshotVerb::Create { name, note, disk_only } => {
            let kind = if *disk_only { Kind::DiskOnly } else { Kind::Memory };
            let wanted = Wanted { name: name.to_string(), note: note.clone(), kind, pristine: None };
            let _lock = lock(&home, store.lab())?;
            shown(arguments, |events, stop| create(home, store.lab().to_owned(), wanted, events, stop)).await
        }
        SnapshotVerb::List => list(arguments, &store),
        SnapshotVerb::Show { name } => show(arguments, &store, name),
        SnapshotVerb::Delete { name } => delete(arguments, &store, name),
        SnapshotVerb::Verify { name } => verify(&home, &store, name),
        SnapshotVerb::Export { name, file } => export(&home, &store, name, file),
        SnapshotVerb::Import { .. } => unreachable!("it was carried out above"),
    }
}

fn list(arguments: &Arguments, store: &Store) -> Result<u8> {
    // What a killed run left takes room, and this is where one looks for it.
    store.clean()?;
    let listed = store.list();
    if arguments.json {
        let objects: Vec<_> = listed
            .iter()
            .map(|listed| {
                let manifest = listed.manifest.as_ref().ok();
                serde_json::json!({
                    "lab": store.lab(),
                    "name": listed.name,
                    "bytes": listed.bytes,
                    "made": manifest.map(|manifest| manifest.made),
                    "kind": manifest.map(|manifest| manifest.kind),
                    "pause": manifest.map(|manifest| manifest.pause),
                    "note": manifest.and_then(|manifest| manifest.note.as_deref()),
                    "damage": listed.manifest.as_ref().err().map(Error::message),
                })
            })
            .collect();
        return super::print_json(&objects);
    }
    if listed.is_empty() {
        eprintln!("lab `{}` has no snapshot; `pgxc-lab snapshot create NAME` takes one", store.lab());
        return Ok(0);
    }
    let mut table = Table::new().left("NAME").left("MADE").left("KIND").right("SIZE").right("PAUSE").left("NOTE");
    for listed in listed {
        let size = ui::bytes(listed.bytes);
        match listed.manifest {
            Ok(manifest) => table.row([
                listed.name,
                local(manifest.made, "%Y-%m-%d %H:%M"),
                kind(manifest.kind).into(),
                size,
                pause(&manifest),
                manifest.note.unwrap_or_default(),
            ]),
            Err(error) => {
                table.row([listed.name.as_str(), "-", "damaged", size.as_str(), "-", error.message()]);
            }
        }
    }
    super::print(&table.to_string())
}

fn show(arguments: &Arguments, store: &Store, name: &NodeName) -> Result<u8> {
    let manifest = store.find(name.as_str())?;
    if arguments.json {
        return super::print_json(&manifest);
    }
    super::print(&facts(&manifest, store.bytes(name.as_str())))
}

/// Everything that a manifest says, for a person.
fn facts(manifest: &Manifest, bytes: u64) -> String {
    let yes = |fact: bool| if fact { "yes" } else { "no" }.to_owned();
    let mut table = Table::new().left("").left("");
    let mut fact = |name: &str, value: String| table.row([name, value.as_str()]);
    fact("snapshot", format!("{} of lab {}", manifest.name, manifest.lab));
    if let Some(note) = &manifest.note {
        fact("note", note.clone());
    }
    fact("made", local(manifest.made, "%Y-%m-%d %H:%M:%S %Z"));
    fact("kind", kind(manifest.kind).into());
    fact("size", format!("{} on disk, {} files", ui::bytes(bytes), manifest.files.len()));
    let spread = Duration::from_millis(manifest.pause.spread_ms);
    fact("pause", format!("{}, all guests within {}", pause(manifest), ui::seconds(spread)));
    fact("engine", manifest.record.engine.as_str().into());
    fact("complete", yes(manifest.complete));
    fact("serving", yes(manifest.serving));
    if let Some(gxid) = manifest.gxid {
        fact("next gxid", gxid.to_string());
    }
    if manifest.pristine.is_some() {
        fact("pristine", "yes: `rebuild` takes it".into());
    }
    let versions = &manifest.versions;
    fact("made by", format!("pgxc-lab {}, libvirt {}, qemu {}", versions.pgxc_lab, versions.libvirt, versions.qemu));
    let mut text = table.to_string();
    let mut nodes = Table::new().left("NODE").left("GUEST").left("MAC").left("WAL");
    for node in &manifest.nodes {
        let wal: Vec<String> = node.wal.iter().map(|(component, position)| format!("{component} {position}")).collect();
        let guest = if node.running { "running" } else { "off" };
        nodes.row([node.name.as_str(), guest, node.mac.as_str(), wal.join(", ").as_str()]);
    }
    let mut bases = Table::new().left("LIES ON").left("SHA-256");
    for (base, digest) in &manifest.bases {
        bases.row([base, digest]);
    }
    text.push_str(&format!("\n{nodes}\n{bases}"));
    text
}

fn delete(arguments: &Arguments, store: &Store, name: &NodeName) -> Result<u8> {
    // Damaged ones, too; one that is not there is an error before it is a question.
    if !store.directory(name.as_str()).exists() {
        store.find(name.as_str())?;
    }
    let question = format!("remove snapshot `{name}` of lab `{}`", store.lab());
    confirm(arguments, &question, &format!("snapshot `{name}`"))?;
    let bytes = store.delete(name.as_str())?;
    eprintln!("snapshot `{name}` of lab `{}` is removed, {} freed", store.lab(), ui::bytes(bytes));
    Ok(0)
}

fn verify(home: &Home, store: &Store, name: &NodeName) -> Result<u8> {
    let begun = Instant::now();
    let manifest = store.find(name.as_str())?;
    let verified = snapshot::verify(store, home, &manifest, Depth::Bases)?;
    eprintln!(
        "snapshot `{name}` of lab `{}` is whole: {} files and the {} that they lie on have their digests ({})",
        store.lab(),
        verified.files,
        verified.bases,
        ui::seconds(begun.elapsed())
    );
    Ok(0)
}

fn export(home: &Home, store: &Store, name: &NodeName, file: &Path) -> Result<u8> {
    let begun = Instant::now();
    let manifest = store.find(name.as_str())?;
    let watched = std::io::stderr().is_terminal();
    let length = snapshot::export(store, home, &manifest, file, &mut |done, total| {
        if watched {
            eprint!("\rexporting: {}%", done * 100 / total.max(1));
        }
    });
    if watched {
        // Back to the line's begin, and clear it.
        eprint!("\r\x1b[K");
    }
    let length = length?;
    eprintln!(
        "snapshot `{name}` of lab `{}` is in `{}`: {} ({})",
        store.lab(),
        file.display(),
        ui::bytes(length),
        ui::seconds(begun.elapsed())
    );
    Ok(0)
}

fn import(home: &Home, file: &Path) -> Result<u8> {
    let begun = Instant::now();
    let manifest = snapshot::import(home, file)?;
    eprintln!(
        "snapshot `{}` of lab `{}` is imported ({}); `pgxc-lab restore {} --lab {}` brings the lab to it",
        manifest.name,
        manifest.lab,
        ui::seconds(begun.elapsed()),
        manifest.name,
        manifest.lab
    );
    Ok(0)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Memory => "memory",
        Kind::DiskOnly => "disk-only",
    }
}

fn pause(manifest: &Manifest) -> String {
    ui::seconds(Duration::from_millis(manifest.pause.longest_ms))
}

/// A time as the clock on this machine's wall shows it.
fn local(time: Timestamp, form: &str) -> String {
    time.to_zoned(TimeZone::system()).strftime(form).to_string()
}
