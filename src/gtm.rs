//! The wire probe of a GTM (spec 2.8): a handshake as a client, its next GXID, which it does not consume, and its nodes.
//!
//! Only for gtm and its standby, never for a proxy: a proxy's worker dead-locks on an odd connection (spec 2.7).

use crate::{
    error::{Class, Error, Result, ResultExt},
    host::Host,
    lab::Role,
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// Longest node name plus its NUL (XC's NAMEDATALEN).
const NAME: usize = 64;
/// Remote type of a client that is none of the components.
const CLIENT: i32 = 6;
/// Message: get the next GXID without consuming it.
const NEXT_GXID: i32 = 34;
/// Result type of its answer.
const NEXT_GXID_RESULT: i32 = 20;
/// Message: get the list of registered nodes.
const NODE_LIST: i32 = 6;
/// Result type of its answer.
const NODE_LIST_RESULT: i32 = 3;
/// Status of a registered node that is there (XC's NODE_CONNECTED).
const CONNECTED: u32 = 0;
/// Message: what a GTM tells its standby when it gave out several GXIDs. There is no answer. That for a single one (14) is
/// none: 1.0.2 lacks a `break` behind it, and reports an error.
const GAVE_GXIDS: i32 = 16;
/// Message: what a GTM tells its standby when that transaction was rolled back. There is no answer.
const ROLLED_BACK: i32 = 28;
/// Message: that transaction is rolled back, by whomever.
const ROLL_BACK: i32 = 27;
/// Result type of its answer.
const ROLL_BACK_RESULT: i32 = 16;
/// Isolation level of a transaction (XC's GTM_ISOLATION_RC).
const READ_COMMITTED: i32 = 1;
/// The last of a GTM's slots for transactions; a GTM takes them in order, so this one is free (XC's
/// GTM_MAX_GLOBAL_TRANSACTIONS).
const LAST_SLOT: i32 = 4095;
/// How many GXIDs a standby may be behind: more than are given out while both are asked, or before the last words of a
/// GTM that dies reach its standby. A GTM that crashed goes on a million further than it was.
pub const LAG: u32 = 10_000;
/// Longest answer that we read: node lists of the largest clusters are far below.
const LONGEST_ANSWER: usize = 1 << 20;

/// Asks a GTM for its next GXID.
///
/// # Errors
/// When nothing answers, or not in the GTM's protocol.
pub async fn next_gxid(host: &Host, address: Ipv4Addr, port: u16, patience: Duration) -> Result<u32> {
    probe(host, (address, port), patience, async |session| session.next_gxid().await).await
}

/// Asks a GTM who is registered, in the order of its register.
///
/// # Errors
/// When nothing answers, or not in the GTM's protocol.
pub async fn node_list(host: &Host, address: Ipv4Addr, port: u16, patience: Duration) -> Result<Vec<Registered>> {
    probe(host, (address, port), patience, async |session| session.nodes().await).await
}

/// Has a GTM hold these GXIDs open no longer; whether their transactions were committed is a matter of the nodes that have
/// them. GXIDs that it does not hold open any more are passed over.
///
/// # Errors
/// When nothing answers, or not in the GTM's protocol.
pub async fn close(host: &Host, address: Ipv4Addr, port: u16, gxids: &[u32], patience: Duration) -> Result<()> {
    for gxid in gxids {
        // A session each: an error of the GTM, which one that is closed already gives, ends no other's.
        let closed = probe(host, (address, port), patience, async |session| session.close(*gxid).await);
        closed.await.map_err(|error| error.context(format!("GXID {gxid} stays open at the GTM")))?;
    }
    Ok(())
}

/// Whether a standby of this name follows the GTM at `active`: it answers, is registered there and is not behind.
///
/// # Errors
/// Why it does not.
pub async fn follows(
    host: &Host,
    standby: (Ipv4Addr, u16),
    name: &str,
    active: (Ipv4Addr, u16),
    patience: Duration,
) -> Result<()> {
    let (nodes, ahead) =
        probe(host, active, patience, async |session| Ok((session.nodes().await?, session.next_gxid().await?))).await?;
    let now = next_gxid(host, standby.0, standby.1, patience).await?;
    let lost = |what: String| Err(Error::new(Class::Cluster, what));
    // Names that the GTM read back from register.node may have bytes too many (spec 2.4).
    if !nodes.iter().any(|node| node.role == Role::GtmStandby && node.connected && node.name.starts_with(name)) {
        return lost(format!("it answers, but the GTM does not know it as its standby `{name}`"));
    }
    if is_far_before(now, ahead) {
        return lost(format!("it answers, but is at GXID {now} while the GTM is at {ahead}"));
    }
    Ok(())
}

/// Whether one GXID comes before another. They wrap around: which one is later is a matter of the shorter way (XC's
/// TransactionIdPrecedes).
pub fn is_before(gxid: u32, other: u32) -> bool {
    gxid.wrapping_sub(other) > u32::MAX / 2
}

/// Whether one GXID comes so long before another that a standby there does not follow a GTM here.
pub fn is_far_before(gxid: u32, other: u32) -> bool {
    is_before(gxid, other) && other.wrapping_sub(gxid) > LAG
}

/// Makes a standby go on behind this GXID, as if its GTM had given it out; gives its next one.
///
/// A standby of 1.0.2 is behind by one half of the time: its counter is moved only by a GXID beyond it, not by the one that
/// it points at (XC's GTM_BkupBeginTransactionGetGXIDMulti). Promoted as it is, it gives the last GXID a second time.
///
/// # Errors
/// When it does not answer, or did not move.
pub async fn skip(host: &Host, standby: (Ipv4Addr, u16), gxid: u32, patience: Duration) -> Result<u32> {
    let next = probe(host, standby, patience, async |session| {
        session.tell(&given_out(gxid)).await?;
        session.tell(&rolled_back(gxid)).await?;
        session.next_gxid().await
    })
    .await?;
    if !is_before(gxid, next) {
        return Err(Error::new(Class::Cluster, format!("the standby stays at GXID {next} and does not skip {gxid}")));
    }
    Ok(next)
}

fn given_out(gxid: u32) -> Vec<u8> {
    let numbers = [GAVE_GXIDS, 1, LAST_SLOT, gxid.cast_signed(), READ_COMMITTED];
    // In the end: not read-only, and of no connection of a proxy.
    [&numbers.map(i32::to_be_bytes).concat()[..], &[0], &[0xff; 2]].concat()
}

fn rolled_back(gxid: u32) -> Vec<u8> {
    about(ROLLED_BACK, gxid)
}

/// A message about a transaction.
fn about(message: i32, gxid: u32) -> Vec<u8> {
    // The one number that is in host order; the 1 says that it is a GXID.
    [&message.to_be_bytes()[..], &[1], &gxid.to_ne_bytes()].concat()
}

/// A session with a GTM, the questions in it, and its end, all within one patience.
async fn probe<T>(
    host: &Host,
    (address, port): (Ipv4Addr, u16),
    patience: Duration,
    questions: impl AsyncFnOnce(&mut Session<TcpStream>) -> io::Result<T>,
) -> Result<T> {
    let place = SocketAddr::from((address, port));
    let probe = async {
        let socket = host.connect(place, patience).await?;
        let mut session = Session::begin(socket).await?;
        let answers = questions(&mut session).await;
        // It ends the session at the end of the connection just as well.
        let _ = session.socket.write_all(&[b'X', 0, 0, 0, 4]).await;
        answers
    };
    tokio::time::timeout(patience, probe)
        .await
        .map_err(|_| {
            Error::new(Class::Cluster, format!("the GTM at {place} did not answer within {} s", patience.as_secs()))
        })?
        .or_error(Class::Cluster, || format!("the GTM at {place} does not answer"))
}

/// A component as a GTM has it in its register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// What it is; a standby of the GTM is a [`Role::GtmStandby`].
    pub role: Role,
    /// Its own name.
    pub name: String,
    /// Its port.
    pub port: u32,
    /// Whether the connection that it registered over is still there.
    pub connected: bool,
}

