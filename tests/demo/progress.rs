//! What the user sees while it runs: a bar on a terminal, a plain line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two plain lines.
const LINES: Duration = Duration::from_secs(5);

/// Where the display goes.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last_line: Instant,
    start: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar.set_style(style("{spinner} {msg}"));
            bar
        });
        Progress { bar, last_line: Instant::now(), start: Instant::now() }
    }

    /// A line that stays.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("demo: {text}")),
            None => println!("demo: {text}"),
        }
    }

    /// What is being waited for.
    pub(crate) fn stage(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.say(&format!("{text} ({} s)", self.start.elapsed().as_secs())),
        }
    }

    /// From now on there is an end in sight.
    pub(crate) fn begin(&mut self, total: Duration) {
        self.last_line = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_style(style("{bar:30.cyan/blue} {pos:>3}/{len} s  {msg}").progress_chars("━╸─"));
            bar.set_length(total.as_secs());
        }
    }

    /// How far it is.
    pub(crate) fn at(&mut self, elapsed: Duration, text: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(elapsed.as_secs());
                bar.set_message(text.to_owned());
            }
            None if self.last_line.elapsed() >= LINES => {
                self.last_line = Instant::now();
                println!("demo: {:>3} s  {text}", elapsed.as_secs());
            }
            None => {}
        }
    }

    /// Back to waiting without an end in sight.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.set_style(style("{spinner} {msg}"));
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // The cursor is hidden behind a bar that is left standing.
        self.clear();
    }
}

/// A template that is wrong shows as indicatif's default bar, which is no reason to fail.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
