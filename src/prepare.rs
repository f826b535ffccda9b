//! From lab.yaml to a site that a plan can run on: the choices, made once and recorded, before anything is touched.

mod hosts;

use crate::{
    apply::{Parts, Site},
    cli::Arguments,
    config,
    context::{self, LockedSource, Record},
    engine::{self, Engine},
    error::{Class, Error, Result, ResultExt},
    event::Events,
    file,
    fit::{self, Proportion},
    host::{Accelerator, Home, Host, LabDir, capacity, choose_accelerator, system},
    image::{Image, ImageDefinition, Recipe, Sources, TREE_VARIABLE},
    journal::Journal,
    kit::{Kit, Tarballs},
    lab::{BootMode, EngineKind, HostKind, Lab, Size},
    remote::Keys,
    source,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Environment variable that names a source tarball of Postgres-XC.
pub const SOURCE_VARIABLE: &str = "PGXC_SOURCE";
/// Environment variable that names a source tarball of flex.
pub const FLEX_VARIABLE: &str = "FLEX_SOURCE";
/// Environment variable that passes over URLs.
pub const OFFLINE_VARIABLE: &str = "PGXC_LAB_OFFLINE";
/// Disk space that guests and data need at the least, beside the cache.
const ROOM: Size = Size::mib(4096);

/// Whether nothing may be downloaded.
pub fn is_offline() -> bool {
    std::env::var_os(OFFLINE_VARIABLE).is_some_and(|value| !value.is_empty())
}

/// lab.lock: what was chosen and how large it was, so that tonight's lab is last night's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LockFile {
    /// Name of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Digest of the image's inputs, as its name in the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineKind>,
    /// Where its source came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// SHA-256 of the source tarball.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    /// flex's source, where the engine was built with one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flex: Option<LockedSource>,
    /// What part of the memory the guests get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proportion: Option<Proportion>,
}

impl LockFile {
    /// Beside lab.yaml.
    pub fn path(lab_file: &Path) -> PathBuf {
        lab_file.with_extension("lock")
    }

    fn read(path: &Path) -> Result<LockFile> {
        let Some(text) = file::read_if_there(path)? else { return Ok(LockFile::default()) };
        serde_json::from_str(&text).map_err(|error| {
            Error::caused(Class::LabFile, format!("cannot understand `{}`", path.display()), error)
                .hint("it is written by `pgxc-lab up`: restore it, or remove it to choose anew")
        })
    }

    fn write(&self, path: &Path) -> Result<()> {
        let cannot = || format!("cannot write `{}`", path.display());
        let mut text = serde_json::to_string_pretty(self).or_error(Class::Internal, cannot)?;
        text.push('\n');
        if fs::read_to_string(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        // In place: it is the user's, perhaps behind a link, and keeps its owner.
        fs::write(path, text).or_error(Class::Host, cannot)
    }
}

/// Whether the choices may be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `plan`: nothing is touched.
    Look,
    /// `rebuild`: nothing is touched, and what became of the lab since its `up` does not count.
    Anew,
    /// `up`: choices are recorded.
    Act,
}

