//! Who is called with the tasks: an HTTP server in this process, which sleeps as long as a task is to take and notes when each of the
//! victim's began.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::runtime::Runtime;

use super::feed::{Side, named};
use crate::Failure;
use crate::spans::now_us;

/// Of the neighbour's tasks one in so many fails at its first attempt.
const FAILS: u64 = 10;

/// When a task began, by number; in microseconds since the epoch.
type Begun = Mutex<Vec<Option<i64>>>;

#[derive(Default)]
struct Ledger {
    victim: Begun,
    neighbour: AtomicU64,
}

/// They end when it is dropped.
pub(super) struct Handlers {
    pub(super) address: SocketAddr,
    ledger: Arc<Ledger>,
    _runtime: Runtime,
}

impl Handlers {
    pub(super) fn start() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let ledger = Arc::<Ledger>::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/", post(work)).with_state(Arc::clone(&ledger));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Handlers { address, ledger, _runtime: runtime })
    }

    /// When the victim's tasks began, by number.
    pub(super) fn begun(&self) -> Vec<Option<i64>> {
        self.ledger.victim.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Attempts of the neighbour so far.
    pub(super) fn neighbours(&self) -> u64 {
        self.ledger.neighbour.load(Ordering::Relaxed)
    }
}

async fn work(State(ledger): State<Arc<Ledger>>, headers: HeaderMap) -> StatusCode {
    let now = now_us();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (Some((side, number)), Ok(millis)) = (named(text("task-id")), text("task-kind").parse()) else {
        return StatusCode::BAD_REQUEST;
    };
    match side {
        Side::Victim => note(&ledger.victim, number, now),
        Side::Neighbour => _ = ledger.neighbour.fetch_add(1, Ordering::Relaxed),
    }
    tokio::time::sleep(Duration::from_millis(millis)).await;
    let fails = side == Side::Neighbour && number.is_multiple_of(FAILS) && text("task-attempt") == "1";
    if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

fn note(begun: &Begun, number: u64, now: i64) {
    let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
    let place = usize::try_from(number).unwrap_or(usize::MAX);
    if begun.len() <= place {
        begun.resize(place + 1, None);
    }
    begun[place] = begun[place].or(Some(now));
}
