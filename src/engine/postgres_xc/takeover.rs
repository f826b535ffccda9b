//! How the standby takes the GTM's place (spec 2.5 to 2.7, 2.11).

use super::units;
use crate::{
    engine::Takeover,
    lab::{Lab, Role},
};

/// In a lab whose roles are already as they are to be.
pub(crate) fn takeover(lab: &Lab) -> Option<Takeover> {
    let gtm = lab.placed(Role::Gtm).into_iter().next()?;
    let proxy = lab.cluster.components.get(&Role::GtmProxy)?;
    let (prefix, user, directory) = (&lab.cluster.prefix, &lab.guest.user, &gtm.component.directory);
    let promoted = format!(
        "{{ read -r _; read -r _; read -r role; }} <{directory}/gtm.pid && [ \"$role\" = 1 ] && {{ {}; [ \"$startup\" = ACT ]; }}",
        units::read_conf(&format!("{directory}/gtm.conf"), &["startup"])
    );
    Some(Takeover {
        // runuser's older form, which EL5 has, too. gtm_ctl's exit status says only that the signal was sent; gtm writes the role first and its configuration last.
        promote: format!(
            "{promoted} && exit 0\nrunuser -s /bin/sh {user} -c '{prefix}/bin/gtm_ctl promote -Z gtm -D {directory}'\n\
             n=0; until {promoted}; do n=$((n + 1)); [ $n -le 150 ] || {{ echo 'it stays a standby' >&2; exit 1; }}; sleep 0.2; done\n"
        ),
        reconnect: format!(
            "runuser -s /bin/sh {user} -c '{prefix}/bin/gtm_ctl reconnect -Z gtm_proxy -D {} -o \"-s {} -t {}\"'\n",
            proxy.directory, gtm.node.name, gtm.component.port
        ),
        marks: ["gxid-mark.0", "gxid-mark.1"].map(str::to_owned).to_vec(),
        control: "gtm.control".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{self, Engine, PostgresXc, fixture::document},
        guest::System,
    };

    #[test]
    fn proxies_are_led_to_the_standby() {
        let lab = document().with_gtm_on("db-192-168-122-172").expect("it has the standby");
        let takeover = takeover(&lab).expect("it has a GTM");
        assert_eq!(
            takeover.reconnect,
            "runuser -s /bin/sh pgxc -c '/opt/pgxc_1.0.2/bin/gtm_ctl reconnect -Z gtm_proxy -D /data02/pgxc_gtm_proxy \
             -o \"-s db-192-168-122-172 -t 1921\"'\n"
        );
        assert!(takeover.promote.contains("gtm_ctl promote -Z gtm -D /data02/pgxc_gtm'\n"), "{}", takeover.promote);
    }

    /// A guest that reboots in the middle of a failover must not need new files: all that changes is on the exports.
    #[test]
    fn a_failover_changes_nothing_on_the_guests_own_disks() {
        let before = document();
        let after = before.clone().with_gtm_on("db-192-168-122-172").expect("it has the standby");
        for (was, is) in before.nodes.iter().zip(&after.nodes) {
            let files = engine::guest_files(&PostgresXc, System::Debian, &before, was);
            assert_eq!(files, engine::guest_files(&PostgresXc, System::Debian, &after, is), "{}", was.name);
        }
        let changed: Vec<String> = before
            .nodes
            .iter()
            .zip(&after.nodes)
            .flat_map(|(was, is)| {
                let of = |lab, node| engine::components(&PostgresXc, lab, node).into_iter().flat_map(|c| c.files);
                let old: Vec<_> = of(&before, was).collect();
                of(&after, is).filter(move |file| !old.contains(file)).map(|file| file.path)
            })
            .collect();
        let expected =
            [vec!["/data02/pgxc_gtm/gtm.conf"; 2], vec!["/data02/pgxc_gtm_proxy/gtm_proxy.conf"; 6]].concat();
        assert_eq!(changed, expected);
        assert!(PostgresXc.takeover(&after).is_some());
    }
}