/// Reads lab.yaml and makes every choice.
///
/// # Errors
/// When lab.yaml breaks a rule, the host is too small, or nothing of a list can be had.
pub async fn site(arguments: &Arguments, home: Home, purpose: Purpose, events: Events) -> Result<Site> {
    let file = arguments.file();
    let mut loaded = config::load(&file).map_err(config::Problems::into_error)?;
    let dir = home.lab(loaded.lab.name.as_str());
    let old = Record::read(&dir)?;
    let failover = old.as_ref().filter(|_| purpose != Purpose::Anew).and_then(|record| record.failover.clone());
    if let Some(record) = old.as_ref().filter(|_| purpose == Purpose::Act) {
        record.check_failover()?;
    }
    check_host(&loaded.lab, &dir)?;
    hosts::check_joined(&loaded.lab, &dir)?;
    let lock_path = LockFile::path(&file);
    let mut lock = LockFile::read(&lock_path)?;

    let definition = choose_image(&loaded.lab, &lock, &home, &events).await?;
    let (engine, found) =
        choose_engine(&loaded.lab, &lock, old.as_ref(), &home, (&definition, purpose), &events).await?;
    let recorded = old.as_ref().map(|record| record.proportion).or(lock.proportion);
    let (accelerator, why) = accelerator(&loaded.lab, old.as_ref(), &dir, &home).await?;
    events.note(why);
    choose_boot(&mut loaded.lab, arguments.boot(), &definition, &events);
    let spread = hosts::spread(&mut loaded.lab, old.as_ref(), &events).await?;
    // Where there are several hosts, nodes were placed by what each has: nothing is left to be shrunk.
    let recorded = if spread.is_some() { Some(Proportion::WHOLE) } else { recorded };
    let mut fitted = fit::fit(&loaded.lab, capacity::memory()?, recorded)?;
    if accelerator == Accelerator::Tcg {
        fitted.notes.extend(fit::slow_down(&mut fitted.lab));
    }
    if old.is_none() || purpose != Purpose::Act {
        for note in &fitted.notes {
            events.note(note.clone());
        }
    }
    if let Some(record) = old.as_ref().filter(|_| failover.is_some()) {
        fitted.lab = record.failed_over(fitted.lab)?;
    }
    check_room(&fitted.lab, &home, &dir)?;

    let (image, kit) = bases(&home, &fitted.lab, engine.as_ref(), definition.clone(), found);
    let record = if purpose == Purpose::Act {
        make_directories(&dir)?;
        make_password(&fitted.lab, &dir)?;
        let addresses: Vec<_> = fitted.lab.nodes.iter().map(|node| (node.name.as_str(), node.address)).collect();
        Keys::new(&dir).ensure(definition.system.ssh(), &addresses)?;
        lock.image = Some(definition.name.clone());
        lock.image_id = Some(image.id().to_owned());
        lock.engine = Some(engine.kind());
        let source = kit.as_ref().map(|kit| LockedSource::of(&kit.tarballs().engine));
        let flex = kit.as_ref().and_then(|kit| kit.tarballs().flex.as_ref()).map(LockedSource::of);
        lock.source = source.as_ref().map(|source| source.place.clone());
        lock.source_digest = source.as_ref().map(|source| source.digest.clone());
        lock.flex = flex.clone();
        lock.proportion = Some(fitted.proportion);
        lock.write(&lock_path)?;
        Some(Record {
            lab_yaml: fs::read_to_string(&file)
                .or_error(Class::LabFile, || format!("cannot read `{}`", file.display()))?,
            lab_file: std::path::absolute(&file)
                .or_error(Class::LabFile, || format!("cannot find `{}`", file.display()))?,
            engine: engine.kind(),
            image: definition.name.clone(),
            source,
            flex,
            proportion: fitted.proportion,
            uses: Vec::new(),
            accelerator,
            failover,
            prepared: None,
            spread,
        })
    } else {
        None
    };
    let login = context::login(&fitted.lab, &dir).unwrap_or_else(|_| crate::sql::Login {
        user: fitted.lab.cluster.superuser.to_string(),
        password: String::new(),
        database: "postgres".into(),
    });
    let journal = Arc::new(match purpose {
        Purpose::Act => Journal::open(&dir.journal())?,
        Purpose::Look | Purpose::Anew => Journal::read(&dir.journal())?,
    });
    let site = Site::new(Parts { lab: fitted.lab, home, dir, image, engine, kit, accelerator, login, journal, events });
    if let Some(mut record) = record {
        record.uses = site.uses()?;
        // Guests may run on what was chosen before, until `up` has gone through.
        let before = old.into_iter().flat_map(|old| old.uses).filter(|entry| !record.uses.contains(entry));
        let before: Vec<String> = before.collect();
        record.uses.extend(before);
        record.write(&site.dir)?;
    }
    Ok(site)
}

/// Writes down that the lab uses what was chosen now, and nothing of before any more: `up` has gone through.
///
/// # Errors
/// When the record cannot be read or written.
pub fn settle(site: &Site) -> Result<()> {
    let uses = site.uses()?;
    match Record::read(&site.dir)? {
        Some(record) if record.uses != uses => Record { uses, ..record }.write(&site.dir),
        _ => Ok(()),
    }
}

