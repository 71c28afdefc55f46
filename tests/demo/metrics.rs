//! The binary's own HTTP: readiness, and the one metric that the progress display shows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;

/// Time for one answer; it comes from this machine.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Requests that Redis applied in this life of the process; nothing while it is away.
pub(crate) fn applied(address: SocketAddr) -> Option<u64> {
    let (status, body) = http(address, "/metrics").ok()?;
    (status == 200).then(|| sum(&body, "headrace_external_requests_total{", "outcome=\"applied\""))
}

/// The sum over those series of a metric that have a label.
fn sum(body: &str, metric: &str, label: &str) -> u64 {
    let series = body.lines().filter(|line| line.starts_with(metric));
    let series = series.filter(|line| line.contains(label));
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
        assert_eq!(sum(body, "x_total{", "o=\"yes\""), 7);
    }
}
