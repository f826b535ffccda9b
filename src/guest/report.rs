//! What the tune script says about a guest.

/// How an item of a guest compares with lab.yaml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Ok,
    /// It was not, and was set right now.
    Applied,
    /// Not as it must be (only reported).
    Drift,
    /// This kernel or system has no such thing.
    Unsupported,
    /// This kernel has it under another name, or needs it no more; the detail says which.
    Superseded,
    /// Not installed here, so there is nothing to do.
    Absent,
    /// It could not be set.
    Failed,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Verdict; 7] = [
        Verdict::Ok,
        Verdict::Applied,
        Verdict::Drift,
        Verdict::Unsupported,
        Verdict::Superseded,
        Verdict::Absent,
        Verdict::Failed,
    ];

    /// As the script and people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Applied => "applied",
            Verdict::Drift => "drift",
            Verdict::Unsupported => "unsupported",
            Verdict::Superseded => "superseded",
            Verdict::Absent => "absent",
            Verdict::Failed => "failed",
        }
    }

    /// Whether the guest differs from lab.yaml after this.
    pub fn is_wrong(self) -> bool {
        matches!(self, Verdict::Drift | Verdict::Failed)
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// `sysctl`, `limit`, `file`, `service`, `iptables`, `time`, `locale`, `user`, `selinux` or `mount`.
    pub kind: String,
    /// Key, path or name.
    pub item: String,
    /// How it compares.
    pub verdict: Verdict,
    /// What was found, for people; may be empty.
    pub detail: String,
}

/// Reads a report. A line that is none becomes a failed finding of kind `script`, so that nothing is swallowed.
pub fn parse_report(text: &str) -> Vec<Finding> {
    text.lines().filter(|line| !line.trim().is_empty()).map(parse_line).collect()
}

fn parse_line(line: &str) -> Finding {
    let mut fields = line.splitn(4, '\t');
    let parsed = (|| {
        let (kind, item, verdict) = (fields.next()?, fields.next()?, fields.next()?);
        let verdict = Verdict::ALL.into_iter().find(|known| known.as_str() == verdict)?;
        let detail = fields.next().unwrap_or_default().to_owned();
        Some(Finding { kind: kind.to_owned(), item: item.to_owned(), verdict, detail })
    })();
    parsed.unwrap_or_else(|| Finding {
        kind: "script".to_owned(),
        item: "output".to_owned(),
        verdict: Verdict::Failed,
        detail: line.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines() {
        let report = parse_report("sysctl\tvm.x\tok\t1\n\nfile\t/etc/hosts\tdrift\tcontent\twith tab\nsh: not found\n");
        assert_eq!(report.len(), 3);
        assert_eq!((report[0].verdict, report[0].detail.as_str()), (Verdict::Ok, "1"));
        assert_eq!((report[1].item.as_str(), report[1].detail.as_str()), ("/etc/hosts", "content\twith tab"));
        assert_eq!((report[2].kind.as_str(), report[2].verdict), ("script", Verdict::Failed));
    }
}