/// The site of a lab as its record says it is: nothing is chosen, read from lab.yaml or written. Its password is below
/// `keys`, which is another directory while the lab is still in its snapshot.
///
/// # Errors
/// When the record's lab cannot be understood by this version.
pub fn recorded(
    home: Home,
    dir: LabDir,
    keys: &LabDir,
    record: &Record,
    journal: Journal,
    events: Events,
) -> Result<Site> {
    let lab = config::parse(&record.lab_yaml, &record.lab_file).map_err(config::Problems::into_error)?;
    let lab = record.fitted(&lab)?;
    let engine = engine::of(record.engine);
    let flex = record.flex.as_ref().map(LockedSource::source);
    let tarballs = record.source.as_ref().map(|engine| Tarballs { engine: engine.source(), flex });
    let (image, kit) = bases(&home, &lab, engine.as_ref(), ImageDefinition::find(&record.image)?, tarballs);
    let login = context::login(&lab, keys)?;
    let (accelerator, journal) = (record.accelerator, Arc::new(journal));
    Ok(Site::new(Parts { lab, home, dir, image, engine, kit, accelerator, login, journal, events }))
}

/// The image of an engine's guests: a place in the cache, made or not.
fn image_of(home: &Home, lab: &Lab, engine: &dyn Engine, definition: ImageDefinition) -> Image {
    let packages = engine.packages(definition.system).unwrap_or_default();
    let packages = packages.iter().map(|package| (*package).to_owned());
    let packages: Vec<String> = packages.chain(lab.guest.packages.iter().cloned()).collect();
    Image::new(home, definition, &packages, &lab.guest)
}

/// What the guests' disks lie on: places in the cache, made or not.
fn bases(
    home: &Home,
    lab: &Lab,
    engine: &dyn Engine,
    definition: ImageDefinition,
    tarballs: Option<Tarballs>,
) -> (Image, Option<Kit>) {
    let image = image_of(home, lab, engine, definition);
    let kit = engine.build(lab).zip(tarballs).map(|(build, tarballs)| Kit::new(home, build, tarballs, &image));
    (image, kit)
}

/// A lab stays where it is until it is destroyed.
fn check_host(lab: &Lab, dir: &LabDir) -> Result<()> {
    let there = match Host::find(dir).map(|host| host.kind()) {
        None if system::is_entangled(dir)? => Some(HostKind::System),
        there => there,
    };
    match there {
        Some(there) if there != lab.host => Err(Error::new(
            Class::LabFile,
            format!(
                "lab `{}` lives on a host of kind `{}`, lab.yaml wants `{}`",
                lab.name,
                there.as_str(),
                lab.host.as_str()
            ),
        )
        .hint("`pgxc-lab destroy` first, or change `host` back")),
        _ => Ok(()),
    }
}

/// The command line before lab.yaml, and neither asks of an image what it cannot.
fn choose_boot(lab: &mut Lab, asked: Option<BootMode>, definition: &ImageDefinition, events: &Events) {
    lab.boot = asked.unwrap_or(lab.boot);
    let reason = match (lab.host, &lab.hosts) {
        (HostKind::System, _) => Some("with `host: system` qemu may not read the memory of a template"),
        (HostKind::Private, Some(_)) => Some("a template is on this machine only"),
        (HostKind::Private, None) => None,
    };
    if let Some(reason) = reason {
        if lab.boot == BootMode::Warm {
            events.note(format!("guests always boot: {reason}"));
        }
        lab.boot = BootMode::Cold;
    }
    if definition.template.is_none() && lab.boot != BootMode::Cold {
        if lab.boot == BootMode::Warm {
            events.note(format!("guests of image `{}` always boot: it says nothing of templates", definition.name));
        }
        lab.boot = BootMode::Cold;
    }
}

/// Whether an image is one of several, and made in a way that nobody would want by chance: an installation takes a while, and
/// may want a DVD.
fn must_be_asked_for(lab: &Lab, definition: &ImageDefinition) -> bool {
    let named = std::env::var_os(TREE_VARIABLE).is_some_and(|tree| !tree.is_empty());
    lab.images.len() > 1 && matches!(definition.recipe, Recipe::Kickstart { .. }) && !named
}

