//! With its own folder the only place that imports `virt`. Calls block and are short: callers wrap them in `spawn_blocking`.

mod stock;

pub use stock::Parcel;

use super::{NetworkDefinition, Reservation, SeenNetwork};
use crate::{
    error::{Class, Error, Result, ResultExt},
    lab::Size,
};
use askama::Template;
use quick_xml::de::from_str;
use serde::Deserialize;
use serde_json::Value;
use virt::{connect::Connect, domain::Domain, error::ErrorNumber, network::Network, sys};

/// XML namespace of our tag in a domain's metadata.
const TAG: &str = "https://pgxc-lab.invalid/domain/1";

/// A connection to libvirt.
pub struct Libvirt {
    connection: Connect,
}

/// State of a domain, as far as it matters to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DomainState {
    /// Its CPUs run.
    Running,
    /// Its CPUs are stopped, its memory is there.
    Paused,
    /// It does not run.
    Off,
    /// Its guest crashed, or libvirt says something that we do not expect.
    Crashed,
}

impl DomainState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            DomainState::Running => "running",
            DomainState::Paused => "paused",
            DomainState::Off => "off",
            DomainState::Crashed => "crashed",
        }
    }
}

/// A domain of ours as libvirt has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDomain {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: DomainState,
    /// libvirt's number of this run: a new start gets a new one.
    pub run: Option<u32>,
    /// Digest of the definition that it was made from.
    pub digest: String,
    /// A text of its own for this power-on, where numbers of runs may begin anew without anybody noticing.
    pub nonce: String,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(rename = "@name")]
    name: String,
    #[serde(rename = "@digest")]
    digest: String,
    #[serde(rename = "@nonce", default)]
    nonce: String,
}

/// What matters to us of a network, the same for libvirt's XML and for ours.
#[derive(Deserialize)]
struct NetworkXml {
    bridge: NamedXml,
    domain: NamedXml,
    ip: IpXml,
    #[serde(rename = "options")]
    options: Option<OptionsXml>,
}

/// What libvirt tells dnsmasq without looking at it.
#[derive(Deserialize, PartialEq)]
struct OptionsXml {
    #[serde(default)]
    option: Vec<OptionXml>,
}

#[derive(Deserialize, PartialEq)]
struct OptionXml {
    #[serde(rename = "@value")]
    value: String,
}

#[derive(Deserialize, PartialEq)]
struct NamedXml {
    #[serde(rename = "@name")]
    name: String,
}

#[derive(Deserialize)]
struct IpXml {
    #[serde(rename = "@address")]
    address: String,
    #[serde(rename = "@netmask")]
    netmask: String,
    dhcp: Option<DhcpXml>,
}

#[derive(Deserialize)]
struct DhcpXml {
    #[serde(default)]
    host: Vec<HostXml>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct HostXml {
    #[serde(rename = "@mac")]
    mac: String,
    #[serde(rename = "@name")]
    name: String,
    #[serde(rename = "@ip")]
    ip: String,
}

impl NetworkXml {
    fn read(xml: &str) -> Result<NetworkXml> {
        let mut network: NetworkXml =
            from_str(xml).or_error(Class::Infrastructure, || "cannot understand a network's XML".into())?;
        // libvirt keeps the order in which reservations were made: it means nothing.
        if let Some(dhcp) = &mut network.ip.dhcp {
            dhcp.host.sort();
        }
        Ok(network)
    }

    fn of(network: &Network) -> Result<NetworkXml> {
        NetworkXml::read(&network.get_xml_desc(0).map_err(failed("cannot read the network's definition"))?)
    }

    fn hosts(&self) -> &[HostXml] {
        self.ip.dhcp.as_ref().map(|dhcp| dhcp.host.as_slice()).unwrap_or_default()
    }

