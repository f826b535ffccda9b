//! `forward`: a port of a node on 127.0.0.1, or on standard input and output.

use crate::{
    cli::{Arguments, Endpoint},
    context::Standing,
    error::{Class, Error, Result, ResultExt},
};
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::TcpListener};

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

/// Connects standard input and output to the port, until the node ends the connection.
///
/// # Errors
/// When the lab is not up, or the port does not accept or breaks.
pub async fn stdio(arguments: &Arguments, endpoint: &Endpoint) -> Result<u8> {
    let lab = Standing::find(arguments)?;
    let node = lab.node(endpoint.node.as_str())?;
    let server = lab.host()?.connect((node.address, endpoint.port).into(), CONNECT).await.map_err(|error| {
        Error::caused(Class::Guest, format!("`{endpoint}` does not accept"), error)
            .hint("`pgxc-lab status` shows what runs")
    })?;
    let (mut from, mut to) = server.into_split();
    let outwards = async {
        tokio::io::copy(&mut tokio::io::stdin(), &mut to).await?;
        // Who has nothing more to say may still want the answer.
        to.shutdown().await
    };
    let inwards = async { tokio::io::copy(&mut from, &mut tokio::io::stdout()).await };
    tokio::pin!(inwards);
    let ended = tokio::select! {
        ended = &mut inwards => ended,
        // When the way there breaks, the way back tells.
        _ = outwards => inwards.await,
    };
    match ended {
        // A reader that went away, such as an ssh that is done, is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::caused(Class::Guest, format!("the connection to `{endpoint}` broke"), error))
        }
        _ => Ok(0),
    }
}
