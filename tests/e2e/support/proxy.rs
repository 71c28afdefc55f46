//! A proxy in front of a broker that does to requests what a bad network does. What it does to which, a plan says: a script
//! where a test wants one certain fault, dice where it wants any.
//!
//! ```text
//!  client ──▶ frames ──▶ Plan::action(connection, number, api) ──▶ broker
//!                         pass │ delay │ cut before │ cut after │ lose the answer │ late
//! ```
//!
//! *Late* is the one that tears transactions of version 1: the client's connection ends, and the request reaches the
//! broker only after the client has gone on by another connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

pub(crate) const PRODUCE: i16 = 0;
pub(crate) const INIT_PRODUCER_ID: i16 = 22;
pub(crate) const ADD_PARTITIONS_TO_TXN: i16 = 24;
pub(crate) const ADD_OFFSETS_TO_TXN: i16 = 25;
pub(crate) const END_TXN: i16 = 26;
pub(crate) const TXN_OFFSET_COMMIT: i16 = 28;
/// No request of a client is larger.
const LARGEST_FRAME: usize = 64 << 20;

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pass,
    Delay(Duration),
    /// The connection ends; the broker never sees the request.
    CutBefore,
    /// The connection ends while the request is on its way: whether the broker has carried it out by then is open.
    CutAfter,
    /// The connection ends in place of the answer: the broker has carried the request out.
    LoseAnswer,
    /// The connection ends, and the broker sees the request only then.
    Late(Duration),
}

/// A request that wants to pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// Number of its connection, from 0.
    pub(crate) connection: u64,
    /// Its own number on that connection, from 0.
    pub(crate) number: u64,
    /// Kafka's number of its kind.
    pub(crate) api: i16,
}

/// Decides about each request; asked from many threads.
pub(crate) trait Plan: Send + Sync + 'static {
    fn action(&self, request: Request) -> Action;
}

/// The proxy: one listener, two threads per connection. Dropping it ends the listener; connections end with their clients.
pub(crate) struct Proxy<P> {
    /// What is done.
    pub(crate) plan: Arc<P>,
    port: u16,
    way: Arc<Way>,
}

/// What the threads of a proxy share.
#[derive(Default)]
struct Way {
    broker: OnceLock<u16>,
    connections: AtomicU64,
    stopped: (Mutex<bool>, Condvar),
}

impl Way {
    fn is_stopped(&self) -> bool {
        *self.stopped.0.lock().expect("stopped")
    }

    /// Waits, but not beyond the proxy's end.
    fn pause(&self, wait: Duration) {
        let stopped = self.stopped.0.lock().expect("stopped");
        drop(self.stopped.1.wait_timeout_while(stopped, wait, |stopped| !*stopped));
    }
}

impl<P: Plan> Proxy<P> {
    /// Binds a port, to be advertised by the broker that is started next. Connections wait until
    /// [`lead_to`](Self::lead_to) has said where to.
    pub(crate) fn bind(plan: P) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let port = listener.local_addr().expect("address").port();
        Proxy { plan: Arc::new(plan), port, way: Arc::default() }.listening(listener)
    }

    fn listening(self, listener: TcpListener) -> Self {
        let (plan, way) = (Arc::clone(&self.plan), Arc::clone(&self.way));
        thread::spawn(move || {
            for client in listener.incoming() {
                if way.is_stopped() {
                    return;
                }
                let number = way.connections.fetch_add(1, Ordering::Relaxed);
                let (plan, way) = (Arc::clone(&plan), Arc::clone(&way));
                thread::spawn(move || {
                    // A broker that is away: the client sees its connection closed.
                    if let (Ok(client), Ok(broker)) = (client, TcpStream::connect(("127.0.0.1", *way.broker.wait()))) {
                        connect(&client, &broker, number, &*plan, &way);
                    }
                });
            }
        });
        self
    }

    /// Where a broker has to be reached so that its clients come through here: `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port of the broker behind it; once.
    pub(crate) fn lead_to(&self, broker: u16) {
        self.way.broker.set(broker).expect("it leads somewhere already");
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> u64 {
        self.way.connections.load(Ordering::Relaxed)
    }
}

impl<P> Drop for Proxy<P> {
    fn drop(&mut self) {
        *self.way.stopped.0.lock().expect("stopped") = true;
        self.way.stopped.1.notify_all();
        // Those that still wait for a broker find nobody.
        _ = self.way.broker.set(0);
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn connect<P: Plan>(client: &TcpStream, broker: &TcpStream, number: u64, plan: &P, way: &Way) {
    let own = |stream: &TcpStream| stream.try_clone().expect("stream");
    for stream in [client, broker] {
        stream.set_nodelay(true).expect("nodelay");
    }
    let (answers, back) = (own(broker), own(client));
    let lost = Arc::new(AtomicBool::new(false));
    let lose = Arc::clone(&lost);
    thread::spawn(move || forward_responses(answers, back, &lose));
    forward_requests(client, broker, number, plan, way, &lost);
    if !lost.load(Ordering::SeqCst) {
        _ = client.shutdown(Shutdown::Both);
    }
    // What was forwarded is answered before the broker sees the end of the connection.
    _ = broker.shutdown(Shutdown::Write);
}

fn forward_requests<P: Plan>(
    mut client: &TcpStream,
    mut broker: &TcpStream,
    connection: u64,
    plan: &P,
    way: &Way,
    lost: &AtomicBool,
) {
    for number in 0.. {
        let Some(frame) = read_frame(&mut client) else { return };
        let api = i16::from_be_bytes([frame[4], frame[5]]);
        let action = plan.action(Request { connection, number, api });
        match action {
            Action::CutBefore => return,
            Action::Late(_) => _ = client.shutdown(Shutdown::Both),
            // From here on no answer passes; the first that comes ends the connection.
            Action::LoseAnswer => lost.store(true, Ordering::SeqCst),
            Action::Pass | Action::Delay(_) | Action::CutAfter => {}
        }
        if let Action::Delay(wait) | Action::Late(wait) = action {
            way.pause(wait);
        }
        let last = matches!(action, Action::CutAfter | Action::LoseAnswer | Action::Late(_));
        if broker.write_all(&frame).is_err() || last {
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

/// To the end of the broker's side, also when nobody listens any more; or to the answer that is to be lost.
fn forward_responses(mut broker: TcpStream, mut client: TcpStream, lost: &AtomicBool) {
    let mut buffer = [0; 64 << 10];
    loop {
        match broker.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) if lost.load(Ordering::SeqCst) => break,
            Ok(count) => _ = client.write_all(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    _ = client.shutdown(Shutdown::Both);
}
