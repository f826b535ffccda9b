//! A new guest from its template: a copy of its disk, its memory, and a card of its own, whose appearance tells the guest to
//! take its seed and become the node.

use super::site::Site;
use crate::{
    error::{Class, Error, Result, ResultExt},
    event::Outcome,
    hypervisor::{DomainDefinition, memory},
    image::Template,
    lab::{BootMode, Node},
    snapshot::sparse,
};
use askama::Template as _;
use std::fs;

impl Site {
    /// Makes a node's new guest from its template. None when there is no template, or when the clone does not come to a
    /// login: then it is taken away again, the template counts no longer, and the guest has to boot.
    ///
    /// # Errors
    /// When what is left of a failed clone cannot be taken away, or the host lacks something; any failure when lab.yaml asks
    /// for templates.
    pub(super) async fn boot_warm(&self, node: &Node, step: &str) -> Result<Option<Outcome>> {
        if self.lab.boot == BootMode::Cold {
            return Ok(None);
        }
        let Some(template) = self.template_of(node.shape())?.filter(Template::is_made) else { return Ok(None) };
        if let Err(error) = self.check_seed(node) {
            // The template is as good as ever: this node is none that it can become.
            if self.lab.boot == BootMode::Warm {
                return Err(error.hint("`--boot cold` does without templates"));
            }
            self.events.note(format!("`{}` boots: {error}", node.name));
            return Ok(None);
        }
        let cloned = async {
            self.start_clone(node, step, &template).await?;
            self.climb(node, step).await
        };
        match cloned.await {
            Ok(()) => {
                // Not before: a guest that is not yet its node must not be taken for it by the next run.
                self.own_overlay(node)?;
                Ok(Some(Outcome::Changed("cloned from the template, ssh login works".into())))
            }
            Err(error) if !may_boot(&error) => Err(error),
            Err(error) => {
                // Whatever is wrong with it, the next one will be better; and no other guest has to find out.
                template.condemn()?;
                if self.lab.boot == BootMode::Warm {
                    return Err(error.hint("`--boot cold` does without templates"));
                }
                self.events.note(format!("`{}` boots, since it could not be cloned: {error}", node.name));
                self.forget_shell(node);
                let name = node.name.to_string();
                self.libvirt(move |libvirt| libvirt.remove(&name)).await?;
                Ok(None)
            }
        }
    }

    /// A clone has the template's disks: no seed can be longer than the template's.
    fn check_seed(&self, node: &Node) -> Result<()> {
        let length = fs::metadata(self.dir.seed(node.name.as_str())).map(|data| data.len()).unwrap_or_default();
        if length == crate::image::SEED_LENGTH {
            return Ok(());
        }
        Err(Error::new(Class::Host, format!("its seed of {length} bytes is longer than a template's")))
    }

    async fn start_clone(&self, node: &Node, step: &str, template: &Template) -> Result<()> {
        let name = node.name.to_string();
        let overlay = self.dir.overlay(&name);
        self.progress(step, "copies the template");
        self.forget_overlay(node);
        let (from, to) = (template.disk(), overlay.clone());
        tokio::task::spawn_blocking(move || sparse::copy(&from, &to).and_then(|()| writable(&to)))
            .await
            .or_error(Class::Internal, || "a copy ended".into())?
            .or_error(Class::Host, || format!("cannot copy `{}`", template.disk().display()))?;
        // The template may have been made where the cache had another path.
        let mut rebase = tokio::process::Command::new("qemu-img");
        rebase.args(["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b"]).arg(self.image.root()).arg(&overlay);
        crate::host::run(rebase, &format!("lay the disk of `{name}` on its image"), Class::Host).await?;

        let incoming = Some(template.memory().display().to_string());
        let (plain, digest) = self.definition(node)?;
        // With the digest of what it becomes: by that the next run knows it. libvirt keeps what a running domain was started with.
        let warm = DomainDefinition { card: None, incoming, digest, ..self.domain_of(node) };
        let warm = warm.render().or_error(Class::Internal, || format!("cannot render the domain of `{name}`"))?;
        let card = self.card_of(node).render().or_error(Class::Internal, || "cannot render a card".into())?;
        self.progress(step, "reads the template's memory");
        let (loading, loaded) = (name.clone(), name);
        self.libvirt_patiently(move |libvirt| {
            libvirt.start_paused(&loading, &warm)?;
            memory::wait_loaded(libvirt, &loading)
        })
        .await
        .map_err(|error| error.context(format!("the memory of template `{}` cannot be read", template.id())))?;
        self.libvirt(move |libvirt| {
            libvirt.plug(&loaded, &card)?;
            // What starts next time boots.
            libvirt.define(&loaded, &plain)?;
            libvirt.resume(&loaded)
        })
        .await?;
        self.forget_shell(node);
        self.record_start(node).await
    }
}

/// Whether a guest that could not be cloned may well boot: the hypervisor did not take the template's memory, or the clone
/// did not come to a login. What the host lacks, such as room on a disk, a boot lacks too.
fn may_boot(error: &Error) -> bool {
    matches!(error.class(), Class::Infrastructure | Class::Guest)
}

/// The template is read-only; its copies are not.
fn writable(file: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_cures_no_host() {
        for class in Class::ALL {
            let cured = matches!(class, Class::Infrastructure | Class::Guest);
            assert_eq!(may_boot(&Error::new(class, "it failed")), cured, "{class:?}");
        }
    }
}
