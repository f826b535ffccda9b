//! No CentOS 5 can be had here, but its ssh can be played: the guest's own OpenSSH, told to offer what OpenSSH 4.3 did and
//! nothing else. Our client must get in with the profile of such guests, do its work, and not get in with any other.

use super::bench::Bench;
use pgxc_lab::{
    context::Record,
    engine,
    guest::{System, Verdict, parse_report},
    host::{Home, Host},
    lab::EngineKind,
    remote::{Keys, Ssh, SshProfile},
};
use std::{fs, time::Duration};

/// Beside the guest's own server.
const PORT: u16 = 2243;

/// What OpenSSH 4.3 had of each kind, as far as Debian 12's still has it.
const CONFIGURATION: &str = "Port 2243\n\
    KexAlgorithms diffie-hellman-group-exchange-sha1,diffie-hellman-group14-sha1,diffie-hellman-group1-sha1\n\
    HostKeyAlgorithms ssh-rsa\nPubkeyAcceptedAlgorithms ssh-rsa\n\
    Ciphers aes128-cbc,3des-cbc,aes192-cbc,aes256-cbc,aes128-ctr,aes192-ctr,aes256-ctr\n\
    MACs hmac-md5,hmac-sha1,hmac-sha1-96,hmac-md5-96\n\
    HostKey /run/old-ssh/host\nAuthorizedKeysFile /run/old-ssh/lab.pub\nPidFile /run/old-ssh/pid\n\
    PermitRootLogin yes\nUsePAM yes\nPasswordAuthentication no\nLogLevel DEBUG1\n";

/// Plays it on a node of a lab that is up, and ends it.
pub fn an_old_openssh_is_spoken_to_in_its_own_words(bench: &Bench, lab_name: &str, node_name: &str) {
    let dir = Home::new(bench.home()).lab(lab_name);
    let record = Record::read(&dir).expect("it can be read").expect("the lab is up");
    let lab = record.fitted(&bench.load()).expect("it fits");
    let node = lab.node(node_name).expect("it is in lab.yaml");
    let files = engine::guest_files(engine::of(EngineKind::PostgresFdw).as_ref(), System::Debian, &lab, node);
    let tune = format!("APPLY=1\n{}", System::Debian.guest().tune_script(&lab, node, &files));

    let directory = tempfile::tempdir().expect("a directory");
    let (modern, old) = (Keys::new(&dir), Keys::new(&Home::new(directory.path()).lab("old")));
    old.ensure(SshProfile::OpenSsh43, &[(node_name, node.address)]).expect("ssh-keygen makes keys");
    let host_key = fs::read_to_string(old.host_key(node_name)).expect("it was made");
    let lab_key = old.public_text(&old.lab_key()).expect("it was made");
    let start = format!(
        "umask 077; mkdir /run/old-ssh; cd /run/old-ssh\n\
         printf %s '{host_key}' >host; printf %s '{lab_key}' >lab.pub; printf %s '{CONFIGURATION}' >configuration\n\
         /usr/sbin/sshd -f /run/old-ssh/configuration -E /run/old-ssh/log\n\
         for try in $(seq 200); do [ ! -s pid ] || exit 0; sleep 0.1; done; cat log >&2; exit 1"
    );
    bench.run(&["ssh", node_name, "--", &start]).succeeded();

    let host = Host::find(&dir).expect("the lab has a host");
    let login = async |port: u16, keys: &Keys| {
        let socket = host.connect((node.address, port).into(), Duration::from_secs(20)).await.expect("it listens");
        Ssh::login(node_name, socket, keys).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = || bench.run(&["ssh", node_name, "--", "cat /run/old-ssh/log"]).stdout;
        let ssh = login(PORT, &old).await.unwrap_or_else(|error| panic!("{error} {:?}\n{}", error.causes(), log()));
        let output = ssh.run("hostname; cat; echo aside >&2; exit 3", b"said\n").await.expect("it runs");
        assert_eq!((output.status, output.stdout.as_str()), (Some(3), format!("{node_name}\nsaid\n").as_str()));
        assert_eq!(output.stderr, "aside\n");
        // The whole of what a guest is told, files and all, and one of them is missing.
        ssh.run("rm /etc/hosts", b"").await.expect("it runs");
        let report = ssh.script("tune the guest", &tune).await.unwrap_or_else(|error| panic!("{error}"));
        let findings = parse_report(&report);
        let of = |verdict| findings.iter().filter(move |finding| finding.verdict == verdict);
        assert_eq!(of(Verdict::Applied).map(|finding| finding.item.as_str()).collect::<Vec<_>>(), ["/etc/hosts"]);
        assert!(of(Verdict::Failed).next().is_none() && of(Verdict::Ok).count() > 20, "{report}");
        let hosts = ssh.run("cat /etc/hosts", b"").await.expect("it runs").stdout;
        assert!(hosts.contains(&format!("{} {node_name}", node.address)), "{hosts}");

        let error = login(PORT, &modern).await.err().expect("a client of modern guests has nothing in common with it");
        assert!(error.causes().iter().any(|cause| cause.contains("No common")), "{error} {:?}", error.causes());
        assert!(login(22, &old).await.is_err(), "nor has a client of old guests with the guest's own server");
        login(22, &modern).await.unwrap_or_else(|error| panic!("the guest's own server: {error}"));
    });

    let end = "cat /run/old-ssh/log; kill $(cat /run/old-ssh/pid); rm -r /run/old-ssh";
    let log = bench.run(&["ssh", node_name, "--", end]).succeeded().stdout;
    for words in [
        "kex: algorithm: diffie-hellman-group14-sha1",
        "kex: host key algorithm: ssh-rsa",
        "MAC: hmac-sha1 ",
        "Accepted publickey for root",
        "no matching",
    ] {
        assert!(log.contains(words), "`{words}` is missing in\n{log}");
    }
}
