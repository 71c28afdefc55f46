//! What is simulated: the loop as it is, or a world that breaks one of its rules and has to be caught.

use std::fmt;
use std::str::FromStr;

/// The loop in its world, or in one with a fault that no seed may forgive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// The loop as it is, in Kafka as it is.
    Ours,
    /// The producer sends positions with generation −1 and no member id, which librdkafka hands out to whoever has lost its
    /// membership and the broker takes for anybody's (rule N-4). The loop itself refuses to pass them on.
    AnyGeneration,
    /// The broker looks at nobody's generation (KIP-447).
    NoFence,
    /// Transactions v1: the epoch stays from one transaction to the next, so that what is late of one ends another
    /// (rule N-2).
    SameEpoch,
    /// The producer tells of a commit before its end was answered, so that the WriteBatch comes before the outcome
    /// (rule R-17).
    EarlyOutcome,
    /// The positions that are sent are one further than what was processed (rule R-7).
    OneTooFar,
    /// A partition takes records of the next transaction before it has all of this one (rule N-5).
    Overtaking,
}

impl Arm {
    /// Those that have to be caught.
    pub const CONTROLS: [Arm; 6] =
        [Arm::AnyGeneration, Arm::NoFence, Arm::SameEpoch, Arm::EarlyOutcome, Arm::OneTooFar, Arm::Overtaking];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Arm::Ours => "ours",
            Arm::AnyGeneration => "any-generation",
            Arm::NoFence => "no-fence",
            Arm::SameEpoch => "same-epoch",
            Arm::EarlyOutcome => "early-outcome",
            Arm::OneTooFar => "one-too-far",
            Arm::Overtaking => "overtaking",
        }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Arm::CONTROLS.into_iter().chain([Arm::Ours]);
        all.find(|arm| arm.name() == text).ok_or_else(|| format!("there is no arm {text}"))
    }
}
