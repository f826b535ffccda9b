//! What help and manual pages say beyond the options, and the files that are generated from the command line.

use super::{Arguments, FILE_VARIABLE, HOME_VARIABLE};
use crate::error::Class;
use crate::{
    drill,
    lab::EngineKind,
    prepare::{FLEX_VARIABLE, OFFLINE_VARIABLE, SOURCE_VARIABLE},
    verify::{self, Suite},
};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use std::io;

pub(super) const EXAMPLES: &str = "\
EXAMPLES
  pgxc-lab up                     from nothing to a cluster that answers
  pgxc-lab status                 what runs where
  pgxc-lab sql -c 'SELECT * FROM pgxc_node'
  pgxc-lab destroy                as if nothing had ever been";

pub(super) const UP: &str = "\
EXAMPLES
  pgxc-lab up                     the lab of ./lab.yaml
  pgxc-lab up -F small.yaml       another one; labs run side by side
  pgxc-lab up --boot cold         every new guest boots, none is cloned
  pgxc-lab up --verify full       and then all checks of `verify`, not only the quick ones
  pgxc-lab up --json > run.jsonl  one event a line, for programs
  PGXC_SOURCE=/src/pgxc-v1.0.2.tar.gz pgxc-lab up
                                  Postgres-XC from this source package";

pub(super) const DESTROY: &str = "\
EXAMPLES
  pgxc-lab destroy                the lab of ./lab.yaml, after a question
  pgxc-lab destroy --yes          without the question
  pgxc-lab destroy --lab xc8      without lab.yaml
  pgxc-lab destroy --forget beta  without the host beta, which never comes back";

pub(super) const STATUS: &str = "\
EXAMPLES
  pgxc-lab status                 a row per component
  pgxc-lab status --watch         the same every two seconds, in place
  pgxc-lab status --json | jq .   everything that is known; docs/status.schema.json

COLUMNS
  CLOCK     how far the guest's clock is off the gateway's, either way
  PID       as the pid file on the export says; a killed process leaves it
  CLIENTS   sessions of clients
  POOL      sessions that coordinators hold open here: busy/all
  PREPARED  transactions that are prepared; for more than a minute is told above
  WAL       files of the WAL on the export
A narrow terminal shows fewer of them.";

pub(super) const PLAN: &str = "\
EXAMPLES
  pgxc-lab plan                   steps, what they need, which are done
  pgxc-lab plan --json            the same as data";

pub(super) const DOCTOR: &str = "\
EXAMPLES
  pgxc-lab doctor                 what differs from lab.yaml
  pgxc-lab doctor --apply         and repair it";

pub(super) const VALIDATE: &str = "\
EXAMPLES
  pgxc-lab validate               ./lab.yaml
  pgxc-lab validate -F small.yaml another file";

pub(super) const VERIFY: &str = "\
EXAMPLES
  pgxc-lab verify                 what takes seconds
  pgxc-lab verify --suite full    everything
  pgxc-lab verify --only hash,bank -v
                                  two of them, and what they saw
  pgxc-lab verify --suite full --junit verify.xml
  pgxc-lab verify --tap > verify.tap; prove -e cat verify.tap";

/// The same with the exit codes and every check.
pub(super) fn verify() -> String {
    let mut text = format!("{VERIFY}\n\nEXIT CODES OF VERIFY\n");
    for (code, meaning) in verify::EXIT_CODES {
        text.push_str(&format!("  {code}  {meaning}\n"));
    }
    text.push_str("\nCHECKS\n");
    for engine in [EngineKind::PostgresXc, EngineKind::PostgresFdw] {
        text.push_str(&format!("  {}:\n", engine.as_str()));
        for check in verify::catalogue(engine) {
            let quick = if check.suite == Suite::Quick { "quick" } else { "" };
            for (number, line) in wrapped(check.proves, CLAIM).iter().enumerate() {
                let (id, quick) = if number == 0 { (check.id, quick) } else { ("", "") };
                text.push_str(&format!("  {id:<12}{quick:<5}  {line}\n"));
            }
        }
    }
    text
}

/// Columns of a claim in the list of checks.
const CLAIM: usize = 58;

/// A text in lines of at most so many columns.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if !line.is_empty() && line.len() + 1 + word.len() > columns => lines.push(word.to_owned()),
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => line.push_str(&format!(" {word}")),
            None => {}
        }
    }
    lines
}

pub(super) const SSH: &str = "\
EXAMPLES
  pgxc-lab ssh db3                a shell
  pgxc-lab ssh db3 -- df -h /data02
                                  one command; its exit code is ours";

