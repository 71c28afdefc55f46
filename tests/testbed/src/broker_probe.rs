//! Asks a broker for its metadata, with a request written by hand: a JVM tool would take a second for each look.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// Time for connecting and for each read.
const DEADLINE: Duration = Duration::from_secs(2);
/// A metadata answer without topics has some dozen bytes; more is not an answer of Kafka.
const MAX_ANSWER: usize = 1 << 16;
/// Metadata, version 1: the oldest that can ask for no topic at all.
/// api key 3, version 1, correlation id 7, client id null, topics: empty array.
const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0];

/// Whether the broker at `port` serves: it answers, and names itself as alive (a fenced broker does not).
pub(crate) fn serves(port: u16) -> Result<(), String> {
    let answer = ask(port).map_err(|e| e.to_string())?;
    let number = |at: usize| answer.get(at..at + 4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    match (number(0), number(4)) {
        (Some(7), Some(brokers)) if brokers >= 1 => Ok(()),
        (Some(7), Some(_)) => Err("no broker is registered yet".to_owned()),
        other => Err(format!("not an answer to a metadata request: {other:?}")),
    }
}

fn ask(port: u16) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(&REQUEST)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = u32::from_be_bytes(size) as usize;
    if size > MAX_ANSWER {
        return Err(std::io::Error::other(format!("an answer of {size} bytes")));
    }
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
