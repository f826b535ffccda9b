//! `forward`: a port of a node on 127.0.0.1.

use crate::{
    cli::{Arguments, Endpoint},
    context::Standing,
    error::{Class, Result, ResultExt},
};
use std::time::Duration;
use tokio::net::TcpListener;

/// How long a connection to a node may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Listens until it is interrupted.
///
/// # Errors
/// When the lab is not up or the port is taken.
pub async fn run(arguments: &Arguments, endpoint: &Endpoint, local: Option<u16>) -> Result<u8> {
    let lab = Standing::find(arguments)?;
    let node = lab.node(endpoint.node.as_str())?;
    let host = lab.host()?.clone();
    let target = (node.address, endpoint.port).into();
    let wanted = local.unwrap_or(endpoint.port);
    let listener = TcpListener::bind(("127.0.0.1", wanted))
        .await
        .or_error(Class::Host, || format!("cannot listen on 127.0.0.1:{wanted}"))?;
    let address = listener.local_addr().or_error(Class::Host, || "the listening socket has no address".into())?;
    super::print(&format!("{address}\n"))?;
    eprintln!("{address} leads to {}:{} until interrupted", endpoint.node, endpoint.port);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = tokio::signal::ctrl_c() => return Ok(0),
        };
        let (mut client, _) = accepted.or_error(Class::Host, || format!("cannot accept on {address}"))?;
        let host = host.clone();
        tokio::spawn(async move {
            match host.connect(target, CONNECT).await {
                // Either side may break a connection at any time: that ends it and nothing else.
                Ok(mut server) => drop(tokio::io::copy_bidirectional(&mut client, &mut server).await),
                Err(error) => eprintln!("{target} does not accept: {error}"),
            }
        });
    }
}
