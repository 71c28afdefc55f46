//! A bad network on the real protocol: a proxy before a broker, and plans of what it does to which request.

pub mod dice;
pub mod proxy;
mod refusal;
mod relay;

pub use relay::Relay;
