//! Connections from inside a lab's network, made by a process that stays outside.

use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpStream},
    time::Duration,
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
