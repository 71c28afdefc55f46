//! What is to happen when a time has come.

use headrace::processor::{Context, Fault};
use headrace::record::Timestamp;
use headrace::store;

/// What is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// The time of a delayed mutation has come: its number when it came, by which those of the same time are ordered, and its id.
    Begin(i64, String),
    /// A line goes on; its lane.
    Line(String),
    /// Nothing need be known of a mutation any more; its id.
    Forget(String),
    /// When a key was written last need not be known any more; its place.
    Version(String),
}

const BEGIN: u8 = b'b';
const LINE: u8 = b'l';
const FORGET: u8 = b'f';
const VERSION: u8 = b'v';

impl Due {
    fn encode(&self) -> Vec<u8> {
        match self {
            Due::Begin(number, id) => [&[BEGIN][..], &number.max(&0).to_be_bytes(), id.as_bytes()].concat(),
            Due::Line(lane) => [&[LINE], lane.as_bytes()].concat(),
            Due::Forget(id) => [&[FORGET], id.as_bytes()].concat(),
            Due::Version(place) => [&[VERSION], place.as_bytes()].concat(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Due> {
        let (kind, of) = bytes.split_first()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        match *kind {
            BEGIN => {
                let (number, id) = of.split_first_chunk()?;
                Some(Due::Begin(i64::from_be_bytes(*number), text(id)?))
            }
            LINE => text(of).map(Due::Line),
            FORGET => text(of).map(Due::Forget),
            VERSION => text(of).map(Due::Version),
            _ => None,
        }
    }
}

/// The timers of a partition.
#[derive(Debug, Clone)]
pub struct Timers(pub store::Timers);

impl Timers {
    /// Sets one, in milliseconds since the epoch.
    ///
    /// # Errors
    /// The store failed.
    pub fn set<V>(&self, at: i64, due: &Due, context: &mut Context<'_, String, V>) -> Result<(), Fault> {
        context.timers(&self.0).set(Timestamp(at), &due.encode())
    }

    /// Takes one away.
    ///
    /// # Errors
    /// The store failed.
    pub fn cancel<V>(&self, at: i64, due: &Due, context: &mut Context<'_, String, V>) -> Result<(), Fault> {
        context.timers(&self.0).cancel(Timestamp(at), &due.encode())
    }

    /// Takes those that are due at a time, in their order, `most` of them: each with its time.
    ///
    /// # Errors
    /// The store failed.
    pub fn take<V>(
        &self,
        at: i64,
        most: usize,
        context: &mut Context<'_, String, V>,
    ) -> Result<Vec<(i64, Due)>, Fault> {
        let taken = context.timers(&self.0).take_until(Timestamp(at), most)?;
        Ok(taken.into_iter().filter_map(|timer| Some((timer.at.0, Due::decode(&timer.of)?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_reads_as_it_was_written() {
        for due in [
            Due::Begin(7, "a/t/x".into()),
            Due::Line("a/x/κ".into()),
            Due::Forget(String::new()),
            Due::Version("a/t/k".into()),
        ] {
            assert_eq!(Due::decode(&due.encode()), Some(due));
        }
        assert_eq!(Due::decode(b""), None);
        assert_eq!(Due::decode(b"zx"), None);
        assert_eq!(Due::decode(b"bshort"), None);
    }
}
