//! NFS clients that are gone but do not say so: a kernel that still keeps their open files keeps the filesystem busy.

use crate::error::{Class, Result, ResultExt};
use std::{fs, net::Ipv4Addr, path::Path};

/// Where the kernel lists clients of NFS version 4.
pub const CLIENTS: &str = "/proc/fs/nfsd/clients";

/// Tells the kernel that the clients with this address will not come back.
///
/// # Errors
/// When it refuses.
pub fn expire_clients(clients: &Path, address: Ipv4Addr) -> Result<()> {
    for client in fs::read_dir(clients).into_iter().flatten().flatten() {
        let info = fs::read_to_string(client.path().join("info")).unwrap_or_default();
        if is_of(&info, address) {
            let control = client.path().join("ctl");
            fs::write(&control, "expire\n")
                .or_error(Class::Host, || format!("cannot write `{}`", control.display()))?;
        }
    }
    Ok(())
}

fn is_of(info: &str, address: Ipv4Addr) -> bool {
    let seen = info.lines().find_map(|line| line.strip_prefix("address:"));
    seen.and_then(|seen| seen.trim().trim_matches('"').rsplit_once(':'))
        .is_some_and(|(seen, _)| seen == address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_with_the_address_are_expired() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, address) in [("3", "192.168.122.171:900"), ("4", "192.168.122.17:900"), ("5", "10.0.0.1:1")] {
            let client = directory.path().join(name);
            fs::create_dir(&client).expect("a directory");
            let info =
                format!("clientid: 0x1\naddress: \"{address}\"\nname: \"Linux NFSv4.2 db1\"\nminor version: 2\n");
            fs::write(client.join("info"), info).and_then(|()| fs::write(client.join("ctl"), "")).expect("it writes");
        }
        expire_clients(directory.path(), Ipv4Addr::new(192, 168, 122, 171)).expect("it writes");
        let told = |name: &str| fs::read_to_string(directory.path().join(name).join("ctl")).expect("a file");
        assert_eq!((told("3"), told("4"), told("5")), ("expire\n".into(), String::new(), String::new()));
    }
}
