//! Free TCP ports on 127.0.0.1.
//!
//! Between the look and the server's own bind another process may take the port, so a part that fails to bind is
//! started anew with other ports ([`crate::server`]). Ports are drawn at random below the kernel's ephemeral range:
//! an outgoing connection of some client never takes a port that a stopped server will want back.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

use crate::error::{Error, Result};

/// First port that is handed out.
const FIRST: u16 = 20_000;
/// How many ports there are to draw from; 32768 is where Linux starts its ephemeral ports.
const COUNT: u16 = 12_000;
/// Draws before giving up.
const TRIES: u32 = 1_000;

/// Ports handed out to this process, so that two parts that start at once never get the same one.
static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port on 127.0.0.1 that nothing listens on, different from all that this process was given before.
///
/// # Errors
/// [`Error::Setting`] if no free port was found.
pub fn free_port() -> Result<u16> {
    let mut guard = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let taken = guard.get_or_insert_with(HashSet::new);
    for _ in 0..TRIES {
        let port = FIRST + (random() % u64::from(COUNT)) as u16;
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.insert(port);
            return Ok(port);
        }
    }
    Err(Error::Setting(format!("no free port between {FIRST} and {}", FIRST + COUNT)))
}

/// A number that differs between processes and calls: the standard library seeds `RandomState` from the kernel.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_hands_out_a_port_twice() {
        let ports: HashSet<u16> = (0..200).map(|_| free_port().expect("a free port")).collect();
        assert_eq!(ports.len(), 200);
    }
}