pub(super) const EXEC: &str = "\
EXAMPLES
  pgxc-lab exec -- uptime         on every node
  pgxc-lab exec --on coordinator -- systemctl is-system-running
  pgxc-lab exec --on db1,db3 -- date";

pub(super) const SQL: &str = "\
EXAMPLES
  pgxc-lab sql -c 'SELECT * FROM pgxc_node'
  pgxc-lab sql --on db6 -f schema.sql
  echo 'SELECT 1' | pgxc-lab sql";

pub(super) const LOGS: &str = "\
EXAMPLES
  pgxc-lab logs db3               console and what was done there
  pgxc-lab logs db3 --component datanode --follow";

pub(super) const FORWARD: &str = "\
EXAMPLES
  pgxc-lab forward db3:5432       then: psql -h 127.0.0.1 -p 5432
  pgxc-lab forward db3:5432 15432 at another port of this machine
  pgxc-lab forward --stdio db3:22 what ssh's ProxyCommand wants";

pub(super) const CONFIG: &str = "\
EXAMPLES
  pgxc-lab config diff            parameters that run otherwise than written
  pgxc-lab config apply           and into effect, one node after the other";

pub(super) const COLLECT: &str = "\
EXAMPLES
  pgxc-lab collect                everything, whatever state the lab is in
  pgxc-lab collect --since 2h --out /tmp/lab.tar.zst
                                  then: tar --zstd -tf /tmp/lab.tar.zst";

pub(super) const EXPORT: &str = "\
EXAMPLES
  pgxc-lab export ssh-config --out lab.ssh
                                  then: scp -F lab.ssh dump.sql db3:/tmp/
  pgxc-lab export inventory --out hosts.yaml
                                  then: ansible -i hosts.yaml all -m ping
  pgxc-lab export pgpass --out ~/.pgpass-lab
                                  then: PGPASSFILE=~/.pgpass-lab psql …
  pgxc-lab export diagram > lab.svg";

pub(super) const START: &str = "\
EXAMPLES
  pgxc-lab start                  everything that does not serve
  pgxc-lab start --component datanode
  pgxc-lab start --on db3,db4";

pub(super) const STOP: &str = "\
EXAMPLES
  pgxc-lab stop                   all components, the guests go on
  pgxc-lab stop --on db3 --component datanode
  pgxc-lab stop --component coordinator,datanode";

pub(super) const RESTART: &str = "\
EXAMPLES
  pgxc-lab restart                the whole cluster
  pgxc-lab restart --component gtm_proxy --on db3";

pub(super) const FAILOVER: &str = "\
EXAMPLES
  pgxc-lab failover gtm           the standby becomes the GTM
  pgxc-lab failover gtm           and back
  pgxc-lab failover gtm --to db2  only unless it is there already";

pub(super) const SCALE: &str = "\
EXAMPLES
  pgxc-lab scale add              one node more like the last one
  pgxc-lab scale add datanode     one with a datanode, and its proxy
  pgxc-lab scale add datanode coordinator --name db9 --ip 192.168.122.199
  pgxc-lab scale remove db9       takes it away again, if it holds nothing";

pub(super) const FAULT: &str = "\
EXAMPLES
  pgxc-lab fault kill-component datanode db3 --for 30s
  pgxc-lab fault power-off db3    stays off until `fault mend`
  pgxc-lab fault partition db1,db2 db3 --for 1m
  pgxc-lab fault partition gtm    from everybody else
  pgxc-lab fault clock-skew db3 --by -90s
  pgxc-lab fault stall-nfs --for 20s
  pgxc-lab fault list
  pgxc-lab fault mend";

pub(super) const DRILL: &str = "\
EXAMPLES
  pgxc-lab drill list             what there is
  pgxc-lab drill run gtm-killed datanode-killed
  pgxc-lab drill run --all --json > drills.json";

/// The same with the exit codes and every drill.
pub(super) fn drill() -> String {
    let mut text = format!("{DRILL}\n\nEXIT CODES OF DRILL RUN\n");
    for (code, meaning) in drill::report::EXIT_CODES {
        text.push_str(&format!("  {code}  {meaning}\n"));
    }
    text.push_str("\nDRILLS\n");
    for drill in drill::CATALOGUE {
        for (number, line) in wrapped(drill.proves, CLAIM).iter().enumerate() {
            let name = if number == 0 { drill.name } else { "" };
            text.push_str(&format!("  {name:<17} {line}\n"));
        }
    }
    text
}

