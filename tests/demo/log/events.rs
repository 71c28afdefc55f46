//! What Redis itself says happened to its keys: its keyspace notifications. They are heard a moment after it happened, at the latest.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use chaos::pause::Stop;
use chaos::queue::ground::now;
use chaos::wal::judge::Effect;
use chaos::wal::plan::deleting;
use testbed::Redis;

use super::mutations::SESSIONS;
use crate::Result;

/// For one look.
const LOOK: Duration = Duration::from_millis(200);

/// Effects by key, in their order.
pub(crate) type Effects = BTreeMap<String, Vec<Effect>>;

/// Hears what happens to sessions, on a thread of its own.
pub(crate) struct Events {
    stop: Arc<Stop>,
    thread: JoinHandle<Result<Effects>>,
}

impl Events {
    pub(crate) fn start(server: &Redis) -> Result<Self> {
        // Of keys, by strings' commands and those of all types.
        server.command(&["CONFIG", "SET", "notify-keyspace-events", "Kg$"])?;
        let mut connection = redis::Client::open(server.url())?.get_connection()?;
        connection.set_read_timeout(Some(LOOK))?;
        let prefix = format!("__keyspace@0__:{SESSIONS}:");
        let stop = Arc::<Stop>::default();
        let (stopped, (ready, is_ready)) = (Arc::clone(&stop), mpsc::channel());
        let thread = std::thread::spawn(move || {
            let (mut subscribed, mut effects) = (connection.as_pubsub(), Effects::new());
            subscribed.psubscribe(format!("{prefix}*"))?;
            // Whoever waits for it has not gone.
            _ = ready.send(());
            // What came before the stop has been heard once nothing comes any more.
            loop {
                let message = match subscribed.get_message() {
                    Ok(message) => message,
                    Err(error) if error.is_timeout() && stopped.is_stopped() => return Ok(effects),
                    Err(error) if error.is_timeout() => continue,
                    Err(error) => return Err(error.into()),
                };
                let (channel, event): (String, String) = (message.get_channel()?, message.get_payload()?);
                let key = channel.trim_start_matches(&prefix).to_owned();
                let token = match event.as_str() {
                    "set" => key.clone(),
                    "del" => deleting(&key),
                    _ => continue,
                };
                effects.entry(key).or_default().push(Effect { token, at: now() });
            }
        });
        // From now on nothing is missed. If it can't be heard, the end says why.
        _ = is_ready.recv();
        Ok(Events { stop, thread })
    }

    /// All that happened.
    pub(crate) fn finish(self) -> Result<Effects> {
        self.stop.stop();
        self.thread.join().map_err(|_| "who hears Redis panicked")?
    }
}
