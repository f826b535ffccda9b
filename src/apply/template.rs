//! The step that makes templates: a guest of nobody's is booted, waits, and is kept with its memory.

use super::site::Site;
use crate::{
    error::{Class, Error, Result, ResultExt},
    event::Outcome,
    executor::Foresight,
    host::{capacity, last_lines},
    hypervisor::{DomainDefinition, DomainState, SeenDomain, memory},
    image::{SEED_LENGTH, Template, TemplateDefinition},
    lab::{BootMode, Shape, Size},
    plan::Step,
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// How long a template may take to boot: what a node may take to its address, and to read what clones are going to run.
const WAITS: Duration = Duration::from_secs(80);
/// How often its console is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// What names of templates begin with. No node's does: those have no dots.
const PREFIX: &str = "template.";
/// Room for its disk, beside its memory.
const ROOM: Size = Size::mib(256);

/// Whether a domain of the lab is a template that is being made, and no node.
pub(super) fn is_template(domain: &SeenDomain) -> bool {
    domain.name.starts_with(PREFIX)
}

impl Site {
    /// The template of guests of this shape; none when their image cannot be one.
    ///
    /// # Errors
    /// When the hypervisor does not tell what it is.
    pub(super) fn template_of(&self, shape: Shape) -> Result<Option<Template>> {
        let Some(definition) = &self.image.definition.template else { return Ok(None) };
        // Memory does not depend on whose machine it is, nor where its files lie.
        let machine = DomainDefinition {
            lab: String::new(),
            uuid: String::new(),
            console: String::new(),
            ..self.template_domain("template", shape, definition, Path::new("disk"), Path::new("seed"))
        };
        let (xml, _) = machine.sealed().or_error(Class::Internal, || "cannot render a template's domain".into())?;
        let home = self.home.path().display().to_string();
        Template::new(&self.home, &self.image, format!("{SEED_LENGTH} {}", xml.replace(&home, ""))).map(Some)
    }

    /// Names of everything in the cache that the lab's guests are made of.
    ///
    /// # Errors
    /// When the hypervisor does not tell what it is.
    pub fn uses(&self) -> Result<Vec<String>> {
        let mut uses = vec![self.image.id().to_owned()];
        uses.extend(self.kit.iter().flat_map(|kit| [Some(kit.id()), kit.builder_id()]).flatten().map(str::to_owned));
        if self.lab.boot.least_clones().is_some() {
            for shape in self.lab.shapes().into_keys() {
                uses.extend(self.template_of(shape)?.map(|template| template.id().to_owned()));
            }
        }
        Ok(uses)
    }

    fn template_domain(
        &self,
        name: &str,
        shape: Shape,
        definition: &TemplateDefinition,
        disk: &Path,
        seed: &Path,
    ) -> DomainDefinition {
        let mut domain = self.machine_of(name, shape, &self.files_here(name, disk, seed));
        if let Some(boot) = &mut domain.boot {
            boot.cmdline = format!("{} {}", boot.cmdline, definition.cmdline);
        }
        domain
    }

    /// Shapes of which a template is missing and guests are to be made.
    fn wanted_templates(&self, shapes: &[Shape]) -> Result<Vec<(Shape, Template)>> {
        let mut wanted = Vec::new();
        for shape in shapes {
            let new = |node: &&crate::lab::Node| node.shape() == *shape && !self.overlay_is_current(node);
            let count = self.lab.nodes.iter().filter(new).count();
            if self.lab.boot.least_clones().is_none_or(|least| count < least) {
                continue;
            }
            let template = self.template_of(*shape)?.filter(|template| !template.is_made());
            wanted.extend(template.map(|template| (*shape, template)));
        }
        Ok(wanted)
    }

    pub(super) fn foresee_template(&self, shapes: &[Shape]) -> Result<Foresight> {
        if self.lab.nodes.iter().all(|node| self.overlay_is_current(node)) {
            return Ok(Foresight::Holds("no guest is to be made".into()));
        }
        Ok(match self.wanted_templates(shapes)?.is_empty() {
            true => Foresight::Holds("what guests are made from is in the cache".into()),
            false => Foresight::Changes,
        })
    }

    /// Makes what is missing. Without a template guests can still boot, so only who asked for one is told of a failure.
    pub(super) async fn template(&self, step: &Step, shapes: &[Shape]) -> Result<Outcome> {
        let mut made = Vec::new();
        for (shape, template) in self.wanted_templates(shapes)? {
            let ensured = template.ensure(|part| async move { self.make_template(&step.id, shape, &part).await }).await;
            match ensured {
                Ok(true) => made.push(template.id().to_owned()),
                Ok(false) => {}
                Err(error) if self.lab.boot == BootMode::Warm || error.class() == Class::Interrupted => {
                    return Err(error.hint("`--boot cold` does without templates"));
                }
                Err(error) => {
                    self.events.note(format!("guests of {shape} boot: there is no template of them, since {error}"));
                }
            }
        }
        Ok(match made.is_empty() {
            true => Outcome::Unchanged("nothing was made".into()),
            false => Outcome::Changed(format!("booted {} and kept its memory", made.join(", "))),
        })
    }

    async fn make_template(&self, step: &str, shape: Shape, part: &Template) -> Result<()> {
        let definition = self.image.definition.template.as_ref();
        let definition = definition.ok_or_else(|| Error::new(Class::Internal, "a template of an image without one"))?;
        let free = capacity::free_space(&part.disk())?;
        let room = Size::bytes(shape.memory.as_bytes() + ROOM.as_bytes());
        if free < room {
            return Err(Error::new(Class::Host, format!("a template takes up to {room}, only {free} are free"))
                .hint("`pgxc-lab image prune` removes what no lab uses"));
        }
        let name = format!("{PREFIX}{shape}");
        let console = self.dir.console(&name);
        // What a run that was cut short may have left.
        self.end_template(&name).await?;
        let _ = fs::remove_file(&console);
        self.create_overlay(&part.disk(), shape).await?;
        let seed = part.disk().with_file_name("seed");
        fs::File::create(&seed)
            .and_then(|file| file.set_len(SEED_LENGTH))
            .or_error(Class::Host, || format!("cannot write `{}`", seed.display()))?;
        let domain = self.template_domain(&name, shape, definition, &part.disk(), &seed);
        let (xml, _) = domain.sealed().or_error(Class::Internal, || "cannot render a template's domain".into())?;
        self.progress(step, "boots");
        let kept = async {
            let started = name.clone();
            self.libvirt(move |libvirt| libvirt.start_transient(&started, &xml)).await?;
            self.wait_for_template(&name, &console, &definition.ready).await?;
            self.progress(step, "keeps its memory");
            let (name, memory) = (name.clone(), part.memory());
            self.libvirt_patiently(move |libvirt| memory::write(libvirt, &name, &memory)).await
        };
        let kept = kept.await;
        self.end_template(&name).await?;
        let _ = fs::remove_file(&seed);
        kept
    }

    /// Ends templates among these domains that a run which was cut short has left. Nobody makes one while guests boot.
    pub(super) async fn end_orphaned_templates(&self, domains: &[SeenDomain]) -> Result<()> {
        for domain in domains.iter().filter(|domain| is_template(domain)) {
            self.end_template(&domain.name).await?;
        }
        Ok(())
    }

    async fn end_template(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.libvirt(move |libvirt| libvirt.remove(&name)).await
    }

    /// Waits until the guest says that it waits.
    async fn wait_for_template(&self, name: &str, console: &Path, ready: &str) -> Result<()> {
        let deadline = Instant::now() + self.patience(WAITS);
        loop {
            let text = fs::read(console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            if text.contains(ready) {
                return Ok(());
            }
            let running =
                self.domains().await?.iter().any(|domain| domain.name == name && domain.state == DomainState::Running);
            if !running || Instant::now() > deadline {
                let what = match running {
                    true => format!("did not get ready within {} s", self.patience(WAITS).as_secs()),
                    false => "ended before it was ready".to_owned(),
                };
                return Err(Error::new(Class::Guest, format!("the template `{name}` {what}")).evidence(format!(
                    "console {}:\n{}",
                    console.display(),
                    last_lines(&text, 15)
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