/// An open session, as a client that is none of the components.
struct Session<S> {
    socket: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    async fn begin(mut socket: S) -> io::Result<Session<S>> {
        let mut start = Vec::new();
        start.push(b'A');
        start.extend_from_slice(&(4 + NAME as i32 + 8).to_be_bytes());
        start.extend_from_slice(&[0u8; NAME]);
        start.extend_from_slice(&CLIENT.to_ne_bytes());
        // Not a postmaster's connection, and the padding of the C structure.
        start.extend_from_slice(&[0u8; 4]);
        socket.write_all(&start).await?;
        match read_message(&mut socket).await? {
            (b'R', _) => Ok(Session { socket }),
            _ => Err(odd("it refuses the handshake")),
        }
    }

    /// The next GXID, which it does not consume.
    async fn next_gxid(&mut self) -> io::Result<u32> {
        let body = self.ask(NEXT_GXID, NEXT_GXID_RESULT).await?;
        // In network order (XC's gtm_txn.c sends it by pq_sendint).
        body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(|| odd("it answers without a GXID"))
    }

    /// The nodes that it has registered.
    async fn nodes(&mut self) -> io::Result<Vec<Registered>> {
        let body = self.ask(NODE_LIST, NODE_LIST_RESULT).await?;
        read_nodes(&body).ok_or_else(|| odd("its list of nodes makes no sense"))
    }

