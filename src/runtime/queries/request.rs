//! What a request to `/state` asks for: its parameters, each checked, with an error that names what is wrong.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, Engine as _};

use super::answer::Refusal;
use super::token::Token;
use crate::codec::Shown;
use crate::position::Partition;
use crate::store::Bounds;

/// Entries of a page, if nothing is said.
const DEFAULT_LIMIT: usize = 100;
/// Entries of a page at most.
pub(super) const MAX_LIMIT: usize = 1000;
/// How long `min-position` is waited for, if nothing is said.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(5);
/// The longest wait; the HTTP server's own bound lies above it.
const MAX_PATIENCE: Duration = Duration::from_secs(30);

const NAMES: &[&str] = &[
    "key",
    "from",
    "to",
    "prefix",
    "record-key",
    "limit",
    "reverse",
    "next",
    "partition",
    "min-position",
    "timeout",
    "route",
];
/// Parameters that are keys, and may be given as bytes.
const KEYS: &[&str] = &["key", "from", "to", "prefix", "record-key"];

/// Both alphabets, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What becomes of a request for something that another instance has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// This instance asks the other one.
    Proxy,
    /// The client is told where to ask.
    Redirect,
    /// Only what is here is answered.
    Stay,
}

/// Where a scan goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) partition: Partition,
    /// The last key of the page before; `None`: at the partition's first.
    pub(super) after: Option<Vec<u8>>,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let (partition, after) = match text.split_once('.') {
            Some((partition, after)) => (partition, Some(URL_SAFE_NO_PAD.decode(after).ok()?)),
            None => (text, None),
        };
        Some(Cursor { partition: Partition(partition.parse().ok()?), after })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.after {
            Some(key) => write!(f, "{}.{}", self.partition, URL_SAFE_NO_PAD.encode(key)),
            None => write!(f, "{}", self.partition),
        }
    }
}

/// A request about one store.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// One key's bytes; `None` for a scan.
    pub(super) key: Option<Vec<u8>>,
    pub(super) from: Option<Vec<u8>>,
    pub(super) to: Option<Vec<u8>>,
    pub(super) prefix: Option<Vec<u8>>,
    pub(super) limit: usize,
    pub(super) reverse: bool,
    pub(super) next: Option<Cursor>,
    pub(super) partition: Option<Partition>,
    /// The key of the record that the entry comes from: it says which partition.
    pub(super) record_key: Option<Vec<u8>>,
    pub(super) min_position: Token,
    pub(super) deadline: Instant,
    pub(super) route: Route,
}

/// The parameters, by name.
struct Parameters(BTreeMap<String, String>);

impl Parameters {
    fn parse(query: &str) -> Result<Self, Refusal> {
        let bad = |reason: String| Refusal::Bad(reason);
        let url = reqwest::Url::parse(&format!("http://state/?{query}"));
        let url = url.map_err(|_| bad("the query is no query of a URL".to_owned()))?;
        let mut parameters = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            let stem = name.strip_suffix("-base64").or_else(|| name.strip_suffix("-hex"));
            let known = NAMES.contains(&&*name) || stem.is_some_and(|stem| KEYS.contains(&stem));
            if !known {
                let known = NAMES.join(", ");
                return Err(bad(format!(
                    "there is no such parameter; known are {known}; keys also as …-base64 and …-hex"
                )));
            }
            if value.contains(char::REPLACEMENT_CHARACTER) {
                return Err(bad(format!("{name}: is not UTF-8; give bytes as {name}-base64 or {name}-hex")));
            }
            if parameters.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(bad(format!("{name}: is given twice")));
            }
        }
        Ok(Parameters(parameters))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>, what: &str) -> Result<Option<T>, Refusal> {
        let read = |text: &str| parse(text).ok_or_else(|| Refusal::Bad(format!("{name}: is not {what}")));
        self.text(name).map(read).transpose()
    }

    /// A key's bytes, given as text, base64 or hexadecimal digits.
    fn bytes(&self, name: &str, text: impl Fn(&str) -> Result<Vec<u8>, String>) -> Result<Option<Vec<u8>>, Refusal> {
        let (base64_name, hex_name) = (format!("{name}-base64"), format!("{name}-hex"));
        let bad = |name: &str, reason: &str| Refusal::Bad(format!("{name}: {reason}"));
        match (self.text(name), self.text(&base64_name), self.text(&hex_name)) {
            (None, None, None) => Ok(None),
            (Some(given), None, None) => text(given).map(Some).map_err(|reason| bad(name, &reason)),
            (None, Some(given), None) => {
                // A plus in a query is a space.
                let plain: String = given.replace('-', "+").replace('_', "/").replace(' ', "+");
                BASE64.decode(plain).map(Some).map_err(|_| bad(&base64_name, "is not base64"))
            }
            (None, None, Some(given)) => unhex(given).map(Some).ok_or_else(|| bad(&hex_name, "is not hexadecimal")),
            _ => Err(bad(name, "is given in more than one form")),
        }
    }
}

