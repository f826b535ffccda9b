//! Attending to a machine that is started once, does one job, tells on its console how it goes, and ends. It is no guest of a
//! lab: there is no lab yet when images are made.

use crate::{
    error::{Class, Error, Result, ResultExt},
    host::QEMU,
};
use std::{
    fs,
    path::Path,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

/// How often a machine is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long a machine may take, by the accelerator that it has.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For its job.
    pub job: Duration,
    /// From the job's end to its own.
    pub goodbye: Duration,
}

/// What is seen of a machine at one moment.
pub(super) struct Sight<'t> {
    /// All that it said.
    pub console: &'t str,
    /// How it ended, with qemu's own words, if it has. It said nothing more after this was looked at.
    pub ended: Option<(ExitStatus, &'t str)>,
    /// Whether its time is over.
    pub overdue: bool,
}

/// What that means.
pub(super) enum Verdict {
    /// It goes on.
    Goes,
    /// Its job is done; it ends now.
    Done,
    /// It did not get through, and why.
    Failed(String),
}

/// A machine that did not get through, and was ended.
pub(super) struct Failure {
    /// Why.
    pub why: String,
    /// All that it said.
    pub console: String,
    /// qemu's own words.
    pub qemu: String,
}

/// Starts qemu, whose serial console goes to this file, and looks until it is judged to be done or not to get through.
///
/// # Errors
/// When qemu cannot be run or a file not be written. That the machine did not get through is no error yet: the caller knows
/// what it was to do.
pub(super) async fn attend(
    mut qemu: Command,
    console: &Path,
    patience: Patience,
    mut judge: impl FnMut(&Sight<'_>) -> Verdict,
) -> Result<std::result::Result<(), Failure>> {
    let cannot = |file: &Path| format!("cannot write `{}`", file.display());
    fs::write(console, "").or_error(Class::Host, || cannot(console))?;
    let errors = console.with_extension("qemu.log");
    let log = fs::File::create(&errors).or_error(Class::Host, || cannot(&errors))?;
    let started = qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn();
    let outcome = match started {
        Ok(child) => look(child, console, &errors, patience, &mut judge).await,
        Err(error) => {
            Err(Error::caused(Class::Host, format!("cannot run {QEMU}"), error).hint("`scripts/setup` installs it"))
        }
    };
    // What qemu said is told, and of use to nobody beside that.
    let _ = fs::remove_file(&errors);
    outcome
}

async fn look(
    mut child: Child,
    console: &Path,
    errors: &Path,
    patience: Patience,
    judge: &mut impl FnMut(&Sight<'_>) -> Verdict,
) -> Result<std::result::Result<(), Failure>> {
    let deadline = Instant::now() + patience.job;
    let why = loop {
        // First whether it has ended, then what it said: its last word is not missed.
        let ended = child.try_wait().or_error(Class::Host, || format!("cannot wait for {QEMU}"))?;
        let (said, qemu) = (read(console), if ended.is_some() { read(errors) } else { String::new() });
        let ended = ended.map(|status| (status, qemu.trim()));
        match judge(&Sight { console: &said, ended, overdue: Instant::now() > deadline }) {
            Verdict::Goes => {}
            Verdict::Done => {
                if ended.is_none() && tokio::time::timeout(patience.goodbye, child.wait()).await.is_err() {
                    break "it says that it is done, and does not end".to_owned();
                }
                return Ok(Ok(()));
            }
            Verdict::Failed(why) => break why,
        }
        tokio::time::sleep(LOOK).await;
    };
    // What it has not written by now does not count any more.
    let _ = child.kill().await;
    Ok(Err(Failure { why, console: read(console), qemu: read(errors) }))
}

/// A path among qemu's options, which commas separate.
pub(super) fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

fn read(file: &Path) -> String {
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
