//! The document's lab as a value, for the tests of pure code.

use crate::lab::{
    Acceleration, BootMode, Cluster, Component, EngineKind, Fit, Guest, HostKind, HostsFile, Lab, Limit, Mac, Network,
    Nfs, Node, Primary, Role, Selinux, Size,
};
use std::collections::BTreeMap;

fn pairs(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().trim_matches('\'').to_owned()))
        .collect()
}

const GTM: &str = "listen_addresses = '0.0.0.0'
keepalives_idle = 60
keepalives_interval = 10
keepalives_count = 10
log_file = 'gtm.log'
log_min_messages = WARNING
synchronous_backup = on";

const PROXY: &str = "listen_addresses = '0.0.0.0'
worker_threads = 1
gtm_connect_retry_idle = 30
gtm_connect_retry_count = 10
gtm_connect_retry_interval = 10
err_wait_idle = 60
err_wait_count = 10
err_wait_interval = 10
keepalives_idle = 60
keepalives_interval = 10
keepalives_count = 10
log_file = 'gtm_proxy.log'
log_min_messages = WARNING";

/// Parameters of both kinds of databases.
const BOTH: &str = "listen_addresses = '0.0.0.0'
superuser_reserved_connections = 13
unix_socket_directory = '.'
unix_socket_permissions = 0700
tcp_keepalives_idle = 60
tcp_keepalives_interval = 10
tcp_keepalives_count = 10
shared_buffers = 1024MB
maintenance_work_mem = 512MB
max_stack_depth = 8MB
synchronous_commit = off
wal_buffers = 16384kB
wal_writer_delay = 10ms
random_page_cost = 1.0
effective_cache_size = 8192MB
log_destination = 'csvlog'
logging_collector = on
log_directory = 'pg_log'
log_filename = 'postgresql-%Y-%m-%d_%H%M%S.log'
log_file_mode = 0600
log_truncate_on_rotation = on
log_rotation_age = 1d
log_rotation_size = 10MB
log_checkpoints = on
log_connections = on
log_disconnections = on
log_error_verbosity = verbose
log_autovacuum_min_duration = 0
datestyle = 'iso, mdy'
lc_messages = 'C'
lc_monetary = 'C'
lc_numeric = 'C'
lc_time = 'C'
default_text_search_config = 'pg_catalog.english'
enforce_two_phase_commit = on
enable_fast_query_shipping = on
enable_remotejoin = on
enable_remotegroup = on";

const DATANODE: &str = "max_connections = 1600
max_prepared_transactions = 1600
wal_level = hot_standby
checkpoint_segments = 64
archive_mode = on
archive_command = '/bin/date'
max_wal_senders = 32
wal_sender_delay = 10ms
wal_keep_segments = 256
hot_standby = on
max_standby_archive_delay = 300s
max_standby_streaming_delay = 300s
wal_receiver_status_interval = 1s
hot_standby_feedback = on
log_statement = 'ddl'
track_activity_query_size = 2048";

const COORDINATOR: &str = "max_connections = 100
max_prepared_transactions = 16
wal_level = minimal
checkpoint_segments = 128
min_pool_size = 1
max_pool_size = 6416
max_coordinators = 16
max_datanodes = 64";

fn component(name: &str, directory: &str, port: u16, pooler_port: Option<u16>, parameters: &[&str]) -> Component {
    Component {
        name: name.parse().expect("a pattern"),
        directory: directory.to_owned(),
        port,
        pooler_port,
        parameters: parameters.iter().flat_map(|text| pairs(text)).collect(),
    }
}

