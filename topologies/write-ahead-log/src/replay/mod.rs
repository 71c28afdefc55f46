//! A replay: what came into the log in a time, written into it once more, in the same order, without what is named.
//!
//! ```text
//!  restore the target's backup of `from` ─▶ replay from … to, without the mutation that broke it ─▶ as if that had never come
//! ```
//!
//! What was put off takes part at its time, as it was applied. Each mutation gets a token of its own, which depends on nothing but what is
//! asked and its place: who asks for the same again goes on, since the log knows those tokens.

mod expression;

use std::collections::{BTreeMap, HashSet};

use headrace::position::{Offset, Partition};

use crate::mutation::{Mutation, Operation};

pub use expression::Expression;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Of which namespace.
    pub namespace: String,
    /// From when on, in milliseconds since the epoch.
    pub from: i64,
    /// Until before when.
    pub to: i64,
    /// Those that any of them names are left out.
    pub exclude: Vec<Expression>,
    /// Only what was for this target, which is the only one that it is written to.
    pub target: Option<String>,
    /// Where mutations say nothing, they are put off by the namespace for so many milliseconds.
    pub delay_ms: i64,
}

/// A record of the log.
#[derive(Debug, Clone)]
pub struct Came {
    /// Its partition.
    pub partition: Partition,
    /// Its place there.
    pub offset: Offset,
    /// The record's time, in milliseconds since the epoch.
    pub at: i64,
    /// What it says.
    pub mutation: Mutation,
}

/// What is left out of a replay, and what is not.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is written again, with its new token, in its order.
    pub mutations: Vec<Mutation>,
    /// How many were left out.
    pub excluded: usize,
    /// The first of these.
    pub first: Option<Came>,
    /// Keys that are written.
    pub keys: usize,
    /// Keys that end otherwise, because something was left out.
    pub differing: Vec<Differing>,
}

/// A key that ends otherwise: by the tokens of the mutations that are the last ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    /// The key.
    pub key: String,
    /// Its last mutation, had nothing been left out.
    pub before: String,
    /// Its last one now; none if it is as it was before the time.
    pub after: Option<String>,
}

impl Plan {
    /// Of what came, in any order.
    pub fn of(asked: &Asked, name: &str, mut came: Vec<Came>) -> Self {
        // A mutation's turn is when it was due, and behind what was before it in its partition.
        came.sort_by_key(|came| (due(asked, came), came.partition.0, came.offset.0));
        let (mut plan, mut known) = (Plan::default(), HashSet::new());
        let mut ends: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
        for came in came.into_iter().filter(|came| asked.wants(&came.mutation)) {
            // Sent again, it was the same mutation.
            if !known.insert((came.mutation.token.clone(), came.mutation.target.clone())) {
                continue;
            }
            let ended = ends.entry(came.mutation.key.clone()).or_default();
            ended.0 = Some(came.mutation.token.clone());
            if asked.exclude.iter().any(|expression| expression.holds(&came.mutation)) {
                plan.excluded += 1;
                plan.first = plan.first.into_iter().chain([came]).min_by_key(|came| (came.at, came.offset.0));
                continue;
            }
            ended.1 = Some(came.mutation.token.clone());
            plan.mutations.push(asked.again(name, came));
        }
        plan.keys = ends.len();
        let differing = ends.into_iter().filter(|(_, (before, after))| before != after);
        plan.differing =
            differing.filter_map(|(key, (before, after))| Some(Differing { key, before: before?, after })).collect();
        plan
    }
}

fn due(asked: &Asked, came: &Came) -> i64 {
    came.mutation.due(asked.delay_ms).max(came.at)
}

impl Asked {
    fn wants(&self, mutation: &Mutation) -> bool {
        let to_it = |target: &String| mutation.target.as_ref().is_none_or(|own| own == target);
        mutation.namespace == self.namespace && self.target.as_ref().is_none_or(to_it)
    }

    /// What is asked, as a part of tokens: the same for the same.
    pub fn name(&self) -> String {
        let text = format!("{self:?}");
        format!("{:08x}", crc32fast::hash(text.as_bytes()))
    }

    /// The mutation as it is written now; its time has come already, or comes yet.
    fn again(&self, name: &str, came: Came) -> Mutation {
        let due = due(self, &came);
        let Came { partition, offset, mutation, .. } = came;
        Mutation {
            token: format!("replay-{name}-{}-{}", partition.0, offset.0),
            target: self.target.clone().or(mutation.target),
            not_before: Some(due),
            delay_ms: Some(0),
            group: None,
            version: None,
            ..mutation
        }
    }
}

/// What is done with a key, in words.
pub fn shown(mutation: &Mutation) -> String {
    let what = match mutation.operation {
        Operation::Put => "PUT",
        Operation::Delete => "DELETE",
    };
    format!("{what} {} ({})", mutation.key, mutation.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: i64 = 1_700_000_000_000;

    fn came(offset: i64, token: &str, key: &str, delay: i64) -> Came {
        let mutation = Mutation {
            namespace: "shop".to_owned(),
            token: token.to_owned(),
            created_at: FROM + offset,
            key: key.to_owned(),
            value: Some(Vec::new()),
            delay_ms: (delay > 0).then_some(delay),
            ..Mutation::default()
        };
        Came { partition: Partition(0), offset: Offset(offset), at: FROM + offset, mutation }
    }

    fn asked(exclude: &[&str]) -> Asked {
        let exclude = exclude.iter().map(|text| text.parse().unwrap()).collect();
        Asked { namespace: "shop".to_owned(), from: FROM, to: FROM + 1_000, exclude, target: None, delay_ms: 0 }
    }

    fn tokens(plan: &Plan) -> Vec<&str> {
        plan.mutations.iter().map(|mutation| mutation.token.as_str()).collect()
    }

    #[test]
    fn m11_what_was_put_off_has_its_turn_when_it_was_due_and_the_same_token_is_once_there() {
        let all = vec![came(0, "a", "k", 5), came(1, "b", "k", 0), came(2, "b", "k", 0), came(9, "c", "x", 0)];
        let plan = Plan::of(&asked(&[]), "n", all);
        assert_eq!(tokens(&plan), ["replay-n-0-1", "replay-n-0-0", "replay-n-0-9"]);
        assert_eq!((plan.excluded, plan.keys, plan.differing.len()), (0, 2, 0));
        assert_eq!(plan.mutations[1].due(0), FROM + 5);
    }

    #[test]
    fn m11_a_key_differs_if_its_last_mutation_is_left_out() {
        let all = vec![
            came(0, "a", "k", 0),
            came(1, "bad-1", "k", 0),
            came(2, "bad-2", "x", 0),
            came(3, "bad-3", "y", 0),
            came(4, "d", "y", 0),
        ];
        let plan = Plan::of(&asked(&["token=bad-*"]), "n", all);
        assert_eq!((plan.excluded, plan.keys), (3, 3));
        let of = |key: &str, before: &str, after: Option<&str>| Differing {
            key: key.to_owned(),
            before: before.to_owned(),
            after: after.map(str::to_owned),
        };
        assert_eq!(plan.differing, [of("k", "bad-1", Some("a")), of("x", "bad-2", None)]);
        assert_eq!(plan.first.unwrap().offset, Offset(1));
    }

    #[test]
    fn m11_who_asks_for_the_same_again_goes_on() {
        assert_eq!(asked(&["key=a"]).name(), asked(&["key=a"]).name());
        assert_ne!(asked(&["key=a"]).name(), asked(&["key=b"]).name());
    }
}
