//! An engine's copy, and what of it decides what happens next.
//!
//! An engine is neither copied nor compared anywhere else; a model checker does both, for each state.

use std::hash::{Hash as _, Hasher};

use super::super::*;
use crate::share::model::clock::ahead;

impl Engine {
    /// The same member in another world. What was delivered and not taken out is left behind.
    pub(in crate::share) fn fork(&self) -> Self {
        Engine {
            settings: self.settings.clone(),
            membership: self.membership.fork(),
            ledger: self.ledger.fork(),
            group: Arc::clone(&self.group),
            member: Arc::clone(&self.member),
            nodes: self.nodes.iter().map(|(broker, node)| (*broker, node.fork())).collect(),
            parts: self.parts.iter().map(|(named, part)| (*named, part.fork())).collect(),
            names: self.names.clone(),
            assigned: self.assigned.clone(),
            desk: Arc::new(Desk::new(self.desk.window())),
            deliveries: Vec::new(),
            tools: Tools::new(self.settings.max_plain_bytes),
            failed: self.failed.clone(),
            ..*self
        }
    }

    /// When metadata has failed before is not part of it: each back-off is over after one step of the model's time.
    pub(in crate::share) fn image(&self, now: Instant, to: &mut impl Hasher) {
        self.membership.image(now, to);
        self.ledger.image(now, to);
        (self.nodes.len(), self.parts.len()).hash(to);
        for (broker, node) in &self.nodes {
            broker.hash(to);
            node.image(now, to);
        }
        for (named, part) in &self.parts {
            named.hash(to);
            part.image(now, to);
        }
        (&self.assigned, self.names.len(), self.looking, self.look_at.map(|at| ahead(at, now))).hash(to);
        (self.phase as u8, self.turn, self.failed.is_some(), self.desk.window()).hash(to);
    }
}