fn bytes_of(bound: Bound<&[u8]>) -> Option<&[u8]> {
    match bound {
        Bound::Included(bytes) | Bound::Excluded(bytes) => Some(bytes),
        Bound::Unbounded => None,
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let [high, low] = pair else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
    };
    digits.map(byte).collect()
}

impl Request {
    /// Reads the query; `path_key` is the key in the path, if there is one.
    pub(super) fn parse(query: &str, path_key: Option<&str>, keys: &Shown) -> Result<Self, Refusal> {
        let given = Parameters::parse(query)?;
        let encode = |text: &str| keys.encode_text(text).map_err(|error| format!("{}: {error}", keys.format));
        let as_prefix = |text: &str| match keys.is_text {
            true => Ok(text.as_bytes().to_vec()),
            false => {
                Err(format!("the keys are {}, whose bytes are no text; give prefix-base64 or prefix-hex", keys.format))
            }
        };
        let mut key = given.bytes("key", encode)?;
        if let Some(text) = path_key {
            if key.is_some() {
                return Err(Refusal::Bad("key: is given in the path and in the query".to_owned()));
            }
            key = Some(encode(text).map_err(|reason| Refusal::Bad(format!("key: {reason}")))?);
        }
        let patience =
            given.parsed("timeout", |text| humantime::parse_duration(text).ok(), "a time such as 500ms or 5s")?;
        let patience = patience.unwrap_or(DEFAULT_PATIENCE);
        if patience > MAX_PATIENCE {
            return Err(Refusal::Bad(format!("timeout: is {} at most", humantime::format_duration(MAX_PATIENCE))));
        }
        let limit = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        let flag = |text: &str| match text {
            "" | "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        let route = |text: &str| match text {
            "proxy" => Some(Route::Proxy),
            "redirect" => Some(Route::Redirect),
            "none" => Some(Route::Stay),
            _ => None,
        };
        let partition = |text: &str| text.parse().ok().filter(|number| *number >= 0).map(Partition);
        let min_position = given.text("min-position").map(Token::parse).transpose();
        let request = Request {
            key,
            from: given.bytes("from", encode)?,
            to: given.bytes("to", encode)?,
            prefix: given.bytes("prefix", as_prefix)?,
            limit: given.parsed("limit", limit, "a number from 1 to 1000")?.unwrap_or(DEFAULT_LIMIT),
            reverse: given.parsed("reverse", flag, "true or false")?.unwrap_or(false),
            next: given.parsed("next", Cursor::parse, "what an answer gave as next")?,
            partition: given.parsed("partition", partition, "a partition's number")?,
            record_key: given.bytes("record-key", |text| Ok(text.as_bytes().to_vec()))?,
            min_position: min_position
                .map_err(|reason| Refusal::Bad(format!("min-position: {reason}")))?
                .unwrap_or_default(),
            deadline: Instant::now() + patience,
            route: given.parsed("route", route, "proxy, redirect or none")?.unwrap_or(Route::Proxy),
        };
        request.checked(&given)
    }

