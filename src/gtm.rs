//! The wire probe of a GTM (spec 2.8): a handshake as a client, and questions that change nothing: the next GXID, which
//! is not consumed, and who is registered.
//!
//! Only for gtm and its standby, never for a proxy: a proxy's worker dead-locks on an odd connection (spec 2.7).

use crate::{
    error::{Class, Error, Result, ResultExt},
    host::Private,
    lab::Role,
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longest node name plus its NUL (XC's NAMEDATALEN).
const NAME: usize = 64;
/// Remote type of a client that is none of the components.
const CLIENT: i32 = 6;
/// Longest answer that we read: node lists of the largest clusters are far below.
const LONGEST_ANSWER: usize = 1 << 20;

/// A question: the number of its message and of its answer's result, in the enumerations of 1.0.2's gtm_msg.h.
struct Question {
    message: i32,
    result: i32,
    what: &'static str,
}

const NEXT_GXID: Question = Question { message: 34, result: 20, what: "a GXID" };
const NODE_LIST: Question = Question { message: 6, result: 3, what: "a list of nodes" };

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

/// Asks a GTM for its next GXID.
///
/// # Errors
/// When nothing answers, or not in the GTM's protocol.
pub async fn next_gxid(host: &Private, address: Ipv4Addr, port: u16, patience: Duration) -> Result<u32> {
    let place = SocketAddr::from((address, port));
    // In network order (XC's gtm_txn.c sends it by pq_sendint).
    ask(host, place, &NEXT_GXID, patience, |body| Reader(body).network()).await
}

/// Asks a GTM who is registered, in the order of its register.
///
/// # Errors
/// When nothing answers, or not in the GTM's protocol.
pub async fn node_list(host: &Private, address: Ipv4Addr, port: u16, patience: Duration) -> Result<Vec<Registered>> {
    ask(host, SocketAddr::from((address, port)), &NODE_LIST, patience, read_nodes).await
}

async fn ask<T>(
    host: &Private,
    place: SocketAddr,
    question: &Question,
    patience: Duration,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<T> {
    let probe = async {
        let body = exchange(host.connect(place, patience).await?, question).await?;
        read(&body).ok_or_else(|| odd(&format!("its answer is not {}", question.what)))
    };
    tokio::time::timeout(patience, probe)
        .await
        .map_err(|_| {
            Error::new(Class::Cluster, format!("the GTM at {place} did not answer within {} s", patience.as_secs()))
        })?
        .or_error(Class::Cluster, || format!("the GTM at {place} does not answer"))
}

/// Sends the handshake and the question, and gives the answer behind its result number.
async fn exchange(mut socket: TcpStream, question: &Question) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    start.push(b'A');
    start.extend_from_slice(&(4 + NAME as i32 + 8).to_be_bytes());
    start.extend_from_slice(&[0u8; NAME]);
    start.extend_from_slice(&CLIENT.to_ne_bytes());
    // Not a postmaster's connection, and the padding of the C structure.
    start.extend_from_slice(&[0u8; 4]);
    socket.write_all(&start).await?;
    let (kind, _) = read_message(&mut socket).await?;
    if kind != b'R' {
        return Err(odd("it refuses the handshake"));
    }
    let mut message = vec![b'C'];
    message.extend_from_slice(&8i32.to_be_bytes());
    message.extend_from_slice(&question.message.to_be_bytes());
    socket.write_all(&message).await?;
    let (kind, mut body) = read_message(&mut socket).await?;
    let _ = socket.write_all(&[b'X', 0, 0, 0, 4]).await;
    if kind != b'S' || body.get(..4) != Some(&question.result.to_be_bytes()[..]) {
        return Err(odd(&format!("it answers something else than {}", question.what)));
    }
    Ok(body.split_off(4))
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
        let connected = record.host()? == 0;
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

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

async fn read_message(socket: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
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
    use tokio::net::TcpListener;

    /// Plays a GTM that is asked this question and answers so.
    async fn asked(question: &'static Question, number: u8, answer: &'static [u8]) -> io::Result<Vec<u8>> {
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
            assert_eq!(question, [b'C', 0, 0, 0, 8, 0, 0, 0, number]);
            socket.write_all(answer).await.expect("it listens");
        });
        let socket = TcpStream::connect(address).await.expect("it listens");
        let body = exchange(socket, question).await;
        gtm.await.expect("it served");
        body
    }

    #[tokio::test]
    async fn a_gxid_is_read_in_network_order() {
        // As the real GTM of 1.0.2 answers at GXID 10313.
        let answer = &[b'S', 0, 0, 0, 12, 0, 0, 0, 20, 0, 0, 0x28, 0x49];
        let body = asked(&NEXT_GXID, 34, answer).await.expect("an answer");
        assert_eq!(Reader(&body).network(), Some(10313));
        assert!(asked(&NODE_LIST, 6, answer).await.is_err(), "the answer to another question");
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
}