    /// Has it hold a GXID open no longer.
    async fn close(&mut self, gxid: u32) -> io::Result<()> {
        self.tell(&about(ROLL_BACK, gxid)).await?;
        let body = self.answer(ROLL_BACK_RESULT).await?;
        // The GXID again, in host order.
        match body.first_chunk() == Some(&gxid.to_ne_bytes()) {
            true => Ok(()),
            false => Err(odd("it answers about another GXID")),
        }
    }

    /// A message of this content.
    async fn tell(&mut self, content: &[u8]) -> io::Result<()> {
        let length = 4 + content.len() as i32;
        self.socket.write_all(&[b"C", &length.to_be_bytes()[..], content].concat()).await
    }

    /// What follows the type of the answer.
    async fn ask(&mut self, question: i32, result: i32) -> io::Result<Vec<u8>> {
        self.tell(&question.to_be_bytes()).await?;
        self.answer(result).await
    }

    /// What follows the type of the next answer, which must be this.
    async fn answer(&mut self, result: i32) -> io::Result<Vec<u8>> {
        match read_message(&mut self.socket).await? {
            (b'S', mut body) if body.first_chunk() == Some(&result.to_be_bytes()) => Ok(body.split_off(4)),
            _ => Err(odd("it answers something else than it was asked for")),
        }
    }
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// The records of XC's gtm_serialize.c: each with its length in network order, inside in the order of its host, as all
/// guests are x86-64.
fn read_nodes(body: &[u8]) -> Option<Vec<Registered>> {
    let mut list = Reader(body);
    let mut nodes = Vec::new();
    for _ in 0..list.network()? {
        let length = list.network()?;
        let mut record = Reader(list.take(length)?);
        let kind = record.host()?;
        let name = record.text()?;
        let _proxy = record.text()?;
        let port = record.host()?;
        let _address = record.text()?;
        let _directory = record.text()?;
        let connected = record.host()? == CONNECTED;
        let role = match kind {
            1 => Role::GtmProxy,
            3 => Role::Coordinator,
            4 => Role::Datanode,
            5 => Role::GtmStandby,
            _ => return None,
        };
        nodes.push(Registered { role, name, port, connected });
    }
    Some(nodes)
}

/// Cuts numbers and texts off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: u32) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(front)
    }

    fn network(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn host(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.host()?;
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

async fn read_message(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let kind = socket.read_u8().await?;
    let length = socket.read_i32().await?;
    let length = usize::try_from(length - 4).ok().filter(|length| *length <= LONGEST_ANSWER);
    let length =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message of an impossible length"))?;
    let mut body = vec![0u8; length];
    socket.read_exact(&mut body).await?;
    Ok((kind, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_gxid_is_read_in_network_order() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let gtm = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a client");
            let mut start = [0u8; 1 + 76];
            socket.read_exact(&mut start).await.expect("the handshake");
            assert_eq!(start[..5], [b'A', 0, 0, 0, 76]);
            socket.write_all(&[b'R', 0, 0, 0, 4]).await.expect("it listens");
            let mut question = [0u8; 9];
            socket.read_exact(&mut question).await.expect("the question");
            assert_eq!(question, [b'C', 0, 0, 0, 8, 0, 0, 0, 34]);
            // As the real GTM of 1.0.2 answers at GXID 10313.
            socket.write_all(&[b'S', 0, 0, 0, 12, 0, 0, 0, 20, 0, 0, 0x28, 0x49]).await.expect("it listens");
        });
        let socket = TcpStream::connect(address).await.expect("it listens");
        let mut session = Session::begin(socket).await.expect("a session");
        assert_eq!(session.next_gxid().await.expect("an answer"), 10313);
        gtm.await.expect("it served");
    }

    #[tokio::test]
    async fn a_gxid_is_closed_when_the_gtm_says_so() {
        for (answered, closed) in [(11756u32, true), (11757, false)] {
            let (socket, mut gtm) = tokio::io::duplex(100);
            gtm.write_all(&[&[b'S', 0, 0, 0, 16, 0, 0, 0, 16][..], &answered.to_ne_bytes(), &[0; 4]].concat())
                .await
                .expect("there is room");
            let outcome = Session { socket }.close(11756).await;
            assert_eq!(outcome.is_ok(), closed, "{outcome:?}");
            let mut message = [0u8; 14];
            gtm.read_exact(&mut message).await.expect("it was told");
            assert_eq!(message, *[&[b'C', 0, 0, 0, 13, 0, 0, 0, 27, 1][..], &11756u32.to_ne_bytes()].concat());
        }
    }

    #[test]
    fn a_node_list_is_read() {
        let text = |text: &str| [&u32::try_from(text.len()).expect("short").to_le_bytes(), text.as_bytes()].concat();
        let record = |kind: u32, name: &str, proxy: &str, port: u32, status: u32| {
            let number = |number: u32| number.to_le_bytes().to_vec();
            let parts =
                [number(kind), text(name), text(proxy), number(port), text("10.0.0.1"), text(""), number(status)];
            parts.concat()
        };
        let mut body = 2u32.to_be_bytes().to_vec();
        for record in [record(4, "datanode_1", "1", 1923, 0), record(5, "two", "", 1921, 1)] {
            body.extend(u32::try_from(record.len()).expect("short").to_be_bytes());
            body.extend(record);
        }
        let nodes = read_nodes(&body).expect("a list");
        let datanode = Registered { role: Role::Datanode, name: "datanode_1".into(), port: 1923, connected: true };
        assert_eq!(nodes[0], datanode);
        assert_eq!((nodes[1].role, nodes[1].name.as_str(), nodes[1].connected), (Role::GtmStandby, "two", false));
        assert!(read_nodes(&body[..body.len() - 1]).is_none(), "one byte is missing");
    }

    #[test]
    fn a_standby_is_told_as_by_its_gtm() {
        let numbers = [[0, 0, 0, 16], [0, 0, 0, 1], [0, 0, 15, 255], [0, 0, 0x28, 0x49], [0, 0, 0, 1]];
        assert_eq!(given_out(10313), [&numbers.concat()[..], &[0, 255, 255]].concat());
        assert_eq!(rolled_back(10313), [&[0, 0, 0, 28, 1][..], &10313u32.to_ne_bytes()].concat());
    }

    #[test]
    fn a_standby_may_be_a_little_behind() {
        assert!(!is_far_before(10_000, 10_001) && !is_far_before(10_001, 10_000));
        assert!(is_far_before(10_000, 1_010_000));
    }

    #[test]
    fn gxids_wrap_around() {
        assert!(is_before(5, 7) && !is_before(7, 5) && !is_before(7, 7));
        assert!(is_before(u32::MAX, 3) && !is_before(3, u32::MAX));
    }
}
