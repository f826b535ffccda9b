//! The section `cluster` without its components.

use super::{checker::Checker, components::Drafts, scalars};
use crate::{
    config::{defaults, problem::Place, shape::ClusterFile},
    lab::{Cluster, Primary},
};

/// Checks it.
pub(super) fn cluster(check: &mut Checker, file: &ClusterFile, components: &Drafts) -> Option<Cluster> {
    let version = check.value(&file.version, defaults::VERSION, scalars::version);
    let source = check.names(&file.source, defaults::SOURCE, "source", scalars::source);
    let flex = check.names(&file.flex, defaults::FLEX, "source", scalars::source);
    let link = check.value(&file.link, defaults::LINK, scalars::absolute);
    let base = link.as_deref().unwrap_or(defaults::LINK);
    let default_prefix = format!("{base}_{}", version.as_deref().unwrap_or(defaults::VERSION));
    let prefix = check.value(&file.prefix, &default_prefix, scalars::absolute);
    if let (Some(prefix), Some(link)) = (&prefix, &link)
        && (prefix == link || link.starts_with(&format!("{prefix}/")))
    {
        let place = file.link.place().or(file.prefix.place()).unwrap_or(Place::START);
        check.report(
            place,
            format!("link `{link}` lies in the prefix `{prefix}` that it points to"),
            "give the link a path of its own",
        );
    }
    let configure = check.list(&file.configure, defaults::CONFIGURE, scalars::configure);
    let superuser = check.parsed(&file.superuser, defaults::SUPERUSER);
    // A bad password is reported, so `None` for it never becomes a lab.
    let password = file.password.value().and_then(|_| check.value(&file.password, "", password));
    let encoding = check.value(&file.encoding, defaults::ENCODING, scalars::encoding);
    let locale = check.value(&file.locale, defaults::CLUSTER_LOCALE, scalars::locale);
    let hba = check.list(&file.hba, defaults::HBA, scalars::hba);
    let primary = check.value(&file.primary, defaults::PRIMARY, scalars::choice::<Primary>);
    let components = components.iter().map(|(role, draft)| Some((*role, draft.finish()?))).collect::<Option<_>>();
    Some(Cluster {
        version: version?,
        source,
        flex,
        prefix: prefix?,
        link: link?,
        configure,
        superuser: superuser?,
        password,
        encoding: encoding?,
        locale: locale?,
        hba,
        primary: primary?,
        components: components?,
    })
}

/// The one value that no message repeats.
fn password(text: &str) -> Result<String, String> {
    scalars::line(text).map_err(|_| "the password is not a line of text: write one line, or take it out".to_owned())
}