    /// Whether all but the reservations is the same: that cannot be changed while a network runs.
    fn is_framed_as(&self, other: &NetworkXml) -> bool {
        self.bridge == other.bridge
            && self.domain == other.domain
            && self.ip.address == other.ip.address
            && self.ip.netmask == other.ip.netmask
            && self.options == other.options
    }
}

impl HostXml {
    fn of(reservation: &Reservation) -> HostXml {
        let Reservation { mac, name, address } = reservation;
        HostXml { mac: mac.to_string(), name: name.clone(), ip: address.to_string() }
    }

    fn xml(&self) -> String {
        format!("<host mac='{}' name='{}' ip='{}'/>", self.mac, self.name, self.ip)
    }
}

impl Drop for Libvirt {
    /// `virt` closes no connection by itself, and libvirtd accepts only so many.
    fn drop(&mut self) {
        // A connection that libvirtd broke is closed already.
        let _ = self.connection.close();
    }
}

fn failed(what: impl Into<String>) -> impl FnOnce(virt::error::Error) -> Error {
    let what = what.into();
    move |error| Error::new(Class::Infrastructure, what).evidence(error.message().to_owned())
}

impl Libvirt {
    /// Connects.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub fn open(uri: &str) -> Result<Libvirt> {
        // Otherwise libvirt prints every error on stderr, through our progress display.
        virt::error::clear_error_callback();
        let connection = Connect::open(Some(uri)).map_err(failed(format!("cannot connect to libvirt at `{uri}`")))?;
        Ok(Libvirt { connection })
    }

