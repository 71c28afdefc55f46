//! A TCP proxy before a broker that sees the kind of each request, and cuts connections where a test wants it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

/// Kafka's number of the request EndTxn.
pub(crate) const END_TXN: i32 = 26;
const NOTHING: i32 = -1;

/// When a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The broker never sees the request.
    Before,
    /// The broker sees it; its answer gets lost.
    After,
}

#[derive(Default)]
struct Rule {
    /// The kind of request that is cut at, once.
    kind: AtomicI32,
    after: AtomicBool,
    cuts: AtomicUsize,
}

/// A proxy; it ends with the test's process.
pub(crate) struct Proxy {
    port: u16,
    broker: Arc<OnceLock<u16>>,
    rule: Arc<Rule>,
}

impl Proxy {
    /// Listens. Connections wait until [`lead_to`](Self::lead_to) has said where to.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (broker, rule) = (Arc::new(OnceLock::new()), Arc::new(Rule::default()));
        rule.kind.store(NOTHING, Ordering::SeqCst);
        let (target, own) = (Arc::clone(&broker), Arc::clone(&rule));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, rule) = (Arc::clone(&target), Arc::clone(&own));
                thread::spawn(move || serve(client, *target.wait(), &rule));
            }
        });
        Proxy { port, broker, rule }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn lead_to(&self, broker: u16) {
        self.broker.set(broker).unwrap();
    }

    /// Cuts the connection at the next request of this kind.
    pub(crate) fn cut(&self, kind: i32, cut: Cut) {
        self.rule.after.store(cut == Cut::After, Ordering::SeqCst);
        self.rule.kind.store(kind, Ordering::SeqCst);
    }

    /// How many connections were cut.
    pub(crate) fn cuts(&self) -> usize {
        self.rule.cuts.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, broker: u16, rule: &Rule) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", broker)) else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let silent = Arc::new(AtomicBool::new(false));
    let mute = Arc::clone(&silent);
    thread::spawn(move || {
        let mut buffer = [0; 64 * 1024];
        while let Ok(read @ 1..) = answers.read(&mut buffer) {
            if mute.load(Ordering::SeqCst) {
                // The broker has answered, so it has carried out what it was asked.
                break;
            }
            if back.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = (back.shutdown(Shutdown::Both), answers.shutdown(Shutdown::Both));
    });
    let _ = forward(client, server, rule, &silent);
}

/// Requests, frame by frame.
fn forward(mut client: TcpStream, mut server: TcpStream, rule: &Rule, silent: &AtomicBool) -> std::io::Result<()> {
    let ended = loop {
        let mut head = [0; 6];
        if let Err(error) = client.read_exact(&mut head) {
            break Err(error);
        }
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = i32::from(i16::from_be_bytes([head[4], head[5]]));
        let mut rest = vec![0; length - 2];
        client.read_exact(&mut rest)?;
        let hit = rule.kind.compare_exchange(kind, NOTHING, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if hit {
            rule.cuts.fetch_add(1, Ordering::SeqCst);
            if !rule.after.load(Ordering::SeqCst) {
                break Ok(());
            }
            silent.store(true, Ordering::SeqCst);
        }
        server.write_all(&head)?;
        server.write_all(&rest)?;
        if hit {
            // The other direction closes both ends when the answer is there.
            return Ok(());
        }
    };
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    ended
}