/// The first image of the list that can be had; the one of lab.lock first.
async fn choose_image(lab: &Lab, lock: &LockFile, home: &Home, events: &Events) -> Result<ImageDefinition> {
    let locked = lock.image.iter().filter(|name| lab.images.contains(name));
    let mut passed_over = Vec::new();
    for name in locked.chain(lab.images.iter()) {
        match ImageDefinition::find(name) {
            Ok(definition) if lock.image.as_ref() != Some(name) && must_be_asked_for(lab, &definition) => {
                passed_over.push(format!(
                    "image `{name}` passed over: it is installed from a tree of its release, and none is named; {TREE_VARIABLE}=/mnt/dvd \
                     names a directory or a URL, `image: {name}` alone takes the project's own archive"
                ));
            }
            Ok(definition) => {
                let disks = home.disks();
                let sources = Sources::new(lab, name, &disks, is_offline());
                // One that was made is not made of anything any more.
                let had = if Image::is_any_baked(home, name) { Ok(()) } else { definition.find_source(&sources).await };
                if let Err(error) = had {
                    passed_over.push(format!(
                        "image `{name}` passed over: {}: {}",
                        error.message(),
                        error.causes().join("; ")
                    ));
                    continue;
                }
                if lock.image.as_ref() != Some(name) {
                    passed_over.iter().for_each(|why: &String| events.note(why.clone()));
                }
                return Ok(definition);
            }
            Err(error) => passed_over.push(format!("image `{name}` passed over: {}", error.message())),
        }
    }
    Err(Error::new(Class::Image, "none of lab.yaml's images can be had")
        .evidence(passed_over.join("\n"))
        .hint("add `debian-12` to the list `image`"))
}

/// The first engine of the list that can be had; that of the standing lab or of lab.lock first.
async fn choose_engine(
    lab: &Lab,
    lock: &LockFile,
    old: Option<&Record>,
    home: &Home,
    (definition, purpose): (&ImageDefinition, Purpose),
    events: &Events,
) -> Result<(Box<dyn Engine>, Option<Tarballs>)> {
    let override_path = named_by(SOURCE_VARIABLE);
    let mut kinds = lab.engines.clone();
    let settled = old.map(|record| record.engine).or(if override_path.is_some() { None } else { lock.engine });
    if let Some(settled) = settled.filter(|kind| kinds.contains(kind)) {
        if old.is_some() && override_path.is_some() && settled != EngineKind::PostgresXc {
            return Err(Error::new(
                Class::Usage,
                format!("{SOURCE_VARIABLE} is set, but lab `{}` runs {}", lab.name, settled.as_str()),
            )
            .hint("`pgxc-lab destroy` first: an engine cannot be changed under its data"));
        }
        kinds = vec![settled];
    } else if let Some(record) = old {
        return Err(Error::new(
            Class::LabFile,
            format!("lab `{}` runs {}, which lab.yaml no longer lists", lab.name, record.engine.as_str()),
        )
        .hint("`pgxc-lab destroy` first: an engine cannot be changed under its data"));
    }
    let mut passed_over = Vec::new();
    let mut buildable = None;
    for kind in kinds {
        let engine = engine::of(kind);
        if let Some(why) = refused(engine.as_ref(), definition, lab) {
            passed_over.push(format!("engine `{}` passed over: {why}", kind.as_str()));
            continue;
        }
        if engine.build(lab).is_none() {
            passed_over.iter().for_each(|why: &String| events.note(why.clone()));
            let lacks = engine.lacks();
            if old.is_none() && !lacks.is_empty() {
                events.note(format!("engine `{}` is not the real thing: {}", kind.as_str(), lacks.join("; ")));
            }
            return Ok((engine, None));
        }
        // What is built needs no source again: the digest names the build.
        let named = override_path.is_some() || (definition.flex.is_some() && named_by(FLEX_VARIABLE).is_some());
        if let (false, Some(digest), Some(build)) = (named, &lock.source_digest, engine.build(lab)) {
            let place = lock.source.clone().unwrap_or_default();
            let engine_source = source::Source { path: PathBuf::new(), digest: digest.clone(), place };
            let flex = lock.flex.as_ref().filter(|_| definition.flex.is_some()).map(LockedSource::source);
            let tarballs = Tarballs { engine: engine_source, flex };
            let image = image_of(home, lab, engine.as_ref(), definition.clone());
            if Kit::new(home, build, tarballs.clone(), &image).is_built() {
                return Ok((engine, Some(tarballs)));
            }
        }
        let cache = home.cache().join("sources");
        let request = source::Request {
            override_path: override_path.clone(),
            variable: SOURCE_VARIABLE,
            places: &lab.cluster.source,
            base: &lab.directory,
            cache: &cache,
            // A tarball that was named on purpose may be another one; the lock then follows it.
            pinned: if override_path.is_some() { None } else { lock.source_digest.as_deref() },
            // A plan fetches nothing.
            offline: is_offline() || purpose == Purpose::Look,
        };
        let found = source::obtain(&request, events, "source").await?;
        passed_over.extend(
            found
                .passed_over
                .iter()
                .map(|(place, why)| format!("engine `{}`: source {place} passed over: {why}", kind.as_str())),
        );
        let flex = async || find_flex(lab, lock, old, home, (definition, purpose), events).await;
        if let Some(source) = found.source {
            return Ok((engine, Some(Tarballs { engine: source, flex: flex().await? })));
        }
        let url = lab.cluster.source.iter().find(|place| place.contains("://"));
        if let Some(place) = url.filter(|_| purpose == Purpose::Look && old.is_none() && !is_offline()) {
            events.note(format!("`up` would look for the source of `{}` at {place}", kind.as_str()));
            return Ok((engine, Some(Tarballs { engine: unknown_source(place), flex: flex().await? })));
        }
        buildable = buildable.or(Some(engine));
    }
    // A plan can be shown of what cannot be had today.
    if let (Purpose::Look, None, Some(engine)) = (purpose, old, buildable) {
        let missing = format!("no source of `{}` is here: this is the plan with one", engine.kind().as_str());
        passed_over.into_iter().chain([missing]).for_each(|why| events.note(why));
        let flex = find_flex(lab, lock, old, home, (definition, purpose), events).await?;
        return Ok((engine, Some(Tarballs { engine: unknown_source("nowhere yet"), flex })));
    }
    Err(Error::new(Class::Image, "none of lab.yaml's engines can be had")
        .evidence(passed_over.join("\n"))
        .hint(format!("name a source tarball with {SOURCE_VARIABLE}=/path/to/pgxc-v1.0.2.tar.gz, or add `postgres-fdw` to the list `engine`")))
}