    /// Whether the network runs with exactly these reservations.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub fn network_holds(&self, wanted: &NetworkDefinition) -> Result<bool> {
        let wanted_xml = NetworkXml::read(&rendered(wanted)?)?;
        let Some(network) = self.network(&wanted.name)? else { return Ok(false) };
        let active = network.is_active().map_err(failed("cannot ask for the network's state"))?;
        let seen = NetworkXml::of(&network)?;
        Ok(active && seen.is_framed_as(&wanted_xml) && seen.hosts() == wanted_xml.hosts())
    }

    /// Makes sure that the network runs with exactly these reservations. Tells whether anything changed. A network of
    /// another address or domain is made anew; guests on it must be started again.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub fn ensure_network(&self, wanted: &NetworkDefinition) -> Result<bool> {
        let xml = rendered(wanted)?;
        let wanted_xml = NetworkXml::read(&xml)?;
        let mut changed = false;
        let mut network = self.network(&wanted.name)?;
        if let Some(old) = &network
            && !NetworkXml::of(old)?.is_framed_as(&wanted_xml)
        {
            if old.is_active().map_err(failed("cannot ask for the network's state"))? {
                old.destroy().map_err(failed("cannot stop the lab's old network"))?;
            }
            old.undefine().map_err(failed("cannot remove the lab's old network"))?;
            network = None;
        }
        let network = match network {
            Some(network) => network,
            None => {
                changed = true;
                Network::define_xml(&self.connection, &xml).map_err(failed("libvirt refuses the lab's network"))?
            }
        };
        if !network.is_active().map_err(failed("cannot ask for the network's state"))? {
            network.create().map_err(failed("cannot start the lab's network"))?;
            changed = true;
        }
        let seen = NetworkXml::of(&network)?;
        // Old ones first: a new reservation may take an old one's address.
        for host in seen.hosts().iter().filter(|host| !wanted_xml.hosts().contains(host)) {
            self.change_host(&network, sys::VIR_NETWORK_UPDATE_COMMAND_DELETE, host)?;
            changed = true;
        }
        for host in wanted_xml.hosts().iter().filter(|host| !seen.hosts().contains(host)) {
            self.change_host(&network, sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, host)?;
            changed = true;
        }
        Ok(changed)
    }

    /// A network that is not ours alone.
    ///
    /// # Errors
    /// When libvirt does not answer, or it cannot be understood.
    pub fn seen_network(&self, name: &str) -> Result<Option<SeenNetwork>> {
        let Some(network) = self.network(name)? else { return Ok(None) };
        let active = network.is_active().map_err(failed("cannot ask for the network's state"))?;
        let xml = network.get_xml_desc(0).map_err(failed("cannot read the network's definition"))?;
        SeenNetwork::read(&xml, active)
            .map(Some)
            .or_error(Class::Infrastructure, || format!("cannot understand the definition of network `{name}`"))
    }

    /// Adds one reservation to a running network, and leaves everything else of it as it is.
    ///
    /// # Errors
    /// When there is no such network, or libvirt refuses.
    pub fn reserve(&self, network: &str, reservation: &Reservation) -> Result<()> {
        let host = HostXml::of(reservation);
        self.change_host(&self.existing_network(network)?, sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, &host)
    }

    /// Takes one reservation back; one that is not there is fine.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub fn unreserve(&self, network: &str, reservation: &Reservation) -> Result<()> {
        let Some(seen) = self.seen_network(network)? else { return Ok(()) };
        if !seen.reservations.iter().any(|seen| seen.is(reservation)) {
            return Ok(());
        }
        let host = HostXml::of(reservation);
        self.change_host(&self.existing_network(network)?, sys::VIR_NETWORK_UPDATE_COMMAND_DELETE, &host)
    }

    fn existing_network(&self, name: &str) -> Result<Network> {
        self.network(name)?.ok_or_else(|| Error::new(Class::Infrastructure, format!("libvirt has no network `{name}`")))
    }

    fn network(&self, name: &str) -> Result<Option<Network>> {
        match Network::lookup_by_name(&self.connection, name) {
            Ok(network) => Ok(Some(network)),
            Err(error) if error.code() == ErrorNumber::NoNetwork => Ok(None),
            Err(error) => Err(failed("cannot look for the lab's network")(error)),
        }
    }

    fn change_host(&self, network: &Network, command: sys::virNetworkUpdateCommand, host: &HostXml) -> Result<()> {
        let mut flags = sys::VIR_NETWORK_UPDATE_AFFECT_CONFIG;
        if network.is_active().map_err(failed("cannot ask for the network's state"))? {
            flags |= sys::VIR_NETWORK_UPDATE_AFFECT_LIVE;
        }
        network
            .update(command, sys::VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, &host.xml(), flags)
            .map_err(failed(format!("cannot change the reservation of {} ({})", host.ip, host.mac)))
    }

    /// Domains that carry the tag of this lab. Others are never shown, so never touched.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub fn domains(&self, lab: &str) -> Result<Vec<SeenDomain>> {
        let all = self.connection.list_all_domains(0).map_err(failed("cannot list libvirt's domains"))?;
        let mut seen = Vec::new();
        for domain in &all {
            let Some(tag) = tag_of(domain).filter(|tag| tag.name == lab) else { continue };
            let name = domain.get_name().map_err(failed("cannot read a domain's name"))?;
            // Another guest may end while we ask.
            let Some(state) = state_of(domain)? else { continue };
            seen.push(SeenDomain { name, state, run: domain.get_id(), digest: tag.digest, nonce: tag.nonce });
        }
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(seen)
    }

    /// Names of all domains that do not carry the tag of this lab.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub fn others(&self, lab: &str) -> Result<Vec<String>> {
        let all = self.connection.list_all_domains(0).map_err(failed("cannot list libvirt's domains"))?;
        let others = all.iter().filter(|domain| tag_of(domain).is_none_or(|tag| tag.name != lab));
        others.map(|domain| domain.get_name().map_err(failed("cannot read a domain's name"))).collect()
    }

    /// Defines a domain.
    ///
    /// # Errors
    /// When libvirt refuses the definition.
    pub fn define(&self, name: &str, xml: &str) -> Result<()> {
        Domain::define_xml(&self.connection, xml)
            .map(drop)
            .map_err(failed(format!("libvirt refuses the definition of `{name}`")))
    }

    /// Starts a domain.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, name: &str) -> Result<()> {
        self.domain(name)?.create().map(drop).map_err(failed(format!("cannot start `{name}`")))
    }

    /// State of a domain.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn state(&self, name: &str) -> Result<DomainState> {
        state_of(&self.domain(name)?)?.ok_or_else(|| {
            Error::new(Class::Infrastructure, format!("libvirt has no domain `{name}`")).evidence("it has just ended")
        })
    }

    /// Starts a domain that is not defined: when it ends, nothing of it is left in libvirt.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_transient(&self, name: &str, xml: &str) -> Result<()> {
        Domain::create_xml(&self.connection, xml, 0).map(drop).map_err(failed(format!("cannot start `{name}`")))
    }

    /// Starts a domain that is not defined, with its CPUs stopped; [`Libvirt::define`] keeps it from then on.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_paused(&self, name: &str, xml: &str) -> Result<()> {
        Domain::create_xml(&self.connection, xml, sys::VIR_DOMAIN_START_PAUSED)
            .map(drop)
            .map_err(failed(format!("cannot start `{name}`")))
    }

    /// Plugs a device into a running or paused domain, for this run only.
    ///
    /// # Errors
    /// When libvirt or the machine refuses.
    pub fn plug(&self, name: &str, device: &str) -> Result<()> {
        self.domain(name)?
            .attach_device_flags(device, sys::VIR_DOMAIN_AFFECT_LIVE)
            .map(drop)
            .map_err(failed(format!("cannot plug a device into `{name}`")))
    }

    /// Stops the CPUs of a running domain; its memory stays. A paused one stays paused.
    ///
    /// # Errors
    /// When libvirt refuses, or the hypervisor does not listen.
    pub fn pause(&self, name: &str) -> Result<()> {
        self.domain(name)?.suspend().map(drop).map_err(failed(format!("cannot pause `{name}`")))
    }

    /// Sends a command to the hypervisor's own monitor, and gives what it returns.
    ///
    /// # Errors
    /// When libvirt or the hypervisor refuses: its own words.
    pub fn monitor(&self, name: &str, command: &Value) -> Result<Value> {
        let what = || format!("`{name}` refuses the monitor command `{}`", command["execute"].as_str().unwrap_or(""));
        let answer =
            self.domain(name)?.qemu_monitor_command(&command.to_string(), 0).map_err(|error| failed(what())(error))?;
        let mut answer: Value = serde_json::from_str(&answer).or_error(Class::Infrastructure, what)?;
        match answer.get("error") {
            Some(error) => Err(Error::new(Class::Infrastructure, what())
                .evidence(error["desc"].as_str().unwrap_or_default().to_owned())),
            None => Ok(answer["return"].take()),
        }
    }

    /// Memory of the host that a running domain takes: what a snapshot of it will take at the most.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub fn resident(&self, name: &str) -> Result<Size> {
        let stats =
            self.domain(name)?.memory_stats(0).map_err(failed(format!("cannot ask for the memory of `{name}`")))?;
        let found = stats.iter().find(|stat| stat.tag == sys::VIR_DOMAIN_MEMORY_STAT_RSS);
        Ok(Size::bytes(found.map_or(0, |stat| stat.val * 1024)))
    }

    /// Memory and processors of the machine.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub fn machine(&self) -> Result<(Size, u32)> {
        let info = self.connection.get_node_info().map_err(failed("cannot ask for the machine's memory"))?;
        Ok((Size::bytes(info.memory * 1024), info.cpus))
    }

    /// Versions of libvirt and of the hypervisor, e.g. `11.3.0` and `10.0.2`.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub fn versions(&self) -> Result<(String, String)> {
        let text = |version: u32| format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000);
        let libvirt = self.connection.get_lib_version().map_err(failed("cannot ask for libvirt's version"))?;
        let qemu = self.connection.get_hyp_version().map_err(failed("cannot ask for the hypervisor's version"))?;
        Ok((text(libvirt), text(qemu)))
    }

    /// Lets the CPUs of a paused domain run again.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub fn resume(&self, name: &str) -> Result<()> {
        self.domain(name)?.resume().map(drop).map_err(failed(format!("cannot resume `{name}`")))
    }

    /// Cuts a domain's power, if it runs.
    ///
    /// # Errors
    /// When libvirt refuses, or the domain is somebody else's.
    pub fn power_off(&self, name: &str) -> Result<()> {
        let Some(domain) = self.own_domain(name)? else { return Ok(()) };
        match state_of(&domain)? {
            None | Some(DomainState::Off) => Ok(()),
            Some(_) => match domain.destroy() {
                // One that was never defined is gone as soon as it ends, perhaps by itself a moment ago.
                Err(error) if error.code() == ErrorNumber::NoDomain => Ok(()),
                ended => ended.map_err(failed(format!("cannot power off `{name}`"))),
            },
        }
    }

    /// Cuts a domain's power, if it runs, and forgets its definition.
    ///
    /// # Errors
    /// When libvirt refuses, or the domain is somebody else's.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.power_off(name)?;
        let Some(domain) = self.own_domain(name)? else { return Ok(()) };
        let flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;
        match domain.undefine_flags(flags).or_else(|_| domain.undefine()) {
            Err(error) if error.code() == ErrorNumber::NoDomain => Ok(()),
            removed => removed.map_err(failed(format!("cannot remove the definition of `{name}`"))),
        }
    }

    /// The domain of this name, if there is one, and only if it is of a lab: on a libvirt that others use, too, a name may
    /// be theirs.
    fn own_domain(&self, name: &str) -> Result<Option<Domain>> {
        let domain = match Domain::lookup_by_name(&self.connection, name) {
            Ok(domain) => domain,
            Err(error) if error.code() == ErrorNumber::NoDomain => return Ok(None),
            Err(error) => return Err(failed(format!("cannot look for `{name}`"))(error)),
        };
        match tag_of(&domain) {
            Some(_) => Ok(Some(domain)),
            None => Err(Error::new(Class::Infrastructure, format!("libvirt's domain `{name}` is not of a lab"))
                .hint("give the lab's node another name")),
        }
    }

    fn domain(&self, name: &str) -> Result<Domain> {
        Domain::lookup_by_name(&self.connection, name).map_err(failed(format!("libvirt has no domain `{name}`")))
    }
}

