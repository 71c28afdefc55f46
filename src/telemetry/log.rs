//! The log: lines on stderr, for people or as JSON, filtered by level and module.
//!
//! stdout belongs to results (`describe`, `config show`), so that they can be piped. librdkafka's lines, which come by
//! the `log` crate, are bridged in.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::error::{FatalError, Source};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLines {
    /// For people; in colour on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Checks and parses a filter: a level, or directives such as `info,headrace::store=debug`.
///
/// # Errors
/// With the reason, as text.
pub fn log_filter(directives: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(directives).map_err(|error| error.to_string())
}

/// Starts the log of the process. Once; before anything else that logs.
///
/// # Errors
/// If the filter is wrong, or there is a log already.
pub fn init_log(lines: LogLines, directives: &str) -> Result<(), FatalError> {
    let filter =
        log_filter(directives).map_err(|reason| FatalError::Config(format!("log.filter: `{directives}`: {reason}")))?;
    let colour = lines == LogLines::Text && std::io::stderr().is_terminal();
    subscriber(lines, filter, colour, std::io::stderr)
        .try_init()
        .map_err(|error| FatalError::Other { context: "starting the log".to_owned(), source: Source::from(error) })
}

fn subscriber<W>(lines: LogLines, filter: EnvFilter, colour: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = fmt().with_env_filter(filter).with_ansi(colour).with_writer(writer);
    match lines {
        LogLines::Text => Box::new(builder.finish()),
        LogLines::Json => {
            Box::new(builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(lines: LogLines, filter: &str) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(lines, log_filter(filter).unwrap(), false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(event = "task-created", task = "0_3", "created task 0_3");
            tracing::debug!("hidden");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_have_the_fields_at_the_top() {
        let text = logged(LogLines::Json, "info");
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((line["event"].as_str(), line["task"].as_str()), (Some("task-created"), Some("0_3")));
        assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("INFO"), Some("created task 0_3")));
    }

    #[test]
    fn text_lines_have_no_escapes_where_there_is_no_terminal() {
        let text = logged(LogLines::Text, "info");
        assert!(text.contains("created task 0_3") && text.contains("task=\"0_3\""), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("hidden"), "{text}");
    }

    #[test]
    fn a_wrong_filter_is_an_error_that_names_the_key() {
        let error = init_log(LogLines::Text, "info,=,=").unwrap_err();
        assert!(error.to_string().starts_with("log.filter: `info,=,=`"), "{error}");
        assert_eq!(error.exit_code(), 64);
    }
}