/// The source package that this environment variable names.
fn named_by(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// flex's source, for guests whose own flex is too old. Without it a source package that holds its generated scanners can
/// be built still, so it is no error that there is none.
async fn find_flex(
    lab: &Lab,
    lock: &LockFile,
    old: Option<&Record>,
    home: &Home,
    (definition, purpose): (&ImageDefinition, Purpose),
    events: &Events,
) -> Result<Option<source::Source>> {
    let Some(version) = &definition.flex else { return Ok(None) };
    let override_path = named_by(FLEX_VARIABLE);
    let request = source::Request {
        pinned: lock.flex.as_ref().filter(|_| override_path.is_none()).map(|flex| flex.digest.as_str()),
        override_path,
        variable: FLEX_VARIABLE,
        places: &lab.cluster.flex,
        base: &lab.directory,
        cache: &home.cache().join("sources"),
        offline: is_offline() || purpose == Purpose::Look,
    };
    let found = source::obtain(&request, events, "source").await?;
    if found.source.is_some() {
        return Ok(found.source);
    }
    let plans = purpose == Purpose::Look && old.is_none();
    let url = lab.cluster.flex.iter().find(|place| place.contains("://"));
    if let Some(place) = url.filter(|_| plans && !is_offline()) {
        events.note(format!("`up` would look for the source of flex at {place}"));
        return Ok(Some(unknown_source(place)));
    }
    for (place, why) in &found.passed_over {
        events.note(format!("flex: source {place} passed over: {why}"));
    }
    if plans {
        events.note("no source of flex is here: this is the plan with one");
        return Ok(Some(unknown_source("nowhere yet")));
    }
    events.note(format!(
        "flex {version} of image `{}` is too old to make scanners of Postgres-XC, and no source of another one is here: only a \
         source package that holds its generated scanners can be built; {FLEX_VARIABLE}=/path/to/flex-2.5.35.tar.bz2 names one",
        definition.name
    ));
    Ok(None)
}

/// A source that nobody has looked for: good for a plan only.
fn unknown_source(place: &str) -> source::Source {
    source::Source { path: PathBuf::new(), digest: String::new(), place: place.to_owned() }
}

/// Why an engine cannot run in an image's guests. A lab without a cluster runs on all of them.
fn refused(engine: &dyn Engine, definition: &ImageDefinition, lab: &Lab) -> Option<String> {
    if lab.nodes.iter().all(|node| node.roles.is_empty()) {
        return None;
    }
    let name = &definition.name;
    if engine.packages(definition.system).is_none() {
        return Some(format!("it does not run in guests of image `{name}` yet"));
    }
    let builds = definition.builder.is_some() || matches!(definition.recipe, Recipe::Kickstart { .. });
    (engine.build(lab).is_some() && !builds).then(|| format!("nothing can be built for guests of image `{name}`"))
}

/// Looks for the memory and the disk space that a lab needs.
///
/// # Errors
/// When there is less.
pub fn check_room(lab: &Lab, home: &Home, dir: &LabDir) -> Result<()> {
    check_memory(lab, dir)?;
    check_disk(lab, home, dir)
}

/// A proportion that was recorded when more memory was free, or another lab beside this one, may leave too little.
fn check_memory(lab: &Lab, dir: &LabDir) -> Result<()> {
    if Host::find(dir).is_some() {
        return Ok(());
    }
    let here = lab.nodes.iter().filter(|node| lab.host_of(node).is_none());
    let wanted = Size::bytes(here.map(|node| node.memory.as_bytes()).sum());
    let available = capacity::memory()?.available;
    if wanted <= available {
        return Ok(());
    }
    Err(Error::new(
        Class::Host,
        format!(
            "the guests of lab `{}` want {} MiB of memory, {} MiB are available",
            lab.name,
            wanted.as_mib(),
            available.as_mib()
        ),
    )
    .hint("end other labs or programs, or remove lab.lock to fit the lab anew"))
}

fn check_disk(lab: &Lab, home: &Home, dir: &LabDir) -> Result<()> {
    if dir.exports_image().exists() {
        return Ok(());
    }
    let free = capacity::free_space(home.path())?;
    if free >= ROOM {
        return Ok(());
    }
    Err(Error::new(
        Class::Host,
        format!("only {free} are free below `{}`, lab `{}` needs {ROOM} at the least", home.path().display(), lab.name),
    )
    .hint("free some space, or take another place with `--home DIR`"))
}

/// The accelerator, proved once per boot of the host: the proof takes seconds where KVM lies.
async fn accelerator(lab: &Lab, old: Option<&Record>, dir: &LabDir, home: &Home) -> Result<(Accelerator, String)> {
    if let Some(record) = old.filter(|_| Host::find(dir).is_some()) {
        return Ok((
            record.accelerator,
            format!("guests run under {}, as when the lab was made", record.accelerator.as_str()),
        ));
    }
    machine_accelerator(lab, home).await
}

/// The accelerator of this machine for a lab that is not there yet.
///
/// # Errors
/// When lab.yaml wants KVM and it does not work.
pub async fn machine_accelerator(lab: &Lab, home: &Home) -> Result<(Accelerator, String)> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let path = home.cache().join("accelerator.json");
    let key = format!("{}/{:?}", boot.trim(), lab.acceleration);
    if let Some((seen, accelerator, why)) = fs::read_to_string(&path)
        .ok()
        .and_then(|text| serde_json::from_str::<(String, Accelerator, String)>(&text).ok())
        && seen == key
    {
        return Ok((accelerator, why));
    }
    let (accelerator, why) = choose_accelerator(lab.acceleration, &home.cache()).await?;
    if let Ok(text) = serde_json::to_string(&(key, accelerator, &why)) {
        // Only a memory of what was seen: without it the next run looks again.
        let _ = fs::write(&path, text);
    }
    Ok((accelerator, why))
}

fn make_directories(dir: &LabDir) -> Result<()> {
    for name in ["logs", "disks", "keys"] {
        let path = dir.join(name);
        fs::create_dir_all(&path).or_error(Class::Host, || format!("cannot make `{}`", path.display()))?;
    }
    use std::os::unix::fs::PermissionsExt;
    let keys = dir.keys();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700))
        .or_error(Class::Host, || format!("cannot protect `{}`", keys.display()))
}

fn make_password(lab: &Lab, dir: &LabDir) -> Result<()> {
    let path = dir.join("keys/password");
    if lab.cluster.password.is_some() || path.exists() {
        return Ok(());
    }
    let mut random = [0u8; 12];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut random))
        .or_error(Class::Host, || "cannot read /dev/urandom".into())?;
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, password.as_bytes()))
        .or_error(Class::Host, || format!("cannot write `{}`", path.display()))
}