/// The document's lab: gtm, its standby and six data hosts.
pub(crate) fn document() -> Lab {
    let components = BTreeMap::from([
        (Role::Gtm, component("one", "/data02/pgxc_gtm", 1921, None, &[GTM])),
        (Role::GtmStandby, component("two", "/data02/pgxc_gtm", 1921, None, &[GTM])),
        (Role::GtmProxy, component("{n}", "/data02/pgxc_gtm_proxy", 1924, None, &[PROXY])),
        (Role::Datanode, component("datanode_{n}", "/data02/pgxc_datanode", 1923, None, &[BOTH, DATANODE])),
        (
            Role::Coordinator,
            component("coordinate_{n}", "/data02/pgxc_coordinate", 1921, Some(1922), &[BOTH, COORDINATOR]),
        ),
    ]);
    let nodes = (171..=178u8)
        .map(|last| {
            let name = format!("db-192-168-122-{last}");
            let roles = match last {
                171 => vec![Role::Gtm],
                172 => vec![Role::GtmStandby],
                _ => vec![Role::GtmProxy, Role::Datanode, Role::Coordinator],
            };
            let number = usize::from(last.saturating_sub(172)).max(1);
            Node {
                mac: Mac::derived("pgxc", &name),
                name: name.parse().expect("a host name"),
                address: [192, 168, 122, last].into(),
                cpus: 1,
                memory: Size::mib(8192),
                disk: Size::mib(20 * 1024),
                export: format!("/data03/{last}"),
                on: None,
                roles: roles
                    .into_iter()
                    .map(|role| (role, components[&role].name.name(number).expect("a name")))
                    .collect(),
            }
        })
        .collect();
    let limit = |kind: &str, item: &str, value: &str| Limit {
        domain: "*".to_owned(),
        kind: kind.to_owned(),
        item: item.to_owned(),
        value: value.to_owned(),
    };
    Lab {
        name: "pgxc".parse().expect("a name"),
        host: HostKind::Private,
        hosts: None,
        acceleration: Acceleration::Auto,
        boot: BootMode::Auto,
        fit: Fit::Shrink,
        network: Network {
            subnet: "192.168.122.0/24".parse().expect("a subnet"),
            gateway: [192, 168, 122, 1].into(),
            domain: "sky-mobi.com".to_owned(),
            hosts_file: HostsFile::Untouched,
        },
        images: vec!["debian-12".to_owned()],
        mirrors: Vec::new(),
        engines: vec![EngineKind::PostgresXc, EngineKind::PostgresFdw],
        nfs: Nfs { size: Size::mib(64 * 1024), mount: "/data02".to_owned(), options: vec!["tcp".to_owned()] },
        guest: Guest {
            user: "pgxc".parse().expect("a user"),
            uid: 1921,
            timezone: "Asia/Shanghai".to_owned(),
            locale: "en_US.UTF-8".to_owned(),
            sysctl: pairs(
                "kernel.sem = 50100 64128000 50100 1280
net.ipv4.ip_local_port_range = 9000 65000
net.ipv4.tcp_tw_recycle = 1
net.ipv4.ip_conntrack_max = 655360
vm.overcommit_memory = 0",
            ),
            limits: [("nofile", "131072"), ("nproc", "131072"), ("core", "unlimited"), ("memlock", "50000000")]
                .into_iter()
                .flat_map(|(item, value)| [limit("soft", item, value), limit("hard", item, value)])
                .collect(),
            services_off: vec!["acpid".to_owned(), "bluetooth".to_owned()],
            services_on: vec!["multipathd".to_owned()],
            selinux: Selinux::Disabled,
            iptables: include_str!("fixture.iptables").to_owned(),
            packages: Vec::new(),
        },
        cluster: Cluster {
            version: "1.0.2".to_owned(),
            source: Vec::new(),
            flex: Vec::new(),
            prefix: "/opt/pgxc_1.0.2".to_owned(),
            link: "/opt/pgxc".to_owned(),
            configure: vec!["--with-pgport=1921".to_owned(), "--with-wal-blocksize=16".to_owned()],
            superuser: "postgres".parse().expect("a user"),
            password: None,
            encoding: "UTF8".to_owned(),
            locale: "C".to_owned(),
            hba: vec!["host all all 0.0.0.0/0 md5".to_owned()],
            primary: Primary::First,
            components,
        },
        nodes,
        nightly: crate::lab::Nightly::default(),
        checks: Vec::new(),
        directory: ".".into(),
    }
}

/// The document's lab with only its first `databases` data hosts.
pub(crate) fn smaller(databases: usize) -> Lab {
    let mut lab = document();
    lab.nodes.truncate(2 + databases);
    lab
}
