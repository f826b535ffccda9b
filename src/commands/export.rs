//! `export`: the lab in the words of another tool, on stdout or in a file.

use crate::{
    cli::{Arguments, Export},
    config,
    context::{self, Record, Standing},
    engine::{self, Engine},
    error::{Class, Error, Result, ResultExt},
    export::{self, Reach},
    host::Home,
    lab::Lab,
    remote::Keys,
};
use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Mode of a file with a password: libpq passes over any other.
const SECRET: u32 = 0o600;
/// Mode of the other files, less the umask.
const OPEN: u32 = 0o644;
/// How far into a file its mark is looked for.
const HEAD: u64 = 512;

/// Writes the export.
///
/// # Errors
/// When there is neither such a lab nor a lab.yaml, or the file cannot be written.
pub fn run(arguments: &Arguments, what: Export, out: Option<&Path>) -> Result<u8> {
    let home = context::home(arguments)?;
    let (lab, engine) = described(arguments, &home)?;
    let dir = home.lab(lab.name.as_str());
    let reach = || {
        let program = std::env::current_exe().or_error(Class::Host, || "cannot find this program's own file".into())?;
        Reach::new(&program, home.path(), &lab.name, &Keys::new(&dir))
    };
    let text = match what {
        Export::Inventory => export::inventory(&lab, engine.as_ref(), &reach()?)?,
        Export::SshConfig => export::ssh_config(&lab, &reach()?),
        Export::Hosts => export::hosts(&lab),
        Export::Pgpass => {
            let login = context::login(&lab, &dir).map_err(|error| error.hint("`pgxc-lab up` makes it"))?;
            export::pgpass(&lab, engine.as_ref(), &login)
        }
        Export::Diagram => export::diagram::svg(&lab, engine.as_ref())?,
    };
    let Some(file) = out else {
        if what == Export::Pgpass {
            eprintln!("this holds a password: keep it in a file of mode 0600, as `--out FILE` makes it");
        }
        return super::print(&text);
    };
    let mode = if what == Export::Pgpass { SECRET } else { OPEN };
    let file = std::path::absolute(file).or_error(Class::Host, || format!("cannot find `{}`", file.display()))?;
    write(&file, &text, mode)?;
    super::print(&format!("{}\n", file.display()))
}

/// The lab as it was brought up; before that, as lab.yaml says.
fn described(arguments: &Arguments, home: &Home) -> Result<(Lab, Box<dyn Engine>)> {
    let dir = home.lab(&context::lab_name(arguments, home)?);
    if arguments.lab.is_some() || Record::read(&dir)?.is_some() {
        let standing = Standing::find(arguments)?;
        return Ok((standing.lab, standing.engine));
    }
    let lab = config::load(&arguments.file()).map_err(config::Problems::into_error)?.lab;
    let kind = lab.engines[0];
    eprintln!(
        "lab `{}` was never up: this is `{}` with its first engine, {}",
        lab.name,
        arguments.file().display(),
        kind.as_str()
    );
    Ok((lab, engine::of(kind)))
}

/// Writes a file whole or not at all, and never over one that is not ours.
fn write(file: &Path, text: &str, mode: u32) -> Result<()> {
    if !may_be_replaced(file) {
        return Err(Error::new(Class::Usage, format!("`{}` is there, and no export wrote it", file.display()))
            .hint("name another file, or move that one away"));
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = file.with_file_name(format!(".{name}.new"));
    // What an interrupted export left may have another mode.
    let _ = fs::remove_file(&new);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&new, file))
        .or_error(Class::Host, || format!("cannot write `{}`", file.display()))
}

fn may_be_replaced(file: &Path) -> bool {
    let Ok(data) = fs::symlink_metadata(file) else { return true };
    let mut head = Vec::new();
    let mut read = || fs::File::open(file)?.take(HEAD).read_to_end(&mut head);
    data.is_file() && read().is_ok() && String::from_utf8_lossy(&head).contains(export::MARK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_exports_are_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("pgpass");
        let text = format!("# {}\n", export::MARK);
        write(&file, &text, SECRET).expect("a new file");
        write(&file, &format!("{text}x\n"), SECRET).expect("a newer one");
        assert_eq!(fs::read_to_string(&file).expect("it is there"), format!("{text}x\n"));
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, SECRET);
        let mine = directory.path().join("config");
        fs::write(&mine, "Host home\n").expect("a file");
        let link = directory.path().join("link");
        symlink(&file, &link).expect("a link");
        for other in [&mine, &link, directory.path()] {
            assert_eq!(write(other, &text, OPEN).expect_err("not ours").class(), Class::Usage, "{}", other.display());
        }
        assert_eq!(fs::read_to_string(&mine).expect("it is there"), "Host home\n");
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 3, "nothing else is left");
    }
}
