//! Instances of the queue over HTTP: those that were named, or the one that the configuration would start.

use std::time::Duration;

use headrace::config::HttpConfig;
use headrace::error::FatalError;
use reqwest::{Client, StatusCode, Url};

/// Patience with one answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer that is read: a task's payload takes up to four bytes for each of its own there.
const LONGEST_ANSWER: usize = 64 << 20;

/// Those that are asked.
pub(super) struct Instances {
    /// Where they are.
    pub(super) urls: Vec<Url>,
    client: Client,
    /// For `/state`.
    token: Option<String>,
}

impl Instances {
    /// `at`: where they were said to be; by default where the configuration has an instance listen.
    ///
    /// # Errors
    /// One is no URL, or none was given and the configuration doesn't tell.
    pub(super) fn new(http: &HttpConfig, at: &[String]) -> Result<Self, FatalError> {
        let urls = match at {
            [] => vec![listening(http)?],
            at => at.iter().map(|text| parsed(text)).collect::<Result<_, _>>()?,
        };
        let client = Client::builder().timeout(PATIENCE).build();
        let client =
            client.map_err(|error| FatalError::Other { context: "an HTTP client".to_owned(), source: error.into() })?;
        let token = http.state_token.as_ref().map(|token| token.reveal().to_owned());
        Ok(Instances { urls, client, token })
    }

    /// Status and body of a page. `path`: its segments, which are escaped.
    ///
    /// # Errors
    /// Nobody answers there, in words.
    pub(super) async fn get(&self, at: &Url, path: &[&str]) -> Result<(StatusCode, String), String> {
        let mut url = at.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.client.get(url);
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let said = |error: reqwest::Error| format!("no answer from {at}: {}", chain(&error.without_url()));
        let mut answer = request.send().await.map_err(said)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(said)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ANSWER {
                return Err(format!("{at} answered with more than {LONGEST_ANSWER} bytes"));
            }
        }
        Ok((answer.status(), String::from_utf8_lossy(&body).into_owned()))
    }
}

/// reqwest's own words leave out the causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Where an instance of this configuration listens, as somebody on the same machine reaches it.
fn listening(http: &HttpConfig) -> Result<Url, FatalError> {
    let mut address = http.listen;
    if address.port() == 0 {
        let reason = "http.listen: has port 0, so an instance is at whatever port was free; give --at http://host:port";
        return Err(FatalError::Config(reason.to_owned()));
    }
    if address.ip().is_unspecified() {
        let local: [std::net::IpAddr; 2] = [std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()];
        address.set_ip(local[usize::from(address.is_ipv6())]);
    }
    parsed(&format!("http://{address}"))
}

fn parsed(text: &str) -> Result<Url, FatalError> {
    let wrong =
        |reason: String| FatalError::Config(format!("--at {text}: {reason}; write it like http://127.0.0.1:9464"));
    let url: Url = text.parse().map_err(|error| wrong(format!("is no URL: {error}")))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(wrong("is neither http nor https".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(listen: &str) -> HttpConfig {
        HttpConfig { listen: listen.parse().unwrap(), advertised: None, token: None, state_token: None }
    }

    #[test]
    fn who_is_asked_is_who_was_named_or_who_would_listen() {
        let urls = |listen, at: &[&str]| {
            let at: Vec<String> = at.iter().map(|at| (*at).to_owned()).collect();
            let instances = Instances::new(&http(listen), &at).map_err(|error| error.to_string())?;
            Ok::<_, String>(instances.urls.iter().map(Url::to_string).collect::<Vec<_>>())
        };
        assert_eq!(urls("127.0.0.1:9", &[]).unwrap(), ["http://127.0.0.1:9/"]);
        assert_eq!(urls("0.0.0.0:9", &[]).unwrap(), ["http://127.0.0.1:9/"]);
        assert_eq!(urls("[::]:9", &[]).unwrap(), ["http://[::1]:9/"]);
        assert_eq!(urls("127.0.0.1:0", &["http://a:1", "https://b"]).unwrap(), ["http://a:1/", "https://b/"]);
        assert!(urls("127.0.0.1:0", &[]).unwrap_err().contains("--at"));
        for wrong in ["a:1", "ftp://a", ""] {
            assert!(urls("127.0.0.1:9", &[wrong]).unwrap_err().contains("http://127.0.0.1:9464"), "{wrong}");
        }
    }
}
