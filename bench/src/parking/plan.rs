//! Which mutations there are, in which order: those of many keys, evenly, and between them those of the poison key.

/// Different keys of the others.
pub(super) const KEYS: u64 = 10_000;
/// Before one in so many of the others comes one of the poison key.
pub(super) const EACH: u64 = 60;
/// Its name.
pub(super) const POISON: &str = "poison";

/// A mutation, by its number among those of its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Other(u64),
    Poison(u64),
}

impl Which {
    /// What comes when it is this one's turn among the others.
    pub(super) fn of(other: u64, with_poison: bool) -> impl Iterator<Item = Which> {
        let poison = (with_poison && other.is_multiple_of(EACH)).then_some(Which::Poison(other / EACH));
        poison.into_iter().chain([Which::Other(other)])
    }

    /// Its token.
    pub(super) fn token(self) -> String {
        match self {
            Which::Other(number) => format!("other-{number}"),
            Which::Poison(number) => format!("poison-{number}"),
        }
    }

    /// By its token.
    pub(super) fn named(token: &str) -> Option<Which> {
        let (side, number) = token.split_once('-')?;
        let number = number.parse().ok()?;
        match side {
            "other" => Some(Which::Other(number)),
            "poison" => Some(Which::Poison(number)),
            _ => None,
        }
    }

    /// Its key, which orders it.
    pub(super) fn key(self) -> String {
        match self {
            Which::Other(number) => format!("key-{}", number % KEYS),
            Which::Poison(_) => POISON.to_owned(),
        }
    }
}
