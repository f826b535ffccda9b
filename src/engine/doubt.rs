//! Who has which GXID: what a lost coordinator leaves is what nobody has, or what nobody will finish.

use super::Row;
use crate::error::{Class, Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// How long ago, in seconds, something was prepared that no coordinator is about to finish any more: the last that it does
/// for a transaction is one message to each server.
pub const ABANDONED: i64 = 20;

/// Who has something of which GXID.
#[derive(Debug, Default, PartialEq)]
pub struct Holders {
    /// Running transactions.
    pub running: BTreeSet<u32>,
    /// What users prepared: theirs to end.
    pub users: BTreeSet<u32>,
    /// What coordinators prepared by themselves, with the servers that have it, by their place, and the seconds since the
    /// last of them prepared it.
    pub prepared: BTreeMap<u32, (BTreeSet<usize>, i64)>,
}

impl Holders {
    /// Adds what the server at this place has: rows of [`InDoubt::holders`](super::InDoubt::holders).
    ///
    /// # Errors
    /// When they are none.
    pub fn add(&mut self, place: usize, rows: &[Row]) -> Result<()> {
        for row in rows {
            let gxid = number(row.first().and_then(Option::as_deref))?;
            match row.get(1).and_then(Option::as_deref) {
                None => {
                    self.running.insert(gxid);
                }
                Some("-1") => {
                    self.users.insert(gxid);
                }
                Some(age) => {
                    let age = age.parse().map_err(|_| odd(age))?;
                    let entry = self.prepared.entry(gxid).or_insert((BTreeSet::new(), age));
                    entry.0.insert(place);
                    entry.1 = entry.1.min(age);
                }
            }
        }
        Ok(())
    }

    /// Prepared transactions that no coordinator is about to finish, with the places of the servers that have them.
    pub fn abandoned(&self) -> BTreeMap<u32, BTreeSet<usize>> {
        let abandoned =
            self.prepared.iter().filter(|(gxid, (_, age))| *age >= ABANDONED && !self.running.contains(gxid));
        abandoned.map(|(gxid, (places, _))| (*gxid, places.clone())).collect()
    }

    /// Whether a coordinator may still finish one of the prepared transactions.
    pub fn may_finish(&self) -> bool {
        self.prepared.len() > self.abandoned().len()
    }

    /// Those of these GXIDs that no server has anything of.
    pub fn without(&self, gxids: BTreeSet<u32>) -> BTreeSet<u32> {
        let has =
            |gxid: &u32| self.running.contains(gxid) || self.users.contains(gxid) || self.prepared.contains_key(gxid);
        gxids.into_iter().filter(|gxid| !has(gxid)).collect()
    }
}

/// The GXIDs in a text of `txid_current_snapshot()`: xmin, xmax, and those between that are open, with an epoch above their
/// 32 bits.
///
/// # Errors
/// When it is none.
pub fn open_gxids(snapshot: &str) -> Result<BTreeSet<u32>> {
    let list = snapshot.trim().splitn(3, ':').nth(2).ok_or_else(|| odd(snapshot))?;
    let gxid = |text: &str| text.parse::<u64>().map(|gxid| (gxid & u64::from(u32::MAX)) as u32).map_err(|_| odd(text));
    list.split(',').filter(|text| !text.is_empty()).map(gxid).collect()
}

fn number(text: Option<&str>) -> Result<u32> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|_| odd(text))
}

fn odd(text: &str) -> Error {
    Error::new(Class::Cluster, format!("a server answers `{text}` where it was to tell of GXIDs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(gxid: &str, age: Option<&str>) -> Row {
        vec![Some(gxid.into()), age.map(Into::into)]
    }

    #[test]
    fn open_gxids_are_read_without_their_epoch() {
        let gxids = |text| open_gxids(text).expect("a snapshot");
        assert_eq!(gxids("10637:12179:10637,11482"), [10637, 11482].into());
        assert_eq!(gxids("12180:12180:"), BTreeSet::new());
        assert_eq!(gxids("4294967400:4294967500:4294967401"), [105].into());
        assert!(open_gxids("ERROR").is_err() && open_gxids("1:2:x").is_err());
    }

    #[test]
    fn what_nobody_has_is_found() {
        let mut holders = Holders::default();
        holders.add(0, &[row("10", None), row("11", Some("-1"))]).expect("rows");
        holders.add(1, &[row("12", Some("300"))]).expect("rows");
        assert_eq!(holders.without([10, 11, 12, 13].into()), [13].into());
    }

    #[test]
    fn what_is_young_runs_or_is_a_users_is_not_abandoned() {
        let mut holders = Holders::default();
        holders.add(0, &[row("10", Some("300")), row("11", Some("300")), row("12", Some("300"))]).expect("rows");
        holders
            .add(1, &[row("10", Some("290")), row("11", None), row("12", Some("3")), row("13", Some("-1"))])
            .expect("rows");
        assert_eq!(holders.abandoned(), [(10, [0, 1].into())].into());
        assert!(holders.may_finish());
    }
}
