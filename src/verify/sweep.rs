//! What checks leave behind, found by its name and removed: before the first check, for a run that was killed, and after
//! the last one.

use super::{script::Script, seen::Seen};
use crate::lab::Lab;

/// How an engine's checks are cleaned up after. Both halves are pure.
pub struct Sweep {
    /// Asks for everything whose name begins with [`super::check::PREFIX`].
    pub look: fn(&Lab) -> Script,
    /// Removes what the answers name, or some of it: it is asked again until nothing is left. Empty when they name nothing.
    pub remove: fn(&Lab, &Seen) -> Script,
    /// Asks every server for [`HOLDERS`].
    pub holders: fn(&Lab) -> Script,
}

/// Who has locks on what is to be removed: name of the table, and the holder in words. Prepared transactions are not of any
/// process, and are known by their GXID.
pub(super) const HOLDERS: &str = "select c.relname, coalesce('prepared transaction `' || p.gid || '`', 'the session of process ' || \
     l.pid) from pg_locks l join pg_class c on c.oid = l.relation left join pg_prepared_xacts p on l.pid is null and \
     p.transaction::text = split_part(l.virtualtransaction, '/', 2) where l.granted and l.database = (select oid from \
     pg_database where datname = current_database()) and c.relname ~ '^pgxc_lab_verify_' and l.pid is distinct from \
     pg_backend_pid() group by 1, 2 order by 1, 2";

/// The words of a server that gave up a statement.
pub(super) const GIVEN_UP: &str = "statement timeout";

/// How often it looks at the most: once more than there can be coordinators that know nothing of each other.
pub(super) const ROUNDS: usize = 64;

/// How often it begins anew after an error.
pub(super) const TRIES: usize = 2;
