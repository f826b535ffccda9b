//! The shell profile of the cluster's user, the document's (spec 1.11).

use crate::{
    guest::GuestFile,
    lab::{Lab, Node, Role},
};

/// `.bash_profile`: on gtm hosts with port and directory of the gtm, elsewhere without.
pub(crate) fn file(lab: &Lab, node: &Node) -> GuestFile {
    let gtm = lab.components_of(node).into_iter().find(|placed| matches!(placed.role, Role::Gtm | Role::GtmStandby));
    let mut text = "# Written by pgxc-lab.\n".to_owned();
    if let Some(gtm) = &gtm {
        text.push_str(&format!("export PGPORT={}\nexport PGDATA={}\n", gtm.component.port, gtm.component.directory));
    }
    text.push_str(&format!("export LANG={}\nexport PGHOME={}\n", lab.guest.locale, lab.cluster.link));
    text.push_str(
        "export LD_LIBRARY_PATH=$PGHOME/lib:$PGHOME/lib/postgresql:/lib64:/usr/lib64:/usr/local/lib64:/lib:/usr/lib:/usr/local/lib:$LD_LIBRARY_PATH\n\
         export DATE=`date +\"%Y%m%d%H%M\"`\n\
         export PATH=$PGHOME/bin:$PATH:.\n\
         export MANPATH=$PGHOME/share/man:$MANPATH\n",
    );
    text.push_str(&format!("export PGUSER={}\n", lab.cluster.superuser));
    if gtm.is_some() {
        text.push_str("export PGHOST=$PGDATA\n");
    }
    text.push_str("export PGDATABASE=postgres\n# Not for scripts that source this file.\ncase $- in *i*) alias rm='rm -i'; alias ll='ls -lh' ;; esac\n");
    GuestFile::text(format!("/home/{}/.bash_profile", lab.guest.user), text).owned_by(lab.guest.uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::fixture::document, guest::Content};

    #[test]
    fn differs_between_gtm_and_data_hosts() {
        let lab = document();
        let text = |index: usize| match file(&lab, &lab.nodes[index]).content {
            Content::Text(text) => text,
            other => panic!("{other:?}"),
        };
        assert!(text(0).contains("export PGDATA=/data02/pgxc_gtm\n") && text(1).contains("export PGHOST=$PGDATA\n"));
        assert!(!text(2).contains("PGDATA=") && text(2).contains("export PGHOME=/opt/pgxc\n"));
    }
}
