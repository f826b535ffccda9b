//! Data directories are filled natively on the host, in a copy-on-write view of the guests' own image: initdb alone
//! takes 33 s in an emulated guest and 2 s here, and what comes out is the same, byte by byte (tests/e2e/native.rs).

use super::site::{Site, describe};
use crate::{
    engine::ComponentSetup,
    error::{Class, Error, Result, ResultExt},
    event::Outcome,
    executor::Foresight,
    file,
    guest::{Content, GuestFile},
    lab::Node,
    plan::Step,
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

impl Site {
    pub(super) fn foresee_initialise(&self, step: &Step) -> Result<Foresight> {
        let node = self.node_of(step)?;
        if self.host_if_there().is_none() {
            return Ok(Foresight::Changes);
        }
        for component in self.components(node) {
            if !self.is_initialised(node, &component)? || !self.is_configured(node, &component)? {
                return Ok(Foresight::Changes);
            }
        }
        Ok(Foresight::Holds("the data directories are initialised and configured".into()))
    }

    pub(super) async fn initialise(&self, step: &Step) -> Result<Outcome> {
        let node = self.node_of(step)?;
        let mut done = Vec::new();
        for component in self.components(node) {
            let name = component.directory.rsplit('/').next().unwrap_or(&component.directory).to_owned();
            if !self.is_initialised(node, &component)? {
                self.progress(&step.id, &name);
                self.fill(node, &component).await?;
                done.push(format!("initialised {name}"));
            }
            if self.configure(node, &component)? {
                done.push(format!("configured {name}"));
            }
        }
        Ok(Outcome::Changed(done.join(", ")))
    }

    /// Whether a component's configuration on the export is as it is to be.
    pub(super) fn is_configured(&self, node: &Node, component: &ComponentSetup) -> Result<bool> {
        for file in &component.files {
            if !is_as_wanted(&self.on_export(node, &file.path)?, file) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what of a component's configuration is not as it is to be from now on; gives whether there was anything.
    pub(super) fn configure(&self, node: &Node, component: &ComponentSetup) -> Result<bool> {
        let mut is_written = false;
        for file in &component.files {
            let path = self.on_export(node, &file.path)?;
            if !is_as_wanted(&path, file) {
                write(&path, file)?;
                is_written = true;
            }
        }
        Ok(is_written)
    }

    /// A path of the guest below its mount point, as it lies on the export, reachable from here.
    pub(super) fn on_export(&self, node: &Node, path: &str) -> Result<PathBuf> {
        self.exports()?.file(&self.lab, node, path)
    }

    /// The file that tells that a data directory is whole, and whose it is.
    fn mark(&self, node: &Node, component: &ComponentSetup) -> Result<PathBuf> {
        let name = component.directory.trim_start_matches(&self.lab.nfs.mount).trim_matches('/').replace('/', "-");
        Ok(self.exports()?.outside(node.name.as_str()).join(format!(".pgxc-lab-initialised-{name}")))
    }

    /// # Errors
    /// When the directory belongs to another engine, or nobody can tell: its data is never touched.
    fn is_initialised(&self, node: &Node, component: &ComponentSetup) -> Result<bool> {
        let wanted = self.engine.kind().as_str();
        match file::read_if_there(&self.mark(node, component)?)? {
            Some(text) if text.trim() == wanted => Ok(true),
            Some(text) => Err(Error::new(
                Class::Cluster,
                format!("`{}` of `{}` holds data of {}, not of {wanted}", component.directory, node.name, text.trim()),
            )
            .hint("`pgxc-lab destroy` removes the lab with its data; then `pgxc-lab up` starts anew")),
            None => Ok(false),
        }
    }

    async fn fill(&self, node: &Node, component: &ComponentSetup) -> Result<()> {
        let mark = self.mark(node, component)?;
        let secret = self.dir.join("keys/superuser");
        fs::write(&secret, format!("{}\n", self.login.password))
            .and_then(|()| fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)))
            .or_error(Class::Host, || format!("cannot write `{}`", secret.display()))?;
        let mut command = self.host()?.command("unshare");
        command
            .args(["--mount", "--", "bash", "-ceu", FILL])
            .env("NATIVE", self.dir.native_root())
            .env("IMAGE", self.image.root())
            .env("ENGINE", self.kit.as_ref().map(|kit| kit.disk()).unwrap_or_default())
            .env("PREFIX", &self.lab.cluster.prefix)
            .env("EXPORT", self.exports()?.directory(node.name.as_str()))
            .env("MOUNT", &self.lab.nfs.mount)
            .env("DIRECTORY", &component.directory)
            .env("OWNER", self.lab.guest.uid.to_string())
            .env("SECRET", &secret)
            .env("SCRIPT", &component.initialise);
        let what = format!("initialise `{}` of `{}`", component.directory, node.name);
        let text = crate::host::run(command, &what, Class::Cluster).await?;
        self.log(node, &format!("# {what}\n{text}"));
        file::replace(&mark, format!("{}\n", self.engine.kind().as_str()))
    }

    /// Digest of what the components of a node are configured with.
    pub(super) fn configuration_digest(&self, node: &Node) -> String {
        let mut text = String::new();
        for component in self.components(node) {
            text.push_str(&describe(&component.files));
            text.push_str(component.service_text(self.init()));
        }
        crate::digest::of_text(&text)
    }

    /// The file that tells with which configuration the components of a running guest were started.
    pub(super) fn started_mark(&self, node: &Node) -> Result<PathBuf> {
        Ok(self.exports()?.outside(node.name.as_str()).join(".pgxc-lab-started"))
    }

    /// Records that the components of this run were started with the present configuration.
    pub(super) async fn record_start(&self, node: &Node) -> Result<()> {
        let path = self.started_mark(node)?;
        fs::write(&path, self.started_now(node).await?)
            .or_error(Class::Host, || format!("cannot write `{}`", path.display()))
    }

    /// Whether the components of a running guest were started with another configuration, or with who knows which: something
    /// else started the guest, or a run died right after it did.
    pub(super) async fn needs_restart(&self, node: &Node) -> Result<bool> {
        let started = file::read_if_there(&self.started_mark(node)?)?;
        Ok(started != Some(self.started_now(node).await?))
    }

    /// A start of the components of this run with the present configuration, as it is recorded.
    async fn started_now(&self, node: &Node) -> Result<String> {
        Ok(format!("{} {}\n", self.run_of(node).await?, self.configuration_digest(node)))
    }

    /// Appends to a node's log; a log that cannot be written stops no work.
    pub(super) fn log(&self, node: &Node, text: &str) {
        let path = self.dir.node_log(node.name.as_str());
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        let _ =
            file.and_then(|mut file| std::io::Write::write_all(&mut file, format!("{}\n", text.trim_end()).as_bytes()));
    }
}

/// Fills one data directory: the image below, a scratch tmpfs above, export and engine at their places in the guest.
/// The mount namespace of this script ends with it, and every mount with that.
const FILL: &str = r#"
mkdir -p "$NATIVE"
mount -t tmpfs -o size=512m,mode=755 scratch "$NATIVE"
mkdir "$NATIVE/image" "$NATIVE/upper" "$NATIVE/work" "$NATIVE/root"
mount -o loop,ro,noload "$IMAGE" "$NATIVE/image"
mount -t overlay -o "lowerdir=$NATIVE/image,upperdir=$NATIVE/upper,workdir=$NATIVE/work" overlay "$NATIVE/root"
root=$NATIVE/root
mkdir -p "$root$MOUNT" "$root/proc" "$root/dev"
mount --bind "$EXPORT" "$root$MOUNT"
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"
if [ -n "$ENGINE" ]; then
  mkdir -p "$root$PREFIX"
  mount -o loop,ro "$ENGINE" "$root$PREFIX"
fi
chown "$OWNER:$OWNER" "$root$MOUNT"
rm -rf "$root$DIRECTORY"
install -d -o "$OWNER" -g "$OWNER" -m 700 "$root$DIRECTORY"
install -d -m 755 "$root/run"
install -o "$OWNER" -g "$OWNER" -m 600 "$SECRET" "$root/run/superuser"
exec chroot --userspec="$OWNER:$OWNER" "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C PASSWORD_FILE=/run/superuser sh -ceu "cd /; $SCRIPT" </dev/null
"#;

fn is_as_wanted(path: &Path, file: &GuestFile) -> bool {
    let Ok(data) = fs::symlink_metadata(path) else { return false };
    let owned = data.uid() == file.owner && data.gid() == file.owner;
    match &file.content {
        Content::Text(text) => {
            owned && data.mode() & 0o7777 == file.mode && fs::read_to_string(path).is_ok_and(|seen| seen == *text)
        }
        Content::Link(target) => fs::read_link(path).is_ok_and(|seen| seen == Path::new(target)),
        Content::Directory => owned && data.is_dir() && data.mode() & 0o7777 == file.mode,
    }
}

/// Writes a file of an export. A file that is there is written in place: guests see that at their next open, while they
/// may take the old file for a new one of the same name for up to a minute (NFS caches names).
fn write(path: &Path, file: &GuestFile) -> Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    match &file.content {
        Content::Text(text) => fs::write(path, text).or_error(Class::Host, cannot)?,
        Content::Directory => fs::create_dir_all(path).or_error(Class::Host, cannot)?,
        Content::Link(target) => {
            let _ = fs::remove_file(path);
            return std::os::unix::fs::symlink(target, path).or_error(Class::Host, cannot);
        }
    }
    chown(path, Some(file.owner), Some(file.owner)).or_error(Class::Host, cannot)?;
    fs::set_permissions(path, fs::Permissions::from_mode(file.mode)).or_error(Class::Host, cannot)
}
