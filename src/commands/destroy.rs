//! `destroy`: removes a lab, then looks for leftovers instead of assuming that there are none.

use super::run::{confirm, lock_path};
use crate::{
    cli::Arguments,
    context,
    error::{Class, Error, Result, ResultExt},
    host::{Directory, Home, Lock, end_holder, look_for_leftovers, system},
};
use std::{
    fs,
    time::{Duration, Instant},
};

/// Removes the lab.
///
/// # Errors
/// When something of it stays, with the list.
pub fn run(arguments: &Arguments) -> Result<u8> {
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
    // On a machine that others use, change by change.
    system::leave(&dir)?;
    // One stroke: with the holder end all guests and daemons, the network and every mount of the lab.
    end_holder(&dir)?;
    let mut leftovers = look_for_leftovers(&dir, Directory::MayBeThere);
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
