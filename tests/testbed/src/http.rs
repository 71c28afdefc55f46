//! Requests to the HTTP servers of the testbed, with a deadline and readable errors.

use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Result};

/// Time for one request, connect included.
const DEADLINE: Duration = Duration::from_secs(30);
/// Time for one look at whether a server is up.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

fn agent(deadline: Duration) -> ureq::Agent {
    // A status of 4xx is an answer with a body that says why, not a transport error.
    let config = ureq::Agent::config_builder().timeout_global(Some(deadline)).http_status_as_error(false);
    ureq::Agent::new_with_config(config.build())
}

/// An answer: the status and the body, read as text.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends `method` to `url`, with a JSON body if there is one.
pub(crate) fn request(method: &str, url: &str, body: Option<&Value>) -> Result<Answer> {
    send(&agent(DEADLINE), method, url, body)
        .map_err(|reason| Error::Http { request: format!("{method} {url}"), reason })
}

/// As [`request`], but a status other than 2xx is an error too; the body is read as JSON (null if empty).
pub(crate) fn json(method: &str, url: &str, body: Option<&Value>) -> Result<Value> {
    let answer = request(method, url, body)?;
    let failed = |reason| Error::Http { request: format!("{method} {url}"), reason };
    if !(200..300).contains(&answer.status) {
        return Err(failed(format!("{}: {}", answer.status, answer.body)));
    }
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&answer.body).map_err(|e| failed(format!("no JSON ({e}): {}", answer.body)))
}

/// The body of a GET, for pages of the programs under test, with the status before it.
pub fn get(url: &str) -> Result<(u16, String)> {
    let answer = request("GET", url, None)?;
    Ok((answer.status, answer.body))
}

/// Whether GET of `url` gives 200, for a probe.
pub(crate) fn is_ready(url: &str) -> std::result::Result<(), String> {
    let answer = send(&agent(PROBE_DEADLINE), "GET", url, None)?;
    if answer.status == 200 { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.body)) }
}

fn send(agent: &ureq::Agent, method: &str, url: &str, body: Option<&Value>) -> std::result::Result<Answer, String> {
    let text = body.map(Value::to_string).unwrap_or_default();
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(url)
        .header("content-type", "application/json")
        .body(text)
        .map_err(|e| e.to_string())?;
    let mut answer = agent.run(request).map_err(|e| e.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().read_to_string().map_err(|e| e.to_string())?;
    Ok(Answer { status, body })
}