    /// What does not go together.
    fn checked(self, given: &Parameters) -> Result<Self, Refusal> {
        let bad = |reason: &str| Err(Refusal::Bad(reason.to_owned()));
        let of_scans = ["limit", "reverse", "next"].iter().find(|name| given.text(name).is_some());
        let range = self.from.is_some() || self.to.is_some();
        if self.key.is_some() && (range || self.prefix.is_some() || of_scans.is_some()) {
            return bad("a key is one entry: from, to, prefix, limit, reverse and next are for scans");
        }
        if range && self.prefix.is_some() {
            return bad("prefix: is a range of its own, without from and to");
        }
        if self.partition.is_some() && self.record_key.is_some() {
            return bad("partition: is what record-key says; give one of them");
        }
        Ok(self)
    }

    /// The same scan, from where a page's `next` says.
    pub(super) fn going_on(self, next: &str) -> Result<Self, Refusal> {
        let next = Cursor::parse(next).ok_or_else(|| Refusal::Failed("a page gave no place to go on at".to_owned()))?;
        Ok(Request { next: Some(next), ..self })
    }

    /// The bounds of a scan in one partition, after the last key of the page before.
    pub(super) fn bounds<'a>(&'a self, after: Option<&'a [u8]>, after_prefix: Option<&'a [u8]>) -> Bounds<'a> {
        let included = |bytes: &'a Option<Vec<u8>>| bytes.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let excluded = |bytes: Option<&'a [u8]>| bytes.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut start, mut end) = match &self.prefix {
            Some(_) => (included(&self.prefix), excluded(after_prefix)),
            None => (included(&self.from), excluded(self.to.as_deref())),
        };
        // A page goes on within what was asked for, whatever the client makes of `next`.
        match (after, self.reverse) {
            (Some(after), false) if bytes_of(start).is_none_or(|start| start <= after) => {
                start = Bound::Excluded(after)
            }
            (Some(after), true) if bytes_of(end).is_none_or(|end| after <= end) => end = Bound::Excluded(after),
            _ => {}
        }
        Bounds { start, end }
    }

    /// The same request to the owner of one partition, as path and query.
    pub(super) fn for_peer(&self, store: &str, partition: Partition, limit: usize, after: Option<&[u8]>) -> String {
        let next = after.map(|after| Cursor { partition, after: Some(after.to_vec()) });
        format!("/state/{store}?partition={partition}&{}", self.rest(limit, next.as_ref()))
    }

    /// The same request about all partitions, as a client sends it to an instance that has them all.
    pub(super) fn for_client(&self, store: &str) -> String {
        format!("/state/{store}?{}", self.rest(self.limit, self.next.as_ref()))
    }

    /// All but the partition. Keys go as bytes, and who is asked answers by itself.
    fn rest(&self, limit: usize, next: Option<&Cursor>) -> String {
        let mut query = format!("route=none&timeout={}ms", self.patience().as_millis());
        let mut push = |name: &str, value: &str| query.push_str(&format!("&{name}={value}"));
        let keys = [("key", &self.key), ("from", &self.from), ("to", &self.to), ("prefix", &self.prefix)];
        for (name, bytes) in keys {
            if let Some(bytes) = bytes {
                push(&format!("{name}-base64"), &URL_SAFE_NO_PAD.encode(bytes));
            }
        }
        if self.key.is_none() {
            push("limit", &limit.to_string());
            push("reverse", if self.reverse { "true" } else { "false" });
            if let Some(next) = next {
                push("next", &next.to_string());
            }
        }
        if !self.min_position.is_empty() {
            push("min-position", &self.min_position.to_string());
        }
        query
    }

    /// What is left of the time to wait.
    pub(super) fn patience(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::{Codec, json, text};

    fn texts() -> Shown {
        let codec: Arc<dyn Codec<String>> = Arc::new(text());
        Shown::of(&codec)
    }

    fn parse(query: &str) -> Result<Request, String> {
        Request::parse(query, None, &texts()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn what_is_wrong_is_named_and_never_quoted() {
        for (query, names) in [
            ("form=secret", "no such parameter"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=secret", "limit"),
            ("timeout=31s", "30s at most"),
            ("timeout=secret", "timeout"),
            ("from=a&from=b", "twice"),
            ("key=a&key-hex=61", "more than one form"),
            ("key-hex=6", "hexadecimal"),
            ("key-base64=%2A", "base64"),
            ("key=%FF", "UTF-8"),
            ("key=a&limit=3", "for scans"),
            ("prefix=a&from=b", "prefix"),
            ("route=away", "route"),
            ("reverse=2", "reverse"),
            ("partition=-1", "partition"),
            ("partition=1&record-key=a", "record-key"),
            ("next=x.y", "next"),
            ("min-position=a:b", "min-position"),
        ] {
            let error = parse(query).unwrap_err();
            assert!(error.contains(names) && !error.contains("secret"), "{query}: {error}");
        }
        let numbers: Arc<dyn Codec<u64>> = Arc::new(json::<u64>());
        let numbers = Shown::of(&numbers);
        let error = Request::parse("", Some("secret"), &numbers).unwrap_err().to_string();
        assert!(error.contains("key: json(u64)") && !error.contains("secret"), "{error}");
        assert!(Request::parse("prefix=1", None, &numbers).unwrap_err().to_string().contains("prefix-base64"));
    }

    #[test]
    fn a_key_is_the_same_in_each_of_its_forms() {
        for query in ["key=a%2F%3E%3F", "key-hex=612F3e3f", "key-base64=YS8%2BPw==", "key-base64=YS8-Pw"] {
            assert_eq!(parse(query).unwrap().key.as_deref(), Some(&b"a/>?"[..]), "{query}");
        }
        assert_eq!(parse("key=").unwrap().key.as_deref(), Some(&b""[..]), "an empty key is a key");
    }

    /// What the owner reads is what the client asked for.
    #[test]
    fn a_peer_reads_back_what_it_is_asked() {
        let asked = parse("from=a%26b&to=%C3%A9&reverse&limit=7&min-position=in:1:5&timeout=4s").unwrap();
        let query = asked.for_peer("s", Partition(3), 5, Some(b"\xff+"));
        let read = parse(query.strip_prefix("/state/s?").unwrap()).unwrap();
        assert_eq!((&read.from, &read.to, read.reverse, read.limit), (&asked.from, &asked.to, true, 5));
        assert_eq!((read.partition, read.route), (Some(Partition(3)), Route::Stay));
        assert_eq!(read.next, Some(Cursor { partition: Partition(3), after: Some(b"\xff+".to_vec()) }));
        assert_eq!(read.min_position, asked.min_position);
        assert!(read.patience() <= asked.patience() && !asked.patience().is_zero());
    }

    #[test]
    fn a_page_goes_on_after_the_last_key_in_either_direction() {
        let forward = parse("from=b&to=d").unwrap();
        assert_eq!(forward.bounds(Some(b"c"), None).start, Bound::Excluded(&b"c"[..]));
        assert_eq!(forward.bounds(Some(b"c"), None).end, Bound::Excluded(&b"d"[..]));
        let backward = parse("prefix=b&reverse=true").unwrap();
        let bounds = backward.bounds(Some(b"bb"), Some(b"c"));
        assert_eq!((bounds.start, bounds.end), (Bound::Included(&b"b"[..]), Bound::Excluded(&b"bb"[..])));
    }
}
