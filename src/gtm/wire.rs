//! The protocol of a GTM, as a client that is none of the components speaks it (spec 2.8).

use super::{Registered, Registration};
use crate::lab::Role;
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest node name plus its NUL (XC's NAMEDATALEN).
const NAME: usize = 64;
/// Remote type of a client that is none of the components.
const CLIENT: i32 = 6;
/// Kinds in the register (XC's GTM_PGXCNodeType).
const KINDS: [(u32, Role); 4] =
    [(1, Role::GtmProxy), (3, Role::Coordinator), (4, Role::Datanode), (STANDBY, Role::GtmStandby)];
/// A standby of the GTM among them.
const STANDBY: u32 = 5;
/// Status of a registered node that is there (XC's NODE_CONNECTED).
const CONNECTED: u32 = 0;
/// Isolation level of a transaction (XC's GTM_ISOLATION_RC).
const READ_COMMITTED: i32 = 1;
/// State of a transaction that is being prepared, and of one that is (XC's GTM_TransactionStates).
const PREPARED: std::ops::RangeInclusive<u32> = 2..=3;
/// How many places a GTM has for open transactions; it takes them in order, around and around (XC's
/// GTM_MAX_GLOBAL_TRANSACTIONS).
pub(super) const PLACES: u32 = 4096;
/// Longest answer that we read: a list of as many open transactions as there are places, each with a snapshot of a
/// thousand of them.
const LONGEST_ANSWER: usize = 1 << 24;

/// Messages of 1.0.2, by the numbers of its `GTM_MessageType`. Other releases shift them.
mod message {
    /// Enter a node into the register.
    pub const REGISTER: i32 = 2;
    /// Strike a node from the register.
    pub const UNREGISTER: i32 = 4;
    /// Get the list of registered nodes.
    pub const NODE_LIST: i32 = 6;
    /// What a GTM tells its standby when it gave out several GXIDs. There is no answer. That for a single one (14) is none:
    /// 1.0.2 lacks a `break` behind it, and reports an error.
    pub const GAVE_GXIDS: i32 = 16;
    /// What a GTM tells its standby when a transaction is about to be prepared by a name, and on which nodes. There is no
    /// answer. 1.0.2 tells it wrong: the standby does not find the transaction.
    pub const PREPARES: i32 = 18;
    /// What it tells when that is so. There is no answer.
    pub const PREPARED: i32 = 26;
    /// A transaction is rolled back, by whomever.
    pub const ROLL_BACK: i32 = 27;
    /// What a GTM tells its standby when that transaction was rolled back. There is no answer.
    pub const ROLLED_BACK: i32 = 28;
    /// Get the next GXID without consuming it.
    pub const NEXT_GXID: i32 = 34;
    /// Get what is open. A standby refuses it.
    pub const OPEN: i32 = 35;
}

/// Their answers, by the numbers of `GTM_ResultType`.
mod answer {
    pub const REGISTER: i32 = 1;
    pub const UNREGISTER: i32 = 2;
    pub const NODE_LIST: i32 = 3;
    pub const ROLL_BACK: i32 = 16;
    pub const NEXT_GXID: i32 = 20;
    pub const OPEN: i32 = 21;
}

/// An open transaction, as a GTM lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Open {
    pub gxid: u32,
    /// Where the GTM looks for it, which is not always where it is.
    pub number: u32,
    /// Whether it is prepared, or about to be.
    pub is_prepared: bool,
    /// By which name, and on which nodes, if the GTM knows.
    pub name: Vec<u8>,
    pub nodes: Vec<u8>,
}

