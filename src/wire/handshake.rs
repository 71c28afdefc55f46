//! What is said before the first request: which versions the broker has (KIP-511), and who we are (KIP-152, KIP-368).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Message, StrBytes};

use super::api::Offer;
use super::channel::{Channel, decode, strip_header};
use super::error::{Code, WireError};
use super::oauth::{self, Token, Tokens};
use super::scram::{Hash, Scram};
use super::security::{Credentials, Login};
use super::tls;

/// What brokers count our connections by.
const SOFTWARE_NAME: &str = "headrace";
/// UNSUPPORTED_VERSION: the broker does not know this version of ApiVersions, and answers in version 0.
const UNSUPPORTED_VERSION: i16 = 35;
/// Bytes of a SCRAM nonce before they are made printable.
const NONCE_BYTES: usize = 24;
/// The version that wraps SASL's bytes in requests.
const SASL_HANDSHAKE_VERSION: i16 = 1;
/// Where to look when a token is refused.
const TOKEN_PROPERTIES: &str =
    "(is the token's issuer, audience and scope what the listener's sasl.oauthbearer.* expect?)";
/// Longest text of a broker that an error repeats.
const MAX_REASON_CHARS: usize = 300;

/// Asks which versions the broker has.
pub(super) async fn negotiate(channel: &mut Channel) -> Result<Offer, WireError> {
    let newest = ApiVersionsRequest::VERSIONS.max;
    let response = match ask(channel, newest).await? {
        Ok(response) => response,
        Err(version) => ask(channel, version).await?.map_err(|_| WireError::Protocol {
            address: channel.address().to_owned(),
            reason: format!("the broker refuses version {version} of ApiVersions, which it offered"),
        })?,
    };
    if let Some(code) = Code::new(response.error_code) {
        return Err(WireError::from_code(format!("{}: ApiVersions", channel.address()), code));
    }
    Ok(Offer::new(&response))
}

/// The response, or the version to ask in instead.
async fn ask(channel: &mut Channel, version: i16) -> Result<Result<ApiVersionsResponse, i16>, WireError> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str(SOFTWARE_NAME))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    let (frame, header_version) = channel.exchange_raw(&request, version).await?;
    let mut body = strip_header(channel.address(), ApiKey::ApiVersions, frame, header_version)?;
    let refused = body.get(..2) == Some(&UNSUPPORTED_VERSION.to_be_bytes());
    if !refused {
        return decode(channel.address(), ApiKey::ApiVersions, &mut body, version).map(Ok);
    }
    // An old broker names no versions at all; then the oldest is right.
    let response: ApiVersionsResponse = decode(channel.address(), ApiKey::ApiVersions, &mut body, 0)?;
    let own = response.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions as i16);
    Ok(Err(own.map_or(0, |api| api.max_version.clamp(0, version.saturating_sub(1)))))
}

/// Logs in, at the beginning or again. Gives the session's lifetime if it has one. A token that can't be had is found out
/// before the broker is told anything.
pub(super) async fn authenticate(
    channel: &mut Channel,
    offer: &Offer,
    login: &Login,
) -> Result<Option<Duration>, WireError> {
    let token = match login {
        Login::Bearer(tokens) => Some(tokens.token().await?),
        Login::Plain(_) | Login::Scram(..) => None,
    };
    let address = channel.address().to_owned();
    let failed = |reason: String| WireError::Authentication {
        address: address.clone(),
        mechanism: login.mechanism(),
        user: login.user().to_owned(),
        reason: reason.chars().take(MAX_REASON_CHARS).collect(),
    };
    let handshake = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(login.mechanism()));
    let response = channel.exchange(&handshake, SASL_HANDSHAKE_VERSION).await?;
    if let Some(code) = Code::new(response.error_code) {
        let offered: Vec<&str> = response.mechanisms.iter().map(StrBytes::as_str).collect();
        return Err(failed(format!("{code}; the listener has: {} (sasl.mechanism)", offered.join(", "))));
    }
    let lifetime = match (login, &token) {
        (Login::Plain(who), _) => {
            let text = format!("\0{}\0{}", who.user, who.password.reveal());
            step(channel, offer, text, &failed).await?.1
        }
        (Login::Scram(hash, who), _) => scram(channel, offer, who, *hash, &failed).await?,
        (Login::Bearer(tokens), Some(token)) => bearer(channel, offer, (tokens, token), &failed).await?,
        (Login::Bearer(_), None) => return Err(failed("there is no token".to_owned())),
    };
    Ok(u64::try_from(lifetime).ok().filter(|millis| *millis > 0).map(Duration::from_millis))
}

async fn scram(
    channel: &mut Channel,
    offer: &Offer,
    who: &Credentials,
    hash: Hash,
    failed: &(impl Fn(String) -> WireError + Sync),
) -> Result<i64, WireError> {
    let mut nonce = [0; NONCE_BYTES];
    tls::random(&mut nonce).map_err(failed)?;
    let scram = Scram::new(hash, &who.user, &STANDARD_NO_PAD.encode(nonce));
    let (server_first, _) = step(channel, offer, scram.first(), failed).await?;
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).map_err(|_| failed("not a SCRAM text".to_owned()));
    let (last, proof) = scram.answer(who.password.reveal(), &text(&server_first)?).map_err(failed)?;
    let (server_last, lifetime) = step(channel, offer, last, failed).await?;
    proof.verify(&text(&server_last)?).map_err(failed)?;
    Ok(lifetime)
}

/// Shows the token. A broker that does not take it answers with the reason, and refuses only after our last text (RFC 7628).
async fn bearer(
    channel: &mut Channel,
    offer: &Offer,
    (tokens, token): (&Tokens, &Token),
    failed: &(impl Fn(String) -> WireError + Sync),
) -> Result<i64, WireError> {
    let shown =
        |reason: &str| failed(format!("{} {TOKEN_PROPERTIES}", reason.replace(token.reveal(), "***").trim_end()));
    let mut refusal = String::new();
    let first = step(channel, offer, oauth::client_first(token, tokens.extensions()), &|reason| shown(&reason)).await;
    if let Ok((challenge, lifetime)) = &first {
        if challenge.is_empty() {
            return Ok(*lifetime);
        }
        refusal = oauth::server_error(challenge, token);
    }
    let refused = match first {
        // The broker ends the exchange by an error, of which the status above is what says something.
        Ok(_) => match step(channel, offer, oauth::KVSEP.to_owned(), &|reason| shown(&format!("{refusal}; {reason}")))
            .await
        {
            Ok(_) => shown(&refusal),
            Err(error) => error,
        },
        Err(error) => error,
    };
    if matches!(refused, WireError::Authentication { .. }) && tokens.forget(token).await {
        let reason = format!("the one that was kept is refused, another one is asked for: {refused}");
        return Err(WireError::Token { place: channel.address().to_owned(), reason });
    }
    Err(refused)
}

/// One text to the broker; its answer, and the session's lifetime in milliseconds.
async fn step(
    channel: &mut Channel,
    offer: &Offer,
    text: String,
    failed: &(impl Fn(String) -> WireError + Sync),
) -> Result<(Bytes, i64), WireError> {
    let version = offer.choose(channel.address(), ApiKey::SaslAuthenticate, (0, 2))?;
    let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(text));
    let response = channel.exchange(&request, version).await?;
    if let Some(code) = Code::new(response.error_code) {
        let said = response.error_message.as_ref().map_or("", |text| text.as_str());
        return Err(failed(format!("{code} {said}")));
    }
    Ok((response.auth_bytes, response.session_lifetime_ms))
}
