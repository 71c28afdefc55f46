//! The binary's own HTTP: readiness, and the few metrics that the progress display shows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;

/// Time for one answer; it comes from this machine.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What one scrape says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scrape {
    /// Requests that Redis applied, in this life of the process.
    pub(crate) applied: u64,
    /// Input records that are still to be processed.
    pub(crate) lag: u64,
}

/// Reads `/metrics`; nothing while the process is away.
pub(crate) fn scrape(address: SocketAddr) -> Option<Scrape> {
    let (status, body) = http(address, "/metrics").ok()?;
    (status == 200).then(|| Scrape {
        applied: sum(&body, "headrace_external_requests_total{", Some("outcome=\"applied\"")),
        lag: sum(&body, "headrace_lag_records{", None),
    })
}

/// The sum over all series of a metric.
fn sum(body: &str, metric: &str, label: Option<&str>) -> u64 {
    let series = body.lines().filter(|line| line.starts_with(metric));
    let series = series.filter(|line| label.is_none_or(|label| line.contains(label)));
    let values = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    // Counts of records, far below 2^53.
    values.sum::<f64>() as u64
}

/// Status and body of a GET; HTTP/1.0, so that the answer ends with the connection.
pub(crate) fn http(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_series_of_one_metric_and_label() {
        let body =
            "# HELP x\nx_total{a=\"1\",o=\"yes\"} 3\nx_total{a=\"2\",o=\"yes\"} 4\nx_total{a=\"1\",o=\"no\"} 9\n";
        assert_eq!(sum(body, "x_total{", Some("o=\"yes\"")), 7);
        assert_eq!(sum(body, "x_total{", None), 16);
    }
}