/// An open session.
pub(super) struct Session<S> {
    pub(super) socket: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) async fn begin(mut socket: S) -> io::Result<Session<S>> {
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

    /// Says good-bye. It ends the session at the end of the connection just as well.
    pub(super) async fn end(mut self) {
        let _ = self.socket.write_all(&[b'X', 0, 0, 0, 4]).await;
    }

    /// The next GXID, which it does not consume.
    pub(super) async fn next_gxid(&mut self) -> io::Result<u32> {
        let body = self.ask(&message::NEXT_GXID.to_be_bytes(), answer::NEXT_GXID).await?;
        // In network order (XC's gtm_txn.c sends it by pq_sendint).
        body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(|| odd("it answers without a GXID"))
    }

    /// The nodes that it has registered.
    pub(super) async fn nodes(&mut self) -> io::Result<Vec<Registered>> {
        let body = self.ask(&message::NODE_LIST.to_be_bytes(), answer::NODE_LIST).await?;
        read_nodes(&body).ok_or_else(|| odd("its list of nodes makes no sense"))
    }

    /// Enters a node into its register.
    pub(super) async fn register(&mut self, node: &Registration<'_>) -> io::Result<()> {
        let (kind, _) =
            KINDS.iter().find(|(_, role)| *role == node.role).ok_or_else(|| odd("a GTM registers nowhere"))?;
        let question = [
            &message::REGISTER.to_be_bytes()[..],
            &kind.to_ne_bytes(),
            &text(node.name.as_bytes()),
            &text(node.address.to_string().as_bytes()),
            &u32::from(node.port).to_ne_bytes(),
            &text(node.proxy.as_bytes()),
            &text(node.directory.as_bytes()),
            &CONNECTED.to_be_bytes(),
        ];
        self.ask(&question.concat(), answer::REGISTER).await.map(drop)
    }

    /// Strikes a standby from its register, if it is there.
    pub(super) async fn unregister_standby(&mut self, name: &str) -> io::Result<()> {
        let numbers = [message::UNREGISTER.to_be_bytes(), STANDBY.to_ne_bytes()].concat();
        self.tell(&[numbers, text(name.as_bytes())].concat()).await?;
        // An error says that there is none.
        self.answer(answer::UNREGISTER).await.map(drop)
    }

    /// What it holds open, in the order of its places.
    pub(super) async fn open(&mut self) -> io::Result<Vec<Open>> {
        let body = self.ask(&message::OPEN.to_be_bytes(), answer::OPEN).await?;
        read_open(&body).ok_or_else(|| odd("its list of open transactions makes no sense"))
    }

    /// Has it hold a GXID open no longer. It finds the number that it has noted for the GXID, and ends what is in that place, if
    /// anything.
    pub(super) async fn roll_back(&mut self, gxid: u32) -> io::Result<()> {
        let body = self.ask(&about(message::ROLL_BACK, gxid), answer::ROLL_BACK).await?;
        // The GXID again, in host order.
        match body.first_chunk() == Some(&gxid.to_ne_bytes()) {
            true => Ok(()),
            false => Err(odd("it answers about another GXID")),
        }
    }

    /// Tells it that this GXID was given out in this place.
    pub(super) async fn gave_out(&mut self, gxid: u32, place: u32) -> io::Result<()> {
        self.tell(&given_out(gxid, place)).await
    }

    /// Tells it that this one is about to be prepared.
    pub(super) async fn prepares(&mut self, gxid: u32, name: &[u8], nodes: &[u8]) -> io::Result<()> {
        self.tell(&[about(message::PREPARES, gxid), text(name), text(nodes)].concat()).await
    }

    /// Tells it that this one is prepared.
    pub(super) async fn prepared(&mut self, gxid: u32) -> io::Result<()> {
        self.tell(&about(message::PREPARED, gxid)).await
    }

    /// Tells it that this GXID was rolled back.
    pub(super) async fn rolled_back(&mut self, gxid: u32) -> io::Result<()> {
        self.tell(&about(message::ROLLED_BACK, gxid)).await
    }

    /// A message of this content.
    async fn tell(&mut self, content: &[u8]) -> io::Result<()> {
        let length = 4 + content.len() as i32;
        self.socket.write_all(&[b"C", &length.to_be_bytes()[..], content].concat()).await
    }

    /// What follows the type of the answer to this message.
    async fn ask(&mut self, question: &[u8], result: i32) -> io::Result<Vec<u8>> {
        self.tell(question).await?;
        self.answer(result).await?.ok_or_else(|| odd("it refuses what it was asked for"))
    }

    /// What follows the type of the next answer, which must be this; nothing when it is an error.
    async fn answer(&mut self, result: i32) -> io::Result<Option<Vec<u8>>> {
        match read_message(&mut self.socket).await? {
            (b'S', mut body) if body.first_chunk() == Some(&result.to_be_bytes()) => Ok(Some(body.split_off(4))),
            (b'E', _) => Ok(None),
            _ => Err(odd("it answers something else than it was asked for")),
        }
    }
}

pub(super) fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// A text as it is told, behind its length.
fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text].concat()
}

fn given_out(gxid: u32, place: u32) -> Vec<u8> {
    let numbers = [message::GAVE_GXIDS, 1, place.cast_signed(), gxid.cast_signed(), READ_COMMITTED];
    // In the end: not read-only, and of no connection of a proxy.
    [&numbers.map(i32::to_be_bytes).concat()[..], &[0], &[0xff; 2]].concat()
}

/// A message about a transaction.
fn about(message: i32, gxid: u32) -> Vec<u8> {
    // The one number that is in host order; the 1 says that it is a GXID.
    [&message.to_be_bytes()[..], &[1], &gxid.to_ne_bytes()].concat()
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
        let (_, role) = *KINDS.iter().find(|(known, _)| *known == kind)?;
        nodes.push(Registered { role, name, port, connected });
    }
    Some(nodes)
}

