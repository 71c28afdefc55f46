//! Requests that the native client has no use for, sent through its connections all the same: what tests ask a broker.

use bytes::{Bytes, BytesMut};
use headrace::wire::{Connection, Outgoing, WireError};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable};

/// The answer to a request in this version.
pub async fn ask<R: Decodable>(
    connection: &Connection,
    key: ApiKey,
    version: i16,
    request: &(impl Encodable + Sync),
) -> Result<R, WireError> {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("a request of this version");
    let outgoing = Outgoing { key, version, body: vec![body.freeze()], timeout: None };
    let mut answer: Bytes = connection.send(outgoing).await?.await?;
    Ok(R::decode(&mut answer, version).expect("an answer of this version"))
}
