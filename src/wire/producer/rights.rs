//! Which right is missing, as the way out of a refusal.

use super::engine::Engine;
use super::sides::Side;

/// What a broker was asked for when it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Initialise,
    Produce,
    Offsets,
    End,
}

impl Engine {
    /// What to allow to the application's user after this code, to a request of this side; nothing if it does not speak of a right.
    pub(super) fn way_out(&self, asked: Asked, side: Side, code: i16) -> String {
        let id = self.settings.transactional_id(side).unwrap_or_default();
        let group = self.group().unwrap_or_default();
        let right = match (asked, code) {
            (Asked::Offsets, 29) => "Read on the input topic".to_owned(),
            (_, 29) => "Write on the topic".to_owned(),
            (_, 30) => format!("Read on the group {group}"),
            (_, 31) => "IdempotentWrite on the cluster".to_owned(),
            (_, 53) => format!("Write on the transactional id {id}"),
            _ => return String::new(),
        };
        format!("; allow {right} to the application's user")
    }
}