/// `gtm_serialize_transactions`: eleven numbers of the GTM, how many are open, and each with its length in eight bytes.
fn read_open(body: &[u8]) -> Option<Vec<Open>> {
    let mut list = Reader(body);
    let length = list.network()?;
    list = Reader(list.take(length)?);
    list.take(11 * 4)?;
    let mut open = Vec::new();
    for _ in 0..list.host()? {
        let length = list.host()?;
        list.take(4)?;
        let mut record = Reader(list.take(length)?);
        let number = record.host()?;
        // The thread that has it, and that it is in use.
        record.take(8 + 1)?;
        let gxid = record.host()?;
        let is_prepared = PREPARED.contains(&record.host()?);
        let _coordinator = record.bytes()?;
        // Its oldest other, its level, whether it only reads, and its session at a proxy.
        record.take(4 + 4 + 1 + 2)?;
        let nodes = record.bytes()?;
        let name = record.bytes()?;
        open.push(Open { gxid, number, is_prepared, name, nodes });
    }
    Some(open)
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

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = self.host()?;
        Some(self.take(length)?.to_vec())
    }

    fn text(&mut self) -> Option<String> {
        Some(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }
}

async fn read_message(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let kind = socket.read_u8().await?;
    let length = socket.read_i32().await?;
    let length = usize::try_from(length - 4).ok().filter(|length| *length <= LONGEST_ANSWER);
    let length = length.ok_or_else(|| odd("a message of an impossible length"))?;
    let mut body = vec![0u8; length];
    socket.read_exact(&mut body).await?;
    Ok((kind, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::{TcpListener, TcpStream};

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
            let outcome = Session { socket }.roll_back(11756).await;
            assert_eq!(outcome.is_ok(), closed, "{outcome:?}");
            let mut message = [0u8; 14];
            gtm.read_exact(&mut message).await.expect("it was told");
            assert_eq!(message, *[&[b'C', 0, 0, 0, 13, 0, 0, 0, 27, 1][..], &11756u32.to_ne_bytes()].concat());
        }
    }

    #[tokio::test]
    async fn a_node_is_entered_into_the_register() {
        let (socket, mut gtm) = tokio::io::duplex(200);
        gtm.write_all(&[b'S', 0, 0, 0, 8, 0, 0, 0, 1]).await.expect("there is room");
        let node = Registration {
            role: Role::Datanode,
            name: "dn",
            address: Ipv4Addr::new(10, 0, 0, 7),
            port: 1923,
            proxy: "1",
            directory: "/d",
        };
        Session { socket }.register(&node).await.expect("it answers");
        let mut message = Vec::new();
        gtm.read_to_end(&mut message).await.expect("it was told");
        let told = [
            &[b'C', 0, 0, 0, 49, 0, 0, 0, 2][..],
            &4u32.to_ne_bytes(),
            b"\0\0\0\x02dn\0\0\0\x0810.0.0.7",
            &1923u32.to_ne_bytes(),
            b"\0\0\0\x011\0\0\0\x02/d\0\0\0\0",
        ];
        assert_eq!(message, told.concat());
    }

    #[tokio::test]
    async fn a_standby_is_struck_from_the_register_if_it_is_there() {
        for (answer, fits) in [
            (vec![b'S', 0, 0, 0, 19, 0, 0, 0, 2, 5, 0, 0, 0, 0, 0, 0, 3, b't', b'w', b'o'], true),
            (vec![b'E', 0, 0, 0, 5, 0], true),
            (vec![b'S', 0, 0, 0, 8, 0, 0, 0, 1], false),
        ] {
            let (socket, mut gtm) = tokio::io::duplex(100);
            gtm.write_all(&answer).await.expect("there is room");
            assert_eq!(Session { socket }.unregister_standby("two").await.is_ok(), fits, "{answer:?}");
            let mut message = [0u8; 20];
            gtm.read_exact(&mut message).await.expect("it was told");
            let told = [&[b'C', 0, 0, 0, 19, 0, 0, 0, 4][..], &5u32.to_ne_bytes(), &[0, 0, 0, 3], b"two"].concat();
            assert_eq!(message, *told);
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
        assert_eq!(given_out(10313, 4095), [&numbers.concat()[..], &[0, 255, 255]].concat());
        assert_eq!(about(message::ROLLED_BACK, 10313), [&[0, 0, 0, 28, 1][..], &10313u32.to_ne_bytes()].concat());
    }
}
