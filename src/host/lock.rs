//! One run at a time: an advisory lock that the kernel drops when its process ends.

use crate::error::{Class, Error, Result, ResultExt};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
    time::{Duration, Instant},
};

/// A held lock; dropped with the value, also by `kill -9`.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`, waiting at most `patience` for another run to end.
    ///
    /// # Errors
    /// [`Class::Locked`] with the other run's command and process id.
    pub fn take(path: &Path, what: &str, patience: Duration) -> Result<Lock> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).or_error(Class::Host, || format!("cannot make `{}`", parent.display()))?;
        }
        let cannot = || format!("cannot open the lock `{}`", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .or_error(Class::Host, cannot)?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50))
                }
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    return Err(Error::new(
                        Class::Locked,
                        format!("{what} is held by another run ({})", holder.trim()),
                    )
                    .hint("wait until it ends, or end it: whatever it leaves half made, `up` and `destroy` finish"));
                }
                Err(TryLockError::Error(error)) => return Err(Error::caused(Class::Host, cannot(), error)),
            }
        }
        let text = format!("pid {}: {}\n", std::process::id(), std::env::args().collect::<Vec<_>>().join(" "));
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .or_error(Class::Host, cannot)?;
        Ok(Lock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_and_told_who_holds_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("lock");
        let held = Lock::take(&path, "lab `x`", Duration::ZERO).expect("nobody holds it");
        let refused = Lock::take(&path, "lab `x`", Duration::ZERO).expect_err("it is held");
        assert_eq!(refused.class(), Class::Locked);
        assert!(refused.message().contains(&format!("pid {}", std::process::id())), "{refused}");
        drop(held);
        Lock::take(&path, "lab `x`", Duration::ZERO).expect("it was given back");
    }
}
