//! A way to a server that can be cut: what is between two regions.
//!
//! While it is cut, connections end, and new ones end before anything has passed. Bytes are passed on as they come, whatever they are.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// See the module's documentation. It ends with the process.
pub struct Relay {
    address: String,
    way: Arc<Mutex<Way>>,
}

#[derive(Default)]
struct Way {
    is_cut: bool,
    /// Both ends of each connection that there ever was.
    open: Vec<TcpStream>,
}

impl Relay {
    /// Leads to `host:port`.
    ///
    /// # Errors
    /// No port is free.
    pub fn to(server: &str) -> std::io::Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, server) = (listener.local_addr()?.to_string(), server.to_owned());
        let way = Arc::<Mutex<Way>>::default();
        let own = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is away ends the connection, as one that is out of reach does.
                let Ok(server) = TcpStream::connect(&server) else { continue };
                _ = pass(&own, client, server);
            }
        });
        Ok(Relay { address, way })
    }

    /// `host:port` of this end.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Cuts it, or mends it.
    pub fn cut(&self, is_cut: bool) {
        let mut way = lock(&self.way);
        way.is_cut = is_cut;
        if is_cut {
            // One that has ended already does not mind.
            way.open.drain(..).for_each(|stream| _ = stream.shutdown(Shutdown::Both));
        }
    }
}

fn lock(way: &Mutex<Way>) -> std::sync::MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass(way: &Mutex<Way>, client: TcpStream, server: TcpStream) -> std::io::Result<()> {
    let mut way = lock(way);
    if way.is_cut {
        return Ok(());
    }
    let ends = [(client.try_clone()?, server.try_clone()?), (server.try_clone()?, client.try_clone()?)];
    way.open.extend([client, server]);
    for (from, to) in ends {
        thread::spawn(move || copy(from, to));
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // The other direction ends, too: HTTP has no half of a connection.
    _ = from.shutdown(Shutdown::Both);
    _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_passes_nothing_and_what_is_mended_does() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay::to(&server.local_addr().unwrap().to_string()).unwrap();
        thread::spawn(move || {
            for mut stream in server.incoming().flatten() {
                thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[byte[0] + 1]).is_ok() {}
                });
            }
        });
        let connect = || TcpStream::connect(relay.address()).unwrap();
        let ask = |stream: &mut TcpStream| {
            let mut answer = [0];
            stream.write_all(&[1]).and_then(|()| stream.read_exact(&mut answer)).map(|()| answer[0])
        };
        let mut before = connect();
        assert_eq!(ask(&mut before).unwrap(), 2);
        relay.cut(true);
        assert!(ask(&mut before).is_err() && ask(&mut connect()).is_err());
        relay.cut(false);
        assert_eq!(ask(&mut connect()).unwrap(), 2);
    }
}
