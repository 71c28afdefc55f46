//! Free TCP ports on 127.0.0.1.
//!
//! Between the look and the server's own bind another process may take the port, so a part that fails to bind is
//! started anew with other ports ([`crate::server`]). Ports are drawn at random below the kernel's ephemeral range:
//! an outgoing connection of some client never takes a port that a stopped server will want back. Testbeds of other
//! processes keep off it as well: a JVM takes ten seconds from the draw to its bind, and a stopped server has no bind at
//! all. Who holds a port holds the abstract socket of its name, which the kernel takes back when the process ends.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

use crate::error::{Error, Result};

/// First port that is handed out.
const FIRST: u16 = 20_000;
/// How many ports there are to draw from; 32768 is where Linux starts its ephemeral ports.
const COUNT: u16 = 12_000;
/// Draws before giving up.
const TRIES: u32 = 1_000;

/// Ports handed out to this process, so that two parts that start at once never get the same one; held as long as it lives.
static TAKEN: Mutex<Option<HashMap<u16, UnixListener>>> = Mutex::new(None);

/// A port on 127.0.0.1 that nothing listens on, different from all that this process was given before.
///
/// # Errors
/// [`Error::Setting`] if no free port was found.
pub fn free_port() -> Result<u16> {
    let mut guard = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let taken = guard.get_or_insert_with(HashMap::new);
    for _ in 0..TRIES {
        let port = FIRST + (random() % u64::from(COUNT)) as u16;
        if taken.contains_key(&port) {
            continue;
        }
        if let Some(hold) = hold(port)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        {
            taken.insert(port, hold);
            return Ok(port);
        }
    }
    Err(Error::Setting(format!("no free port between {FIRST} and {}", FIRST + COUNT)))
}

/// Keeps a port from the testbeds of other processes; `None` if one of them has it.
fn hold(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("headrace-testbed-port-{port}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

/// A number that differs between processes and calls: the standard library seeds `RandomState` from the kernel.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_another_process_holds_is_not_handed_out() {
        let mine = free_port().expect("a free port");
        assert!(hold(mine).is_none(), "as another process would try it");
    }

    #[test]
    fn never_hands_out_a_port_twice() {
        let ports: HashSet<u16> = (0..200).map(|_| free_port().expect("a free port")).collect();
        assert_eq!(ports.len(), 200);
    }
}
