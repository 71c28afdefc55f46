//! What is written: sessions, which are put and deleted later, and stock, whose items are written again and again.

use std::collections::BTreeMap;

use chaos::queue::ground::Ground;
use chaos::wal::load::Writer;
use chaos::wal::plan::{Lane, Planned, Written, deleting};
use chaos::wal::receiver::Receiver;
use chaos::wal::settings::{NAMESPACE, namespace, set};
use testbed::Testbed;
use write_ahead_log::namespace::{Namespace, TargetKind, TargetSpec};

use crate::Result;

/// The namespace of the sessions, and its one target's name.
pub(crate) const SESSIONS: &str = "sessions";
/// Deletes of sessions come so late, and by their token up to so much later, in milliseconds.
const DELAY_MS: i64 = 5_000;
const JITTER_MS: i64 = 5_000;
/// Items of the stock.
const ITEMS: i64 = 50;
/// What is put off of the stock, is by so many milliseconds at least, and by so many more for each item: one that the log has read only
/// after its time could not be before another one.
const LATER_MS: i64 = 500;
const LATER_STEP_MS: i64 = 50;

/// Sets both namespaces.
pub(crate) fn set_namespaces(ground: &Ground, bed: &Testbed, receiver: &Receiver) -> Result<()> {
    let (redis, postgres) = (bed.redis()?, bed.postgres()?);
    set(ground, NAMESPACE, &namespace(redis, postgres, receiver))?;
    let target = TargetSpec::new(SESSIONS, TargetKind::Redis, redis.url());
    let sessions =
        Namespace { targets: vec![target], delay_ms: DELAY_MS, jitter_ms: JITTER_MS, ..Namespace::default() };
    set(ground, SESSIONS, &sessions)
}

/// Writes, and knows what it has written.
pub(crate) struct Mutations {
    writer: Writer,
    /// How far the rate has come.
    number: u64,
    pub(crate) sessions: Vec<Written>,
    pub(crate) stock: Vec<Written>,
    /// When what of the stock was not put off was written, by token, in milliseconds since the epoch.
    pub(crate) at_once: BTreeMap<String, i64>,
    pub(crate) delayed: usize,
}

impl Mutations {
    pub(crate) fn new(ground: &Ground) -> Result<Self> {
        let (writer, at_once) = (Writer::new(ground)?, BTreeMap::new());
        Ok(Mutations { writer, number: 0, sessions: Vec::new(), stock: Vec::new(), at_once, delayed: 0 })
    }

    pub(crate) fn count(&self) -> usize {
        self.sessions.len() + self.stock.len()
    }

    /// Results that there have to be.
    pub(crate) fn results(&self, of_stock: usize) -> usize {
        self.sessions.len() + self.stock.len() * of_stock
    }

    /// Writes until there are so many.
    pub(crate) fn write_to(&mut self, count: u64) -> Result<()> {
        while (self.count() as u64) < count {
            self.number += 1;
            match self.number % 4 {
                0 => self.session()?,
                _ => self.item()?,
            }
        }
        Ok(())
    }

    pub(crate) fn flush(&self) -> Result<()> {
        self.writer.flush()
    }

    /// A session is put at once, and its end is written with it.
    fn session(&mut self) -> Result<()> {
        let key = format!("s{:06}", self.number);
        let put = planned(Lane::Steady, key.clone(), key.clone(), Some(0));
        let delete = Planned { deletes: true, ..planned(Lane::Steady, key.clone(), deleting(&key), None) };
        for (planned, delay_ms) in [(put, 0), (delete, DELAY_MS)] {
            let Written { planned, due } = self.writer.write(SESSIONS, planned)?;
            // By the namespace, which the mutation does not know of: for the judge they are two of one order.
            let planned = Planned { delay_ms: None, ..planned };
            self.sessions.push(Written { planned, due: due + delay_ms });
        }
        self.delayed += 1;
        Ok(())
    }

    fn item(&mut self) -> Result<()> {
        let item = fastrand::i64(0..ITEMS);
        let (key, later) = (format!("item-{item:02}"), LATER_MS + LATER_STEP_MS * item);
        let delay_ms = self.number.is_multiple_of(9).then_some(later);
        let written =
            self.writer.write(NAMESPACE, planned(Lane::Mixed, key, format!("t{:06}", self.number), delay_ms))?;
        match delay_ms {
            Some(_) => self.delayed += 1,
            None => _ = self.at_once.insert(written.planned.token.clone(), written.due),
        }
        self.stock.push(written);
        Ok(())
    }
}

fn planned(lane: Lane, key: String, token: String, delay_ms: Option<i64>) -> Planned {
    Planned { lane, key, token, deletes: false, delay_ms, twice: false }
}
