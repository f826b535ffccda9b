//! The superuser's password in libpq's form.

use super::MARK;
use crate::{
    engine::Engine,
    lab::{Lab, Placed, Role},
    sql::Login,
};
use std::collections::BTreeSet;

/// Lines for every server of the cluster, as it is reached from this machine and inside of the lab.
///
/// libpq compares the host with what the client was told, as text: an address and each name need lines of their own. On
/// this machine only the ports that `forward` takes by itself are named: a password for every port of 127.0.0.1 would
/// be offered to other servers, too.
pub fn pgpass(lab: &Lab, engine: &dyn Engine, login: &Login) -> String {
    let servers: Vec<Placed<'_>> = [Role::Coordinator, Role::Datanode]
        .into_iter()
        .filter(|role| engine.runs(*role))
        .flat_map(|role| lab.placed(role))
        .collect();
    let line = |host: &str, port: u16| {
        format!("{}:{port}:*:{}:{}\n", escaped(host), escaped(&login.user), escaped(&login.password))
    };
    let mut text = format!(
        "# {MARK}: lab {}. PGPASSFILE=FILE psql …; libpq wants mode 0600.\n\
         # Through `pgxc-lab forward NODE:PORT`; for another local port, change the number.\n",
        lab.name
    );
    let ports: BTreeSet<u16> = servers.iter().map(|placed| placed.component.port).collect();
    for port in ports {
        text.push_str(&line("127.0.0.1", port));
        text.push_str(&line("localhost", port));
    }
    text.push_str("# Inside of the lab's network.\n");
    for Placed { node, component, .. } in servers {
        text.push_str(&line(&node.address.to_string(), component.port));
        text.push_str(&line(node.name.as_str(), component.port));
        text.push_str(&line(&format!("{}.{}", node.name, lab.network.domain), component.port));
    }
    text
}

/// A field of the file: a colon or a backslash in it wants a backslash before.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use crate::{
        engine::{PostgresFdw, PostgresXc, fixture::document},
        sql::Login,
    };

    #[test]
    fn of_the_document() {
        let mut lab = document();
        lab.nodes.truncate(4);
        let login = Login { user: "postgres".into(), password: "a:b\\c d".into(), database: "postgres".into() };
        insta::assert_snapshot!(super::pgpass(&lab, &PostgresXc, &login));
        // Both engines' servers sit at the same places.
        assert_eq!(super::pgpass(&lab, &PostgresXc, &login), super::pgpass(&lab, &PostgresFdw, &login));
    }
}
