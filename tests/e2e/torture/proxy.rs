//! A proxy in front of a broker that does to requests what a bad network does, by a seed.
//!
//! ```text
//!  client ──▶ frames ──▶ action by (seed, connection, number of the request) ──▶ broker
//!                         pass │ delay │ cut before │ cut after │ late
//! ```
//!
//! *Late* is the one that tears transactions of version 1: the client's connection ends, and the request reaches the
//! broker only after the client has gone on by another connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Requests that write: the only ones whose fate matters to exactly-once.
const PRODUCE: i16 = 0;
const INIT_PRODUCER_ID: i16 = 22;
const ADD_PARTITIONS_TO_TXN: i16 = 24;
const ADD_OFFSETS_TO_TXN: i16 = 25;
const END_TXN: i16 = 26;
const TXN_OFFSET_COMMIT: i16 = 28;
/// No request of a client is larger.
const LARGEST_FRAME: usize = 64 << 20;

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Pass,
    Delay(Duration),
    CutBefore,
    CutAfter,
    Late(Duration),
}

/// The faults of one run.
struct Faults {
    seed: AtomicU64,
    on: AtomicBool,
    connections: AtomicU64,
    /// Requests that something was done to.
    done: AtomicU64,
    stop: (Mutex<bool>, Condvar),
}

impl Faults {
    fn action(&self, connection: u64, request: u64, api: i16) -> Action {
        if !self.on.load(Ordering::Relaxed) {
            return Action::Pass;
        }
        // In a thousand requests: (delayed, cut before, cut after, late).
        let (delay, before, after, late) = match api {
            PRODUCE => (30, 6, 6, 6),
            END_TXN => (30, 10, 20, 80),
            TXN_OFFSET_COMMIT | ADD_OFFSETS_TO_TXN | ADD_PARTITIONS_TO_TXN => (30, 10, 10, 10),
            INIT_PRODUCER_ID => (100, 50, 50, 0),
            _ => return Action::Pass,
        };
        let mut dice = fastrand::Rng::with_seed(self.seed.load(Ordering::Relaxed) ^ (connection << 32) ^ request);
        let throw = dice.u32(0..1000);
        let action = match throw {
            throw if throw < delay => Action::Delay(Duration::from_millis(dice.u64(5..400))),
            throw if throw < delay + before => Action::CutBefore,
            throw if throw < delay + before + after => Action::CutAfter,
            throw if throw < delay + before + after + late => Action::Late(Duration::from_millis(dice.u64(100..4000))),
            _ => return Action::Pass,
        };
        self.done.fetch_add(1, Ordering::Relaxed);
        action
    }

    /// Waits, but not beyond the proxy's end.
    fn pause(&self, wait: Duration) {
        let stopped = self.stop.0.lock().expect("stop");
        drop(self.stop.1.wait_timeout_while(stopped, wait, |stopped| !*stopped));
    }
}

/// The proxy: one listener, two threads per connection.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    faults: Arc<Faults>,
    listener: TcpListener,
}

impl Proxy {
    /// Binds a port, to be advertised by the broker that is started next. Nothing is done to requests yet.
    pub(crate) fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let port = listener.local_addr().expect("address").port();
        let (on, connections, done) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let (seed, stop) = (AtomicU64::new(0), (Mutex::new(false), Condvar::new()));
        let faults = Faults { seed, on, connections, done, stop };
        Proxy { port, faults: Arc::new(faults), listener }
    }

    /// Forwards to the broker at this port.
    pub(crate) fn serve(&self, broker: u16) {
        let (listener, faults) = (self.listener.try_clone().expect("listener"), Arc::clone(&self.faults));
        thread::spawn(move || {
            for client in listener.incoming() {
                if *faults.stop.0.lock().expect("stop") {
                    return;
                }
                let number = faults.connections.fetch_add(1, Ordering::Relaxed);
                // A broker that is away: the client sees its connection closed.
                if let (Ok(client), Ok(broker)) = (client, TcpStream::connect(("127.0.0.1", broker))) {
                    connect(&client, &broker, number, &faults);
                }
            }
        });
    }

    pub(crate) fn start_faults(&self, seed: u64) {
        self.faults.seed.store(seed, Ordering::Relaxed);
        self.faults.connections.store(0, Ordering::Relaxed);
        self.faults.on.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stop_faults(&self) {
        self.faults.on.store(false, Ordering::Relaxed);
    }

    /// How many requests something was done to.
    pub(crate) fn done(&self) -> u64 {
        self.faults.done.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        *self.faults.stop.0.lock().expect("stop") = true;
        self.faults.stop.1.notify_all();
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn connect(client: &TcpStream, broker: &TcpStream, number: u64, faults: &Arc<Faults>) {
    let own = |stream: &TcpStream| stream.try_clone().expect("stream");
    for stream in [client, broker] {
        stream.set_nodelay(true).expect("nodelay");
    }
    let (requests, responses) = ((own(client), own(broker)), (own(broker), own(client)));
    let faults = Arc::clone(faults);
    thread::spawn(move || {
        forward_requests(&requests.0, &requests.1, number, &faults);
        _ = requests.0.shutdown(Shutdown::Both);
        // What was forwarded is answered before the broker sees the end of the connection.
        _ = requests.1.shutdown(Shutdown::Write);
    });
    thread::spawn(move || forward_responses(responses.0, responses.1));
}

fn forward_requests(mut client: &TcpStream, mut broker: &TcpStream, connection: u64, faults: &Faults) {
    for request in 0.. {
        let Some(frame) = read_frame(&mut client) else { return };
        let api = i16::from_be_bytes([frame[4], frame[5]]);
        let action = faults.action(connection, request, api);
        match action {
            Action::CutBefore => return,
            Action::Late(_) => _ = client.shutdown(Shutdown::Both),
            Action::Pass | Action::Delay(_) | Action::CutAfter => {}
        }
        if let Action::Delay(wait) | Action::Late(wait) = action {
            faults.pause(wait);
        }
        if broker.write_all(&frame).is_err() || matches!(action, Action::CutAfter | Action::Late(_)) {
            return;
        }
    }
}

/// Length, api key, version, correlation id, the rest; with its length in front.
fn read_frame(client: &mut &TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length).ok()?;
    let size = usize::try_from(i32::from_be_bytes(length)).ok().filter(|size| (8..LARGEST_FRAME).contains(size))?;
    let mut frame = vec![0; 4 + size];
    frame[..4].copy_from_slice(&length);
    client.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

/// To the end of the broker's side, also when nobody listens any more.
fn forward_responses(mut broker: TcpStream, mut client: TcpStream) {
    let mut buffer = [0; 64 << 10];
    loop {
        match broker.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => _ = client.write_all(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    _ = client.shutdown(Shutdown::Both);
}
