//! Connections and questions from inside another network namespace, made by a process that stays outside.

use crate::lab::Mac;
use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{setsockopt, sockopt::BindToDevice},
};
use std::{
    ffi::OsString,
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Connects to `address` as seen inside the network namespace of process `pid`.
///
/// A socket belongs for ever to the network namespace that it was made in, so one short-lived thread enters the
/// namespace, connects and hands the socket out; no other thread of ours ever is inside.
///
/// # Errors
/// When the namespace is gone or nothing accepts within `patience`.
pub async fn connect(pid: i32, address: SocketAddr, patience: Duration) -> io::Result<tokio::net::TcpStream> {
    let (answer, socket) = oneshot::channel();
    std::thread::spawn(move || {
        // The receiver is gone when the caller was cancelled; the socket then closes here.
        let _ = answer.send(enter_and_connect(pid, address, patience));
    });
    let socket = socket.await.map_err(|_| io::Error::other("the connecting thread ended"))??;
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    tokio::net::TcpStream::from_std(socket)
}

fn enter_and_connect(pid: i32, address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    TcpStream::connect_timeout(&address, patience)
}

/// Which DHCP server offers an address to a card that nobody knows, as seen from a device without an address in the network
/// namespace of process `pid`; nothing: none does within `patience`. The offer is never taken up.
///
/// # Errors
/// When the namespace is gone or lets nothing out.
pub async fn dhcp_offer(pid: i32, device: &str, card: Mac, patience: Duration) -> io::Result<Option<Ipv4Addr>> {
    let (answer, offer) = oneshot::channel();
    let device = device.to_owned();
    std::thread::spawn(move || {
        let _ = answer.send(enter_and_discover(pid, &device, card, patience));
    });
    offer.await.map_err(|_| io::Error::other("the asking thread ended"))?
}

fn enter_and_discover(pid: i32, device: &str, card: Mac, patience: Duration) -> io::Result<Option<Ipv4Addr>> {
    const ASKED: u16 = 67;
    const TOLD: u16 = 68;
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, TOLD))?;
    setsockopt(&socket, BindToDevice, &OsString::from(device))?;
    socket.set_broadcast(true)?;
    socket.send_to(&discovery(card), (Ipv4Addr::BROADCAST, ASKED))?;
    let deadline = Instant::now() + patience;
    let mut message = [0; 1500];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut message) {
            // To us: a reply with our number.
            Ok((length, SocketAddr::V4(server))) if length >= HEAD && message[0] == 2 && message[4..8] == NUMBER => {
                return Ok(Some(*server.ip()));
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Length of the part of a DHCP message that all have (RFC 2131).
const HEAD: usize = 236;
/// By which our question is known.
const NUMBER: [u8; 4] = *b"pgxc";

fn discovery(card: Mac) -> Vec<u8> {
    let mut message = vec![0; HEAD];
    // A request over Ethernet, to be answered to all: we have no address.
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[4..8].copy_from_slice(&NUMBER);
    message[10] = 0x80;
    message[28..34].copy_from_slice(&card.octets());
    message.extend([99, 130, 83, 99]);
    // DISCOVER, end; short messages are padded to what BOOTP had.
    message.extend([53, 1, 1, 255]);
    message.resize(300, 0);
    message
}
