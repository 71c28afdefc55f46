//! The pages of an application in this process: where it answers queries, and by which its instances know of each other.

use std::net::{Ipv4Addr, SocketAddr};

use headrace::runtime::{Options, Queries};
use headrace::telemetry::{Bearer, HttpServer, Site};
use headrace::topology::Topology;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::application::tokio;

/// Puts the queries among the options and answers them on a port of loopback, 0 is any free one, until the token is cancelled.
/// Gives the address, too.
///
/// # Errors
/// The port is taken, or the topology can't be asked.
pub async fn serve(topology: &Topology, options: &mut Options, port: u16) -> Result<(String, CancellationToken)> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = HttpServer::bind(listen, Site::default(), options.telemetry.clone()).await?;
    let address = server.address().to_string();
    let queries = Queries::new(topology, options, address.clone())?;
    let server = server.waiting((queries.routes(), Queries::LONGEST), None::<Bearer>);
    options.queries = Some(queries);
    let end = CancellationToken::new();
    tokio().spawn(server.run(end.clone()));
    Ok((address, end))
}
