//! Storage of another host, through its libvirt: one directory pool of the lab's, what is copied there, and overlays.

use super::{Libvirt, failed};
use crate::{
    error::{Class, Error, Result, ResultExt},
    lab::Size,
};
use std::{collections::BTreeSet, fs::File, ops::Range, os::unix::fs::FileExt, path::Path};
use virt::{error::ErrorNumber, storage_pool::StoragePool, storage_vol::StorageVol, stream::Stream};

/// What is sent at once: libvirt's own protocol takes a quarter of a MiB.
const CHUNK: usize = 256 << 10;
/// Bytes of the volume that tells that another one is whole. It holds nothing.
const MARK: Size = Size::bytes(512);

/// A file to be copied to another host.
#[derive(Clone, Debug)]
pub struct Parcel<'a> {
    /// The file.
    pub file: &'a Path,
    /// Its length.
    pub length: Size,
    /// Where there is something in it, in order.
    pub extents: &'a [Range<u64>],
}

impl Libvirt {
    /// Makes sure that there is a pool of this name and directory, and that it runs.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub fn ensure_pool(&self, name: &str, directory: &Path) -> Result<()> {
        let pool = match self.pool(name)? {
            Some(pool) => pool,
            None => {
                // The directory may be passed by qemu's user; what lies in it is root's until a guest has it.
                let xml = format!(
                    "<pool type='dir'><name>{name}</name><target><path>{}</path>\
                     <permissions><mode>0711</mode></permissions></target></pool>",
                    directory.display()
                );
                StoragePool::define_xml(&self.connection, &xml, 0)
                    .map_err(failed(format!("libvirt refuses the pool `{name}`")))?
            }
        };
        if !pool.is_active().map_err(failed("cannot ask for the pool's state"))? {
            pool.build(0).map_err(failed(format!("cannot make the directory `{}`", directory.display())))?;
            pool.create(0).map_err(failed(format!("cannot start the pool `{name}`")))?;
        }
        Ok(())
    }

    /// Removes a pool with everything in it; one that is not there is removed already.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub fn remove_pool(&self, name: &str, directory: &Path) -> Result<()> {
        let Some(pool) = self.pool(name)? else { return Ok(()) };
        // It may have been defined and never started.
        self.ensure_pool(name, directory)?;
        pool.refresh(0).map_err(failed(format!("cannot look at the pool `{name}`")))?;
        for volume in pool.list_all_volumes(0).map_err(failed(format!("cannot list the pool `{name}`")))? {
            volume.delete(0).map_err(failed(format!("cannot empty the pool `{name}`")))?;
        }
        pool.destroy().map_err(failed(format!("cannot stop the pool `{name}`")))?;
        pool.delete(0).map_err(failed(format!("cannot remove the directory `{}`", directory.display())))?;
        pool.undefine().map_err(failed(format!("cannot remove the pool `{name}`")))
    }

    /// Names of what lies in a pool; nothing when there is no such pool, or it does not run.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub fn volumes(&self, pool: &str) -> Result<BTreeSet<String>> {
        let Some(pool) = self.pool(pool)? else { return Ok(BTreeSet::new()) };
        if !pool.is_active().map_err(failed("cannot ask for the pool's state"))? {
            return Ok(BTreeSet::new());
        }
        Ok(pool.list_volumes().map_err(failed("cannot list a pool"))?.into_iter().collect())
    }

    /// Whether a copy of this name is there and whole, among the volumes of its pool.
    pub fn is_whole(volumes: &BTreeSet<String>, name: &str) -> bool {
        volumes.contains(name) && volumes.contains(&mark_of(name))
    }

    /// Copies a file that never changes, unless it is there and whole. Tells whether it was copied.
    ///
    /// Volumes cannot be renamed, so a second one tells of the first that it is whole.
    ///
    /// # Errors
    /// When the file cannot be read, or the host has no room.
    pub fn send_once(&self, pool: &str, name: &str, parcel: &Parcel<'_>) -> Result<bool> {
        if Libvirt::is_whole(&self.volumes(pool)?, name) {
            return Ok(false);
        }
        self.send(pool, name, parcel)?;
        self.create_volume(pool, &mark_of(name), &raw(&mark_of(name), MARK))?;
        Ok(true)
    }

    /// Copies a file in place of an older one.
    ///
    /// # Errors
    /// When the file cannot be read, or the host has no room.
    pub fn send(&self, pool: &str, name: &str, parcel: &Parcel<'_>) -> Result<()> {
        self.delete_volume(pool, name)?;
        let volume = self.create_volume(pool, name, &raw(name, parcel.length))?;
        let cannot = || format!("cannot read `{}`", parcel.file.display());
        let file = File::open(parcel.file).or_error(Class::Host, cannot)?;
        let refused = || failed(format!("cannot copy `{}` to the pool `{pool}`", parcel.file.display()));
        let mut buffer = vec![0; CHUNK];
        for extent in parcel.extents {
            let stream = Stream::new(&self.connection, 0).map_err(refused())?;
            volume.upload(&stream, extent.start, extent.end - extent.start, 0).map_err(refused())?;
            let mut place = extent.start;
            while place < extent.end {
                let length = usize::try_from(extent.end - place).map_or(CHUNK, |left| left.min(CHUNK));
                file.read_exact_at(&mut buffer[..length], place).or_error(Class::Host, cannot)?;
                let mut sent = 0;
                while sent < length {
                    sent += stream.send(&buffer[sent..length]).map_err(refused())?;
                }
                place += length as u64;
            }
            stream.finish().map_err(refused())?;
        }
        Ok(())
    }

    /// Makes an empty overlay on a raw file of the same pool, in place of an older one.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub fn make_overlay(&self, pool: &str, name: &str, backing: &Path, size: Size) -> Result<()> {
        self.delete_volume(pool, name)?;
        let xml = format!(
            "<volume><name>{name}</name><capacity unit='bytes'>{}</capacity>\
             <target><format type='qcow2'/></target>\
             <backingStore><path>{}</path><format type='raw'/></backingStore></volume>",
            size.as_bytes(),
            backing.display()
        );
        self.create_volume(pool, name, &xml).map(drop)
    }

    fn create_volume(&self, pool: &str, name: &str, xml: &str) -> Result<StorageVol> {
        StorageVol::create_xml(&self.existing_pool(pool)?, xml, 0)
            .map_err(failed(format!("cannot make `{name}` in the pool `{pool}`")))
    }

    fn delete_volume(&self, pool: &str, name: &str) -> Result<()> {
        let pool = self.existing_pool(pool)?;
        for doomed in [mark_of(name), name.to_owned()] {
            match StorageVol::lookup_by_name(&pool, &doomed) {
                Ok(volume) => volume.delete(0).map_err(failed(format!("cannot remove the old `{doomed}`")))?,
                Err(error) if error.code() == ErrorNumber::NoStorageVolume => {}
                Err(error) => return Err(failed(format!("cannot look for `{doomed}`"))(error)),
            }
        }
        Ok(())
    }

    fn existing_pool(&self, name: &str) -> Result<StoragePool> {
        self.pool(name)?.ok_or_else(|| Error::new(Class::Infrastructure, format!("libvirt has no pool `{name}`")))
    }

    fn pool(&self, name: &str) -> Result<Option<StoragePool>> {
        match StoragePool::lookup_by_name(&self.connection, name) {
            Ok(pool) => Ok(Some(pool)),
            Err(error) if error.code() == ErrorNumber::NoStoragePool => Ok(None),
            Err(error) => Err(failed(format!("cannot look for the pool `{name}`"))(error)),
        }
    }

    /// Whether the connection still stands, as far as this side knows.
    pub fn is_alive(&self) -> bool {
        self.connection.is_alive().unwrap_or(false)
    }
}

/// What tells of a volume that it is whole.
fn mark_of(name: &str) -> String {
    format!("{name}.whole")
}

fn raw(name: &str, size: Size) -> String {
    format!(
        "<volume><name>{name}</name><capacity unit='bytes'>{}</capacity><allocation>0</allocation>\
         <target><format type='raw'/></target></volume>",
        size.as_bytes()
    )
}