pub(super) const SNAPSHOT: &str = "\
EXAMPLES
  pgxc-lab snapshot create loaded --note 'one million rows'
  pgxc-lab snapshot list
  pgxc-lab restore loaded --yes   back to it, sessions and all
  pgxc-lab snapshot export loaded /mnt/loaded.pgxcsnap
  pgxc-lab snapshot import /mnt/loaded.pgxcsnap";

pub(super) const RESTORE: &str = "\
EXAMPLES
  pgxc-lab restore loaded         the lab of ./lab.yaml, after a question
  pgxc-lab restore loaded --yes   without the question
  pgxc-lab restore loaded --verify full
                                  and then all checks of `verify`, not only the quick ones
  pgxc-lab restore loaded --lab xc8
                                  also when that lab is gone altogether";

pub(super) const REBUILD: &str = "\
EXAMPLES
  pgxc-lab rebuild --yes          from the pristine snapshot, in seconds
  pgxc-lab rebuild --why          what changed since it was taken
  pgxc-lab rebuild --cold --yes   without it, and a new one
  pgxc-lab rebuild --yes --verify full
                                  and then all checks of `verify`";

pub(super) const NIGHTLY: &str = "\
EXAMPLES
  pgxc-lab nightly install        every night at 02:30
  pgxc-lab nightly run            now, as the timer does
  pgxc-lab nightly history --since 14d
  pgxc-lab nightly report --out /var/www/html/lab.html";

pub(super) const IMAGE: &str = "\
EXAMPLES
  pgxc-lab image list
  pgxc-lab image build debian-12
  pgxc-lab image prune";

pub(super) const COMPLETIONS: &str = "\
EXAMPLES
  pgxc-lab completions bash > /etc/bash_completion.d/pgxc-lab
  pgxc-lab completions zsh > ~/.zfunc/_pgxc-lab";

pub(super) const MAN: &str = "\
EXAMPLES
  pgxc-lab man | man -l -         read it
  pgxc-lab man --out /usr/local/share/man/man1";

/// Variables of the environment and what they do.
const VARIABLES: [(&str, &str); 7] = [
    (FILE_VARIABLE, "the lab file, unless --file names one"),
    (HOME_VARIABLE, "where labs and the cache are kept, unless --home says"),
    (SOURCE_VARIABLE, "Postgres-XC's source package: before lab.yaml's places"),
    (FLEX_VARIABLE, "flex's source package, for images whose own is too old: likewise"),
    (OFFLINE_VARIABLE, "anything: URLs among those places are passed over"),
    ("NO_COLOR", "no colours"),
    ("TERM", "`dumb`: plain lines instead of rows"),
];

/// What `--help` says below the options.
pub(super) fn long_help() -> String {
    let mut text = format!("{EXAMPLES}\n\nENVIRONMENT\n");
    for (name, meaning) in VARIABLES {
        text.push_str(&format!("  {name:<16} {meaning}\n"));
    }
    text.push_str("\nEXIT CODES\n    0  everything ended well\n");
    for class in Class::ALL {
        text.push_str(&format!("  {:>3}  {}\n", class.exit_code(), class.meaning()));
    }
    text.push_str("  `verify` and `drill run` have codes of their own: see their help\n");
    text
}

/// The completion script of a shell.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "pgxc-lab", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// File names and texts of all manual pages: `pgxc-lab.1` first, then one per verb.
pub fn man_pages() -> Vec<(String, String)> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages);
    pages
}

fn collect(command: &Command, pages: &mut Vec<(String, String)>) {
    let man = Man::new(command.clone());
    let mut roff = Vec::new();
    page(&man, command, &mut roff).expect("a vector takes every byte");
    pages.push((man.get_filename(), String::from_utf8_lossy(&roff).into_owned()));
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        collect(verb, pages);
    }
}

/// One page. clap_mangen would fill the examples into paragraphs and put them under EXTRA.
fn page(man: &Man, command: &Command, out: &mut Vec<u8>) -> io::Result<()> {
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        man.render_subcommands_section(out)?;
    }
    let long = command.get_after_long_help().or(command.get_after_help());
    let mut filled = true;
    for line in long.map(ToString::to_string).unwrap_or_default().lines() {
        let heading = !line.is_empty() && line.chars().all(|letter| letter.is_ascii_uppercase() || letter == ' ');
        let escaped = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        if heading {
            let end = if filled { "" } else { ".fi\n" };
            out.extend(format!("{end}.SH \"{line}\"\n.nf\n").bytes());
            filled = false;
        } else {
            // A line that begins with a full stop would be a request.
            out.extend(format!("\\&{escaped}\n").bytes());
        }
    }
    if !filled {
        out.extend(b".fi\n");
    }
    Ok(())
}