fn rendered(network: &NetworkDefinition) -> Result<String> {
    network.render().or_error(Class::Internal, || "cannot render the network".into())
}

/// Our tag on a domain, if it has one.
fn tag_of(domain: &Domain) -> Option<Tag> {
    let xml = domain.get_metadata(sys::VIR_DOMAIN_METADATA_ELEMENT as i32, Some(TAG), 0).ok()?;
    from_str(&xml).ok()
}

/// The state of a domain, if it is still there: one that was never defined is gone as soon as it ends.
fn state_of(domain: &Domain) -> Result<Option<DomainState>> {
    let (state, _reason) = match domain.get_state() {
        Err(error) if error.code() == ErrorNumber::NoDomain => return Ok(None),
        asked => asked.map_err(failed("cannot ask for a domain's state"))?,
    };
    Ok(Some(match state {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED | sys::VIR_DOMAIN_SHUTDOWN => DomainState::Running,
        sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED => DomainState::Paused,
        sys::VIR_DOMAIN_SHUTOFF => DomainState::Off,
        _ => DomainState::Crashed,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_that_has_ended_since_it_was_listed_has_no_state() {
        let libvirt = Libvirt::open("test:///default").expect("libvirt's test driver");
        let xml = "<domain type='test'><name>gone</name><memory>1024</memory><os><type>hvm</type></os></domain>";
        libvirt.start_transient("gone", xml).expect("it starts");
        let listed = libvirt.domain("gone").expect("it is there");
        assert_eq!(state_of(&listed).expect("libvirt answers"), Some(DomainState::Running));
        listed.destroy().expect("it ends");
        assert_eq!(state_of(&listed).expect("libvirt answers"), None);
        assert!(libvirt.state("gone").is_err());
    }
}
