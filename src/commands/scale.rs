//! `scale`: nodes more or fewer in lab.yaml, which stays what says what the lab is, and then `up`.

mod add;
mod remove;

use super::run::{confirm, lock};
use crate::{
    cli::{Arguments, ScaleVerb},
    config, context,
    error::{Class, Error, Result, ResultExt},
    host::{Home, LabDir, Lock},
    lab::Lab,
    snapshot::replace,
};
use similar::TextDiff;
use std::{
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Objects that a refusal names; the others are counted.
const NAMED: usize = 5;
/// A catalog query takes less, also in an emulated guest that has much to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the lab larger or smaller.
///
/// # Errors
/// Why it cannot be: then nothing was touched. The first failure of the run: then lab.yaml is changed, and the error tells
/// what goes on.
pub async fn run(arguments: &Arguments, verb: &ScaleVerb) -> Result<u8> {
    if let Some(lab) = &arguments.lab {
        return Err(Error::new(Class::Usage, format!("`--lab {lab}` names no file that could be changed"))
            .hint("name the lab by its file: `--file LAB.YAML`"));
    }
    match verb {
        ScaleVerb::Add { roles, name, ip } => add::run(arguments, roles, name.as_ref(), *ip).await,
        ScaleVerb::Remove { nodes } => remove::run(arguments, nodes).await,
    }
}

/// A lab.yaml that is to be changed, of a lab that nobody else works on meanwhile.
struct Ground {
    home: Home,
    dir: LabDir,
    file: PathBuf,
    text: String,
    lab: Lab,
    _lock: Lock,
}

impl Ground {
    fn take(arguments: &Arguments) -> Result<Ground> {
        let home = context::home(arguments)?;
        let file = arguments.file();
        let lab = config::load(&file).map_err(config::Problems::into_error)?.lab;
        let lock = lock(&home, lab.name.as_str())?;
        let dir = home.lab(lab.name.as_str());
        replace::check(&dir)?;
        let text = read(&file)?;
        Ok(Ground { home, dir, file, text, lab, _lock: lock })
    }
}

/// Another text of a lab.yaml.
struct Edit {
    file: PathBuf,
    old: String,
    new: String,
}

impl Edit {
    /// Shows the change, and asks. `with` says in a few words what the new text has or lacks.
    fn confirm(&self, arguments: &Arguments, with: &str, question: &str) -> Result<()> {
        let file = self.file.display();
        let names = (file.to_string(), format!("{file} {with}"));
        eprint!("{}", TextDiff::from_lines(&self.old, &self.new).unified_diff().header(&names.0, &names.1));
        confirm(arguments, question, &format!("`{file}`"))
    }

    /// Replaces the file, unless somebody changed it while it was asked.
    fn carry_out(&self) -> Result<()> {
        let file = self.file.display();
        if read(&self.file)? != self.old {
            return Err(Error::new(Class::LabFile, format!("`{file}` was changed meanwhile; nothing was touched"))
                .hint("the same command again shows the change anew"));
        }
        write(&self.file, &self.new).or_error(Class::LabFile, || format!("cannot write `{file}`"))
    }
}

/// Some of these in words, and how many more there are.
fn listed(objects: &[String]) -> String {
    let mut list = objects[..objects.len().min(NAMED)].join(", ");
    if objects.len() > NAMED {
        list.push_str(&format!(" and {} more", objects.len() - NAMED));
    }
    list
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).or_error(Class::LabFile, || format!("cannot read `{}`", file.display()))
}

/// Replaces the file in one stroke; a link stays one, and owner and mode stay.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let file = fs::canonicalize(file)?;
    let known = fs::metadata(&file)?;
    let mut name = file.clone().into_os_string();
    name.push(".new");
    let written = (|| {
        let mut new = fs::File::create(&name)?;
        new.write_all(text.as_bytes())?;
        std::os::unix::fs::fchown(&new, Some(known.uid()), Some(known.gid()))?;
        new.set_permissions(known.permissions())?;
        new.sync_all()?;
        fs::rename(&name, &file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&name);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_file_behind_a_link_is_replaced_and_keeps_its_mode() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("real.yaml"), directory.path().join("lab.yaml"));
        fs::write(&file, "old").expect("it is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
        symlink(&file, &link).expect("a link");
        write(&link, "new").expect("it is replaced");
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "new");
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 2, "nothing is left beside it");
    }
}
