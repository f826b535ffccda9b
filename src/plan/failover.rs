//! The plan of `failover gtm`: the standby takes the GTM's place, and what was the GTM becomes the standby (spec 2.11).

use super::{Action, Chain, Heavy, Plan, Step};
use crate::lab::{Lab, Role};

/// The plan, for a lab whose roles are already as they are to be. `gxid` was seen at the GTM: it must not go back.
pub fn failover(lab: &Lab, gxid: Option<u32>) -> Plan {
    let chain = |steps| Chain { heavy: Heavy::No, steps };
    let step = |word: &str, node: &str, title, action, needs: &[String]| Step {
        id: format!("{node}/{word}"),
        node: Some(node.to_owned()),
        title,
        action,
        needs: needs.to_vec(),
    };
    let on = |role| lab.placed(role).into_iter().map(|placed| placed.node.name.to_string()).collect::<Vec<_>>();
    let mut plan = Plan { chains: Vec::new() };
    let mut done: Vec<String> = Vec::new();
    // Never the other way round: two GTMs give the same GXIDs.
    let mut first = Vec::new();
    for old in on(Role::GtmStandby) {
        first.push(step("fence", &old, "end the old GTM", Action::Fence, &[]));
    }
    for new in on(Role::Gtm) {
        let promote = step("promote", &new, "promote the standby", Action::Promote { gxid }, &[]);
        done.push(promote.id.clone());
        first.push(promote);
    }
    plan.chains.push(chain(first));
    // All at once: each of them gives up when its time is over.
    for proxy in on(Role::GtmProxy) {
        let reconnect = step("reconnect", &proxy, "reconnect the proxy", Action::Reconnect, &done[..1]);
        done.push(reconnect.id.clone());
        plan.chains.push(chain(vec![reconnect]));
    }
    // Last: the GTM stands still while a standby copies its state.
    for old in on(Role::GtmStandby) {
        let rejoin = step("rejoin", &old, "make it the standby", Action::Rejoin, &done);
        done = vec![rejoin.id.clone()];
        plan.chains.push(chain(vec![rejoin]));
    }
    plan.chains.push(chain(vec![Step {
        id: "recover".into(),
        node: None,
        title: "prove the cluster",
        action: Action::Recover { gxid },
        needs: done,
    }]));
    plan
}
