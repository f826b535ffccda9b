//! The texts that have `nightly run` called: systemd's service and timer, and a line for cron. Pure.

use crate::error::{Class, Error, Result};
use std::path::{Path, PathBuf};

/// The first line of what we write.
pub(super) const MARK: &str = "# Written by `pgxc-lab nightly install`";

/// What a night needs to know.
#[derive(Clone, Debug)]
pub struct Units {
    /// Name of the lab.
    pub lab: String,
    /// When, as systemd's OnCalendar says it.
    pub at: String,
    /// This program, absolute.
    pub program: PathBuf,
    /// The home of all labs, absolute.
    pub home: PathBuf,
    /// lab.yaml, absolute.
    pub file: PathBuf,
    /// Variables of the environment that decide what is built.
    pub variables: Vec<(String, String)>,
}

impl Units {
    /// Name of the service.
    pub fn service_name(&self) -> String {
        format!("pgxc-lab-nightly-{}.service", self.lab)
    }

    /// Name of the timer.
    pub fn timer_name(&self) -> String {
        format!("pgxc-lab-nightly-{}.timer", self.lab)
    }

    /// The service.
    ///
    /// # Errors
    /// When a path or a value cannot stand in a unit.
    pub fn service(&self) -> Result<String> {
        let mut variables = String::new();
        for (name, value) in &self.variables {
            variables.push_str(&format!("Environment={}\n", quoted(&format!("{name}={value}"))?));
        }
        let words: Result<Vec<String>> = self.words()?.iter().map(|word| quoted(word).map(dollars)).collect();
        Ok(format!(
            "{MARK}; `pgxc-lab nightly remove` removes it.\n\
             [Unit]\n\
             Description=Nightly rebuild of the pgxc-lab lab {lab}\n\
             Wants=network-online.target\n\
             After=network-online.target\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             {variables}ExecStart={command}\n\
             # The lab goes on after the run: its processes belong to this service and must not end with it.\n\
             KillMode=process\n\
             # A run that hangs gets SIGTERM, writes its record and gathers evidence.\n\
             TimeoutStartSec=6h\n\
             TimeoutStopSec=5min\n",
            lab = self.lab,
            command = words?.join(" "),
        ))
    }

    /// The timer.
    ///
    /// # Errors
    /// When the time has characters that cannot stand in a unit.
    pub fn timer(&self) -> Result<String> {
        if self.at.trim().is_empty() || self.at.chars().any(char::is_control) {
            return Err(Error::new(Class::Usage, format!("`{}` is no time", self.at.escape_debug()))
                .hint("write one such as `*-*-* 02:30:00`; `systemd-analyze calendar` checks it"));
        }
        Ok(format!(
            "{MARK}; `pgxc-lab nightly remove` removes it.\n\
             [Unit]\n\
             Description=Nightly rebuild of the pgxc-lab lab {}\n\
             \n\
             [Timer]\n\
             OnCalendar={}\n\
             # A night that the machine slept through is made up for.\n\
             Persistent=true\n\
             \n\
             [Install]\n\
             WantedBy=timers.target\n",
            self.lab,
            self.at.trim().replace('%', "%%"),
        ))
    }

    /// The line for `crontab`, where there is no systemd.
    ///
    /// # Errors
    /// When cron cannot say the time.
    pub fn cron(&self) -> Result<String> {
        let time = cron_time(&self.at).ok_or_else(|| {
            Error::new(Class::Usage, format!("there is no systemd here, and cron cannot say `{}`", self.at))
                .hint("take a time of the day, such as `--at '*-*-* 02:30:00'`")
        })?;
        let variables = self.variables.iter().map(|(name, value)| format!("{name}={}", shell(value)));
        let words = self.words()?;
        let command: Vec<String> = variables.chain(words.iter().map(|word| shell(word))).collect();
        // cron takes a bare per cent sign for the end of the line.
        Ok(format!("{time} {}", command.join(" ").replace('%', "\\%")))
    }

    fn words(&self) -> Result<Vec<String>> {
        let text = |path: &Path| {
            path.to_str()
                .filter(|text| !text.chars().any(char::is_control))
                .map(str::to_owned)
                .ok_or_else(|| Error::new(Class::Usage, format!("`{}` cannot stand in a unit", path.display())))
        };
        Ok(vec![
            text(&self.program)?,
            "--home".into(),
            text(&self.home)?,
            "--file".into(),
            text(&self.file)?,
            "nightly".into(),
            "run".into(),
        ])
    }
}

