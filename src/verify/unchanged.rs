//! The last check of every catalogue: `up` would have nothing to do.

use super::{
    check::{Check, Needs, Suite},
    judgement::{Finding, Findings, Judgement},
    parties::first,
    script::{Act, Script},
    seen::Seen,
};

pub(super) const UNCHANGED: Check = Check {
    id: "unchanged",
    proves: "the lab is what lab.yaml says",
    how: "the plan of `up`",
    expected: "no step would run",
    suite: Suite::Full,
    needs: Needs::LabFile,
    tables: &[],
    script: |lab| Script::default().then(first(lab).ask("plan", Act::Plan)),
    judge: |_, seen| judge(seen),
};

fn judge(seen: &Seen) -> Judgement {
    let sight = seen.get("plan")?;
    let mut findings = Findings::default();
    for row in &sight.rows {
        let step = row.first().cloned().flatten().unwrap_or_default();
        let remedy = "`pgxc-lab plan` shows what would be done, `pgxc-lab up` does it";
        findings.add(Finding::wrong("the lab", "nothing to do for `up`", format!("it would run `{step}`"), remedy));
    }
    findings.or("`up` would change nothing")
}
