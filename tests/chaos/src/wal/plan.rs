//! What is written, by a seed: who knows it knows what each target has to have in the end, and in which order it got there.
//!
//! | lane | its mutations | its order |
//! |---|---|---|
//! | steady | puts, and deletes of what is there | all of them, as they were written |
//! | mixed | puts, every other one put off, those of a key all by the same time | those that were put off as they were written, and the others as they were; how the two lie to each other is a matter of when they came |
//! | web | puts, over HTTP, one after the other | as steady |
//!
//! A put's value holds its token, and a delete's token is made of what it deletes. So an effect tells by what it leaves behind which
//! mutation it is of, whatever its caller says about it.
//!
//! By the same time, because the log can't put before another one what it has read only after that one's time; and how long it reads
//! nothing while everybody around it is killed, nobody knows.

use std::collections::HashMap;

use write_ahead_log::mutation::{Mutation, Operation};

use crate::queue::ground::now;

/// Keys of each lane.
const KEYS: [(Lane, u32); 3] = [(Lane::Steady, 120), (Lane::Mixed, 60), (Lane::Web, 20)];
/// Of a hundred mutations, so many are steady, and so many more are mixed.
const STEADY: u32 = 65;
const MIXED: u32 = 28;
/// One in so many of a steady key's mutations deletes; one in so many of the topic's is written twice.
const DELETES: u32 = 6;
const TWICE: u32 = 25;
/// What is put off, is by so many milliseconds at least, and by so many more for each key.
const DELAY_MS: i64 = 200;
const DELAY_STEP_MS: i64 = 80;

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// All in its order.
    Steady,
    /// With mutations that are put off.
    Mixed,
    /// Over HTTP.
    Web,
}

/// A mutation to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Of which kind its key is.
    pub lane: Lane,
    /// Its key.
    pub key: String,
    /// Its identity.
    pub token: String,
    /// Whether it deletes.
    pub deletes: bool,
    /// Put off by so much.
    pub delay_ms: Option<i64>,
    /// Written twice, as by a producer that did not hear of its success.
    pub twice: bool,
}

/// One that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Which.
    pub planned: Planned,
    /// Not to be applied before, in milliseconds since the epoch.
    pub due: i64,
}

impl Planned {
    /// As it is written now.
    pub fn mutation(&self, namespace: &str) -> Mutation {
        Mutation {
            namespace: namespace.to_owned(),
            token: self.token.clone(),
            created_at: now(),
            key: self.key.clone(),
            operation: if self.deletes { Operation::Delete } else { Operation::Put },
            value: (!self.deletes).then(|| value(&self.token).into_bytes()),
            delay_ms: self.delay_ms,
            ..Mutation::default()
        }
    }
}

/// What a put writes: an object of columns, so that PostgreSQL takes it.
pub fn value(token: &str) -> String {
    format!(r#"{{"token":"{token}"}}"#)
}

/// The token in a value.
pub fn token_of(value: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(value).ok()?;
    Some(value.get("token")?.as_str()?.to_owned())
}

/// The token of whatever deletes what this one has put.
pub fn deleting(token: &str) -> String {
    format!("x{token}")
}

fn delay_ms(key: u32) -> i64 {
    DELAY_MS + DELAY_STEP_MS * i64::from(key)
}

/// So many mutations, in the order in which those of a key are to be written.
pub fn plan(seed: u64, mutations: u32) -> Vec<Planned> {
    let (mut dice, mut there) = (fastrand::Rng::with_seed(seed), HashMap::<String, String>::new());
    let one = |number: u32| {
        let lane = match dice.u32(0..100) {
            roll if roll < STEADY => Lane::Steady,
            roll if roll < STEADY + MIXED => Lane::Mixed,
            _ => Lane::Web,
        };
        let keys = KEYS.iter().find(|(of, _)| *of == lane).map_or(1, |(_, keys)| *keys);
        let of_lane = dice.u32(0..keys);
        let (key, token) = (format!("{lane:?}-{of_lane:03}").to_lowercase(), format!("t{number:06}"));
        let last = there.remove(&key).filter(|_| lane == Lane::Steady && dice.u32(0..DELETES) == 0);
        let (token, deletes) = match last {
            Some(last) => (deleting(&last), true),
            None => {
                there.insert(key.clone(), token.clone());
                (token, false)
            }
        };
        let delay_ms = (lane == Lane::Mixed && dice.bool()).then(|| delay_ms(of_lane));
        let twice = lane != Lane::Web && dice.u32(0..TWICE) == 0;
        Planned { lane, key, token, deletes, delay_ms, twice }
    };
    (0..mutations).map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_is_a_plan_of_everything_in_which_each_token_is_once() {
        let all = plan(7, 2_000);
        assert_eq!(all, plan(7, 2_000));
        assert_ne!(all, plan(8, 2_000));
        assert_eq!(all.iter().map(|one| &one.token).collect::<HashSet<_>>().len(), all.len());
        let count = |what: fn(&Planned) -> bool| all.iter().filter(|one| what(one)).count();
        assert!(
            count(|one| one.deletes) > 50 && count(|one| one.twice) > 20 && count(|one| one.delay_ms.is_some()) > 100
        );
        assert!(count(|one| one.lane == Lane::Web) > 50);
        assert!(all.iter().all(|one| !one.deletes || one.lane == Lane::Steady));
    }

    #[test]
    fn a_value_tells_its_token() {
        let mutation = plan(1, 1)[0].mutation("shop");
        assert_eq!(token_of(&mutation.value.expect("a put")).as_deref(), Some("t000000"));
        assert_eq!(token_of(b"{}"), None);
    }
}