/// A word as systemd reads it.
fn quoted(word: &str) -> Result<String> {
    if word.chars().any(char::is_control) {
        return Err(Error::new(Class::Usage, format!("`{}` cannot stand in a unit", word.escape_debug())));
    }
    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-=:,@+".contains(c));
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    Ok(if plain { escaped } else { format!("\"{escaped}\"") })
}

/// A command line expands variables, Environment= does not.
fn dollars(word: String) -> String {
    word.replace('$', "$$")
}

/// A word as sh reads it.
fn shell(word: &str) -> String {
    if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-=:,@+".contains(c)) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Times of the day, with days of the week before them if need be.
fn cron_time(at: &str) -> Option<String> {
    let words: Vec<&str> = at.split_whitespace().collect();
    let (days, clock) = match words.as_slice() {
        ["daily"] => ("*", "00:00"),
        [clock] | ["*-*-*", clock] => ("*", *clock),
        [days, clock] | [days, "*-*-*", clock] => (*days, *clock),
        _ => return None,
    };
    let day = |day: &str| ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].contains(&day.to_lowercase().as_str());
    let days = days.replace("..", "-");
    if days != "*" && !days.split([',', '-']).all(day) {
        return None;
    }
    let mut numbers = clock.split(':').map(|part| part.parse::<u8>().ok());
    let (hour, minute) = (numbers.next()??, numbers.next()??);
    let seconds = numbers.next().unwrap_or(Some(0))?;
    (hour < 24 && minute < 60 && seconds < 60 && numbers.next().is_none())
        .then(|| format!("{minute} {hour} * * {}", days.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn units(at: &str, file: &str) -> Units {
        Units {
            lab: "two".into(),
            at: at.into(),
            program: "/bin/true".into(),
            home: "/var/lib/pgxc-lab".into(),
            file: file.into(),
            variables: vec![("PGXC_SOURCE".into(), "/src/100% $pgxc.tar.gz".into())],
        }
    }

    #[test]
    fn the_service_calls_this_program_with_absolute_paths() {
        let service = units("daily", "/srv/my labs/\"two\".yaml").service().expect("a unit");
        assert!(service.contains("Environment=\"PGXC_SOURCE=/src/100%% $pgxc.tar.gz\"\n"), "{service}");
        assert!(
            service.contains(
                "ExecStart=/bin/true --home /var/lib/pgxc-lab --file \"/srv/my labs/\\\"two\\\".yaml\" nightly run\n"
            ),
            "{service}"
        );
        assert!(service.contains("\nKillMode=process\n"));
    }

    #[test]
    fn the_timer_makes_up_for_a_night() {
        let timer = units("Mon..Fri 02:30", "/lab.yaml").timer().expect("a unit");
        assert!(timer.contains("OnCalendar=Mon..Fri 02:30\n") && timer.contains("Persistent=true\n"), "{timer}");
        for wrong in ["", "daily\nExecStart=/bin/sh"] {
            assert_eq!(units(wrong, "/lab.yaml").timer().expect_err(wrong).class(), Class::Usage);
        }
    }

    #[test]
    fn cron_says_times_of_the_day() {
        for (at, expected) in [
            ("*-*-* 02:30:00", Some("30 2 * * *")),
            ("03:05", Some("5 3 * * *")),
            ("daily", Some("0 0 * * *")),
            ("Mon..Fri *-*-* 23:59", Some("59 23 * * mon-fri")),
            ("Sat,Sun 4:00", Some("0 4 * * sat,sun")),
            ("*-*-01 02:30", None),
            ("02:30/5", None),
            ("25:00", None),
            ("weekly", None),
        ] {
            assert_eq!(cron_time(at).as_deref(), expected, "{at}");
        }
        assert_eq!(
            units("02:30", "/srv/it's.yaml").cron().expect("a line"),
            "30 2 * * * PGXC_SOURCE='/src/100\\% $pgxc.tar.gz' /bin/true --home /var/lib/pgxc-lab \
             --file '/srv/it'\\''s.yaml' nightly run"
        );
    }

    /// systemd's own reader takes both; a machine without it can install no timer either.
    #[test]
    fn systemd_takes_both_units() {
        let directory = tempfile::tempdir().expect("a directory");
        let units = units("*-*-* 02:30:00", "/srv/my labs/two.yaml");
        let timer = directory.path().join(units.timer_name());
        std::fs::write(directory.path().join(units.service_name()), units.service().expect("a unit")).expect("a file");
        std::fs::write(&timer, units.timer().expect("a unit")).expect("a file");
        let verify = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&timer)
            .env("SYSTEMD_UNIT_PATH", format!("{}:", directory.path().display()))
            .output();
        match verify {
            Ok(output) => {
                let words = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success() && !words.contains("pgxc-lab-nightly"), "{words}");
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("{error}"),
        }
    }
}
