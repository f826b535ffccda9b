//! The wire probe of a GTM (spec 2.8): a handshake as a client, and the next GXID, which it does not consume.
//!
//! Only for gtm and its standby, never for a proxy: a proxy's worker dead-locks on an odd connection (spec 2.7).

use crate::{
    error::{Class, Error, Result, ResultExt},
    host::Private,
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
/// Message: get the next GXID without consuming it.
const NEXT_GXID: i32 = 34;
/// Result type of its answer.
const NEXT_GXID_RESULT: i32 = 20;
/// Longest answer that we read: node lists of the largest clusters are far below.
const LONGEST_ANSWER: usize = 1 << 20;

/// Asks a GTM for its next GXID.
///
/// # Errors
/// When nothing answers, or not in the GTM's protocol.
pub async fn next_gxid(host: &Private, address: Ipv4Addr, port: u16, patience: Duration) -> Result<u32> {
    let place = SocketAddr::from((address, port));
    let probe = async {
        let socket = host.connect(place, patience).await?;
        ask(socket).await
    };
    tokio::time::timeout(patience, probe)
        .await
        .map_err(|_| {
            Error::new(Class::Cluster, format!("the GTM at {place} did not answer within {} s", patience.as_secs()))
        })?
        .or_error(Class::Cluster, || format!("the GTM at {place} does not answer"))
}

async fn ask(mut socket: TcpStream) -> io::Result<u32> {
    let odd = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
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
    let mut question = vec![b'C'];
    question.extend_from_slice(&8i32.to_be_bytes());
    question.extend_from_slice(&NEXT_GXID.to_be_bytes());
    socket.write_all(&question).await?;
    let (kind, body) = read_message(&mut socket).await?;
    let _ = socket.write_all(&[b'X', 0, 0, 0, 4]).await;
    if kind != b'S' || body.len() < 8 || body[..4] != NEXT_GXID_RESULT.to_be_bytes() {
        return Err(odd("it answers something else than a GXID"));
    }
    // Both in network order (XC's gtm_txn.c sends them by pq_sendint).
    Ok(u32::from_be_bytes([body[4], body[5], body[6], body[7]]))
}

async fn read_message(socket: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
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
        assert_eq!(ask(socket).await.expect("an answer"), 10313);
        gtm.await.expect("it served");
    }
}
