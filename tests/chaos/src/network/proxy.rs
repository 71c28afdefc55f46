//! A proxy in front of a broker that does to requests what a bad network does. What it does to which, a plan says: a script
//! where a test wants one certain fault, dice where it wants any.
//!
//! ```text
//!  client ──▶ frames ──▶ Plan::action(connection, number, api) ──▶ broker
//!            pass │ delay │ cut before │ cut after │ lose the answer │ late │ refuse │ swallow
//! ```
//!
//! *Late* is the one that reorders, and that tears transactions of version 1: the client's connection ends, and the request
//! reaches the broker only after the client has gone on by another connection. (Within a connection TCP keeps the order.)

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use super::refusal::refuse;

/// Kafka's number of Produce.
pub const PRODUCE: i16 = 0;
/// Kafka's number of InitProducerId.
pub const INIT_PRODUCER_ID: i16 = 22;
/// Kafka's number of AddPartitionsToTxn, of transactions v1.
pub const ADD_PARTITIONS_TO_TXN: i16 = 24;
/// Kafka's number of AddOffsetsToTxn, of transactions v1.
pub const ADD_OFFSETS_TO_TXN: i16 = 25;
/// Kafka's number of EndTxn.
pub const END_TXN: i16 = 26;
/// Kafka's number of TxnOffsetCommit.
pub const TXN_OFFSET_COMMIT: i16 = 28;
/// No request or answer is larger.
const LARGEST_FRAME: usize = 64 << 20;

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Pass,
    /// It waits, and all that come after it on its connection.
    Delay(Duration),
    /// The connection ends; the broker never sees the request.
    CutBefore,
    /// The connection ends while the request is on its way: whether the broker has carried it out by then is open.
    CutAfter,
    /// The connection ends in place of the answer: the broker has carried the request out.
    LoseAnswer,
    /// The connection ends, and the broker sees the request only then.
    Late(Duration),
    /// The broker never sees the request, and the answer is this error. Kinds that the proxy can't answer pass.
    Refuse(i16),
    /// From here on nothing passes in either direction, and nobody is told: the client finds out by its time-out.
    Swallow,
}

/// A request that wants to pass.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Number of its connection, from 0.
    pub connection: u64,
    /// Its own number on that connection, from 0.
    pub number: u64,
    /// Kafka's number of its kind.
    pub api: i16,
}

/// Decides about each request; asked from many threads.
pub trait Plan: Send + Sync + 'static {
    /// What becomes of it.
    fn action(&self, request: Request) -> Action;
}

/// The proxy: one listener, two threads per connection. Dropping it ends the listener; connections end with their clients.
pub struct Proxy<P> {
    /// What is done.
    pub plan: Arc<P>,
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
    pub fn bind(plan: P) -> Self {
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
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port of the broker behind it; once.
    pub fn lead_to(&self, broker: u16) {
        self.way.broker.set(broker).expect("it leads somewhere already");
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
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

/// How the answers of one connection go back.
#[derive(Default)]
struct Answers {
    gate: Mutex<Gate>,
    /// One more was passed on, or none will be.
    passed: Condvar,
}

#[derive(Default)]
struct Gate {
    mode: Mode,
    /// Requests that the broker has been given.
    asked: u64,
    /// Answers that the client has been given.
    answered: u64,
    over: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    #[default]
    Pass,
    /// The next one ends the connection instead.
    LoseNext,
    /// None passes, and the connection stays.
    Swallow,
}

impl Answers {
    fn gate(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().expect("gate")
    }

    fn mode(&self, mode: Mode) {
        self.gate().mode = mode;
    }

    /// Puts an answer of our own in its place: after those of all earlier requests. Requests that are never answered
    /// (Produce without acks) are not sent by anybody here.
    fn put(&self, mut client: &TcpStream, answer: &[u8]) -> bool {
        let gate = self.passed.wait_while(self.gate(), |gate| gate.answered < gate.asked && !gate.over).expect("gate");
        !gate.over && client.write_all(answer).is_ok()
    }
}

fn connect<P: Plan>(client: &TcpStream, broker: &TcpStream, number: u64, plan: &P, way: &Way) {
    let own = |stream: &TcpStream| stream.try_clone().expect("stream");
    for stream in [client, broker] {
        stream.set_nodelay(true).expect("nodelay");
    }
    let (responses, back) = (own(broker), own(client));
    let answers = Arc::new(Answers::default());
    let shared = Arc::clone(&answers);
    thread::spawn(move || forward_responses(&responses, &back, &shared));
    forward_requests(client, broker, number, plan, way, &answers);
    if answers.gate().mode != Mode::LoseNext {
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
    answers: &Answers,
) {
    for number in 0.. {
        let Some(frame) = read_frame(&mut client) else { return };
        let api = i16::from_be_bytes([frame[4], frame[5]]);
        let action = plan.action(Request { connection, number, api });
        match action {
            Action::CutBefore => return,
            Action::Late(_) => _ = client.shutdown(Shutdown::Both),
            // From here on no answer passes; the first that comes ends the connection.
            Action::LoseAnswer => answers.mode(Mode::LoseNext),
            Action::Swallow => {
                answers.mode(Mode::Swallow);
                while read_frame(&mut client).is_some() {}
                return;
            }
            Action::Refuse(code) => {
                if let Some(answer) = refuse(&frame, code) {
                    if answers.put(client, &answer) {
                        continue;
                    }
                    return;
                }
            }
            Action::Pass | Action::Delay(_) | Action::CutAfter => {}
        }
        if let Action::Delay(wait) | Action::Late(wait) = action {
            way.pause(wait);
        }
        let last = matches!(action, Action::CutAfter | Action::LoseAnswer | Action::Late(_));
        answers.gate().asked += 1;
        if broker.write_all(&frame).is_err() || last {
            return;
        }
    }
}

/// Length, then so many bytes; with the length in front. Of a request these are api key, version, correlation id, the rest.
fn read_frame(stream: &mut &TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let size = usize::try_from(i32::from_be_bytes(length)).ok().filter(|size| (4..LARGEST_FRAME).contains(size))?;
    let mut frame = vec![0; 4 + size];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

/// To the end of the broker's side, also when nobody listens any more; or to the answer that is to be lost.
fn forward_responses(mut broker: &TcpStream, mut client: &TcpStream, answers: &Answers) {
    while let Some(frame) = read_frame(&mut broker) {
        let mode = answers.gate().mode;
        match mode {
            Mode::Pass => _ = client.write_all(&frame),
            Mode::LoseNext => break,
            Mode::Swallow => continue,
        }
        answers.gate().answered += 1;
        answers.passed.notify_all();
    }
    let mut gate = answers.gate();
    gate.over = true;
    answers.passed.notify_all();
    if gate.mode != Mode::Swallow {
        _ = client.shutdown(Shutdown::Both);
    }
}
