//! `destroy`: removes a lab, then looks for leftovers instead of assuming that there are none.

use super::run::{confirm, lock_path};
use crate::{
    cli::Arguments,
    context,
    error::{Class, Error, Result, ResultExt},
    host::{Directory, Home, LabDir, Leftover, Lock, Shelf, Wire, end_holder, leave_peer, look_for_leftovers, system},
    journal::{Entry, Journal},
    lab::NodeName,
};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// Removes the lab.
///
/// # Errors
/// When something of it stays, with the list.
pub fn run(arguments: &Arguments, forget: &[NodeName]) -> Result<u8> {
    let begun = Instant::now();
    let home = context::home(arguments)?;
    let name = context::lab_name(arguments, &home)?;
    let dir = home.lab(&name);
    let lock_path = lock_path(&home, &name);
    let lock = Lock::take(&lock_path, "the lab", Duration::ZERO)?;
    if !dir.path().exists() {
        eprintln!("there is no lab `{name}`; nothing to destroy");
        drop(lock);
        let _ = fs::remove_file(&lock_path);
        return Ok(0);
    }
    confirm(arguments, &format!("destroy lab `{name}` with all its data"), &format!("lab `{name}`"))?;
    forget_peers(&dir, forget)?;
    remove(&home, &name)?;
    drop(lock);
    let _ = fs::remove_file(&lock_path);
    let kept = crate::snapshot::Store::new(&home, &name).names().len();
    if kept > 0 {
        eprintln!(
            "its {kept} snapshots are kept: `pgxc-lab restore NAME --lab {name}` brings it back, `pgxc-lab snapshot delete` removes them"
        );
    }
    eprintln!(
        "lab `{name}` is destroyed; no process, mount, loop device or file of it is left ({:.1} s)",
        begun.elapsed().as_secs_f64()
    );
    Ok(0)
}

/// Removes a lab, with its lock held; one that is not there is removed already.
///
/// # Errors
/// When something of it stays, with the list.
pub(super) fn remove(home: &Home, name: &str) -> Result<()> {
    let dir = home.lab(name);
    if !dir.path().exists() {
        return Ok(());
    }
    // On machines that others use, too, one by one: the directory is kept as long as it is needed for that.
    let mut leftovers = leave_peers(&dir)?;
    system::leave(&dir)?;
    system::unplug(&dir)?;
    // One stroke: with the holder end all guests and daemons, the network and every mount of the lab.
    end_holder(&dir)?;
    leftovers.extend(look_for_leftovers(&dir, Directory::MayBeThere));
    if leftovers.is_empty() {
        // Only now: a mount below the directory would lead the removal into live data.
        fs::remove_dir_all(dir.path())
            .or_error(Class::Leftovers, || format!("cannot remove `{}`", dir.path().display()))?;
        leftovers = look_for_leftovers(&dir, Directory::MustBeGone);
    }
    if !leftovers.is_empty() {
        let list: Vec<String> =
            leftovers.iter().map(|leftover| format!("{}: {}", leftover.kind, leftover.what)).collect();
        return Err(Error::new(Class::Leftovers, format!("lab `{name}` left something behind"))
            .evidence(list.join("\n"))
            .hint("end or remove what the list names, then `pgxc-lab destroy` again"));
    }
    Ok(())
}

/// Lets a person give up hosts that never come back.
fn forget_peers(dir: &LabDir, forget: &[NodeName]) -> Result<()> {
    let joined = Journal::read(&dir.journal())?.joined();
    if let Some(unknown) = forget.iter().find(|name| joined.iter().all(|peer| peer.name != **name)) {
        let known: Vec<&str> = joined.iter().map(|peer| peer.name.as_str()).collect();
        return Err(Error::new(Class::Usage, format!("lab `{}` has nothing on a host `{unknown}`", dir.name())).hint(
            format!("it is on {}", if known.is_empty() { "this machine only".into() } else { known.join(", ") }),
        ));
    }
    if forget.is_empty() {
        return Ok(());
    }
    let journal = Journal::open(&dir.journal())?;
    for peer in joined.into_iter().filter(|peer| forget.contains(&peer.name)) {
        let shelf = Shelf::of(dir.name());
        eprintln!(
            "forgotten: {peer}; if it comes back, its domains of lab `{}`, the pool {} and the links {} and {} are yours to remove",
            dir.name(),
            shelf.pool(),
            Wire::tunnel(dir.name()),
            Wire::bridge(dir.name())
        );
        journal.write(Entry::Left { peer })?;
    }
    Ok(())
}

/// Takes the lab off all hosts that are not this machine, side by side; gives those where something of it stays.
fn leave_peers(dir: &LabDir) -> Result<Vec<Leftover>> {
    let joined = Journal::read(&dir.journal())?.joined();
    if joined.is_empty() {
        return Ok(Vec::new());
    }
    let journal = Journal::open(&dir.journal())?;
    let left: Vec<Result<()>> = thread::scope(|scope| {
        let leaves: Vec<_> = joined.iter().map(|peer| scope.spawn(|| leave_peer(peer, dir.name()))).collect();
        leaves.into_iter().map(|leave| leave.join().expect("leaving a host does not panic")).collect()
    });
    let mut leftovers = Vec::new();
    for (peer, left) in joined.into_iter().zip(left) {
        match left {
            Ok(()) => journal.write(Entry::Left { peer })?,
            Err(error) => {
                let name = &peer.name;
                let what = format!(
                    "{peer}: {} (`destroy` again when it answers; `--forget {name}` if it never will)",
                    error.line()
                );
                leftovers.push(Leftover { kind: "host", what });
            }
        }
    }
    Ok(leftovers)
}
