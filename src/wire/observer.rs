//! What connections have to tell, and who is told. The wire knows neither metrics nor how much of it a log can bear; the
//! layer above counts, logs and throttles.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::BrokerId;
use super::error::WireError;
use super::settings::Address;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its id; none of a bootstrap server, whose id is not known yet.
    pub broker: Option<BrokerId>,
    /// Where it is.
    pub address: Address,
}

/// Something that has happened to a connection.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// It can be used. `again`: there was one before to the same broker, which has ended.
    Opened {
        /// Whether it replaces another.
        again: bool,
    },
    /// It could not be opened: nobody there, no TLS, a refused login.
    Failed(&'a WireError),
    /// It has ended, and with it all requests that waited: hung up, timed out, broken. Not told of one that nobody needs any
    /// more.
    Ended(&'a WireError),
    /// The broker wants to be left alone for so long (KIP-219), because of a quota.
    Throttled(Duration),
}

type Tell = dyn Fn(&Peer, Event<'_>) + Send + Sync;

/// Who is told; clones are the same one. It is called by the tasks of the connections, so it must not wait. The default tells
/// nobody.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<Tell>>);

impl Observer {
    /// Calls this for each event.
    pub fn new(tell: impl Fn(&Peer, Event<'_>) + Send + Sync + 'static) -> Self {
        Observer(Some(Arc::new(tell)))
    }

    pub(super) fn tell(&self, peer: &Peer, event: Event<'_>) {
        if let Some(tell) = &self.0 {
            tell(peer, event);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Observer" } else { "nobody" })
    }
}
