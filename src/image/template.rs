//! Templates: guests of an image that were booted once, kept with their memory. A place in the cache, named by the digest
//! of everything that a clone must have in common with them.

use super::Image;
use crate::{
    digest,
    error::{Class, Result, ResultExt},
    host::{self, Home, Lock},
};
use serde::Serialize;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Length in bytes of every seed disk: a clone finds its own in the place of its template's, so both must be as long.
/// A seed of forty nodes takes a tenth of it.
pub const SEED_LENGTH: u64 = 256 << 10;

/// A template: made or not.
#[derive(Clone, Debug)]
pub struct Template {
    directory: PathBuf,
    lock: PathBuf,
    facts: Facts,
}

/// What lies beside a template, for people.
#[derive(Clone, Debug, Serialize)]
struct Facts {
    image: String,
    qemu: String,
    processor: String,
    machine: String,
}

impl Template {
    /// The template of this image for a machine, which is whatever text tells everything about it that memory depends on.
    ///
    /// # Errors
    /// When the hypervisor or the processor does not tell what it is.
    pub fn new(home: &Home, image: &Image, machine: String) -> Result<Template> {
        let facts =
            Facts { image: image.id().to_owned(), qemu: host::qemu_version()?, processor: processor()?, machine };
        Ok(Template::of(home, &image.definition.name, facts))
    }

    fn of(home: &Home, image: &str, facts: Facts) -> Template {
        let inputs = [&facts.image, &facts.qemu, &facts.processor, &facts.machine].map(String::as_str).join("\n");
        let name = format!("{image}-{}", digest::short(&digest::of_text(&inputs)));
        let directory = home.cache().join("templates").join(name);
        Template { directory, lock: lock_path(home), facts }
    }

    /// Its name in the cache.
    pub fn id(&self) -> &str {
        self.directory.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Whether it is made.
    pub fn is_made(&self) -> bool {
        self.directory.join("manifest.json").exists()
    }

    /// Its root disk at the instant of its memory: what clones copy.
    pub fn disk(&self) -> PathBuf {
        self.directory.join("disk.qcow2")
    }

    /// Its memory.
    pub fn memory(&self) -> PathBuf {
        self.directory.join("memory")
    }

    /// Makes it with `fill`, which leaves disk and memory in the directory that it is given; nothing half made is ever
    /// found under the template's name. Tells whether anything was to be done.
    ///
    /// # Errors
    /// Those of `fill`, and when the cache cannot be written.
    pub async fn ensure<F: Future<Output = Result<()>>>(&self, fill: impl FnOnce(Template) -> F) -> Result<bool> {
        let _lock = super::take_lock(self.lock.clone(), "the cache of templates").await?;
        if self.is_made() {
            return Ok(false);
        }
        let part = Template { directory: self.directory.with_file_name(format!("{}.part", self.id())), ..self.clone() };
        remove(&part.directory)?;
        fs::create_dir_all(&part.directory)
            .or_error(Class::Host, || format!("cannot make `{}`", part.directory.display()))?;
        let filled = match fill(part.clone()).await {
            Ok(()) => part.seal(),
            Err(error) => Err(error),
        };
        if let Err(error) = filled {
            remove(&part.directory)?;
            return Err(error);
        }
        remove(&self.directory)?;
        fs::rename(&part.directory, &self.directory)
            .or_error(Class::Host, || format!("cannot name `{}`", self.directory.display()))?;
        Ok(true)
    }

    /// Takes its name away: the next one who wants it makes it anew. Clones that are just being made keep their files.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn condemn(&self) -> Result<()> {
        let manifest = self.directory.join("manifest.json");
        match fs::remove_file(&manifest) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).or_error(Class::Host, || format!("cannot remove `{}`", manifest.display()))
            }
            _ => Ok(()),
        }
    }

    /// Read-only from now on, and whole.
    fn seal(&self) -> Result<()> {
        for file in [self.disk(), self.memory()] {
            let cannot = || format!("cannot seal `{}`", file.display());
            let mut permissions = fs::metadata(&file).or_error(Class::Host, cannot)?.permissions();
            permissions.set_readonly(true);
            fs::set_permissions(&file, permissions).or_error(Class::Host, cannot)?;
            // A power cut of the host must not leave a template that is whole by name only.
            fs::File::open(&file).and_then(|file| file.sync_all()).or_error(Class::Host, cannot)?;
        }
        let text = serde_json::to_string_pretty(&self.facts)
            .or_error(Class::Internal, || "cannot write the template's manifest".into())?;
        let path = self.directory.join("manifest.json");
        fs::File::create(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .or_error(Class::Host, || format!("cannot write `{}`", path.display()))
    }
}

fn lock_path(home: &Home) -> PathBuf {
    home.cache().join("templates.lock")
}

/// The lock under which templates are made and removed.
pub(super) fn lock(home: &Home) -> Result<Lock> {
    Lock::take(&lock_path(home), "the cache of templates", std::time::Duration::ZERO)
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).or_error(Class::Host, || format!("cannot remove `{}`", directory.display()))
        }
        _ => Ok(()),
    }
}

/// The host's processor: its name and a digest of what it can do.
fn processor() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo").or_error(Class::Host, || "cannot read `/proc/cpuinfo`".into())?;
    let value = |key: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    Ok(format!("{} {}", value("model name"), digest::short(&digest::of_text(&value("flags")))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn template(home: &Home, machine: &str) -> Template {
        let facts = ["debian-12-0123", "10.0.2", "a processor", machine].map(str::to_owned);
        let [image, qemu, processor, machine] = facts;
        Template::of(home, "debian-12", Facts { image, qemu, processor, machine })
    }

    #[tokio::test]
    async fn only_a_whole_template_has_a_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = Home::new(directory.path());
        fs::create_dir_all(home.cache()).expect("it can be made");
        let template = template(&home, "small");
        let failed = template
            .ensure(|part| async move {
                fs::write(part.disk(), "half").expect("it can be written");
                Err(Error::new(Class::Guest, "it does not boot"))
            })
            .await;
        assert_eq!(failed.expect_err("it failed").message(), "it does not boot");
        assert_eq!(fs::read_dir(home.cache().join("templates")).expect("it is there").count(), 0);
        let fill = async |part: Template| {
            fs::write(part.disk(), "disk").expect("it can be written");
            fs::write(part.memory(), "memory").expect("it can be written");
            Ok(())
        };
        assert!(template.ensure(fill).await.expect("it is made"));
        assert!(template.is_made());
        assert!(fs::metadata(template.memory()).expect("it is there").permissions().readonly());
        let again = template.ensure(|_| async { Err(Error::new(Class::Internal, "made twice")) }).await;
        assert!(!again.expect("it is there"));
        template.condemn().expect("it can be");
        assert!(!template.is_made());
        assert!(template.ensure(fill).await.expect("it is made again"));
    }

    #[test]
    fn another_machine_is_another_template() {
        let home = Home::new("/nowhere");
        assert_ne!(template(&home, "small").id(), template(&home, "large").id());
        assert_eq!(template(&home, "small").id(), template(&home, "small").id());
    }

    #[test]
    fn the_processor_has_a_name() {
        assert!(processor().expect("Linux tells").len() > 10);
    }
}
