//! SCRAM (RFC 5802) with SHA-256 (RFC 7677) or SHA-512: both sides prove that they know the password, and nobody sends it.
//!
//! ```text
//!  first()   n,,n=user,r=nonce ─────────────▶
//!            ◀───────────── r=nonce+theirs,s=salt,i=iterations
//!  answer()  c=biws,r=nonce+theirs,p=proof ─▶
//!            ◀───────────── v=signature
//!  verify()
//! ```
//!
//! Pure: no I/O, no clock, the nonce is an argument. User and password are taken as UTF-8 without SASLprep, as Kafka's own
//! client and broker do.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2_scram::{Digest, Sha256, Sha512};

/// Fewer make a stolen answer too easy to guess from; Kafka refuses to store fewer.
const MIN_ITERATIONS: u32 = 4096;
/// More would keep this process busy for the sake of a broker that is none. Kafka stores 16,384 at most.
const MAX_ITERATIONS: u32 = 1 << 20;

/// The hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// The client's side after its first text.
pub(super) struct Scram {
    hash: Hash,
    nonce: String,
    /// The first text without its GS2 header.
    bare: String,
}

/// What the server's last text has to prove.
pub(super) struct ServerProof {
    hash: Hash,
    key: Vec<u8>,
    signed: String,
}

impl Scram {
    /// Begins with a nonce of printable characters without a comma.
    pub(super) fn new(hash: Hash, user: &str, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Scram { hash, nonce: nonce.to_owned(), bare: format!("n={user},r={nonce}") }
    }

    /// The client's first text.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The client's last text for the server's first, and what the server has to answer.
    pub(super) fn answer(&self, password: &str, server_first: &str) -> Result<(String, ServerProof), String> {
        let (nonce, salt, iterations) = self.read(server_first)?;
        let salted = self.hash.salted(password.as_bytes(), &salt, iterations);
        let client_key = self.hash.mac(&salted, b"Client Key")?;
        let stored_key = self.hash.digest(&client_key);
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{server_first},{without_proof}", self.bare);
        let signature = self.hash.mac(&stored_key, signed.as_bytes())?;
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let key = self.hash.mac(&salted, b"Server Key")?;
        let last = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((last, ServerProof { hash: self.hash, key, signed }))
    }

    /// Nonce, salt and iterations of the server's first text.
    fn read<'a>(&self, server_first: &'a str) -> Result<(&'a str, Vec<u8>, u32), String> {
        let wrong = |what: &str| format!("the broker's first SCRAM text {what}");
        let mut parts = server_first.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let nonce = part("r=").ok_or_else(|| wrong("has no nonce, or an extension that is not known"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(wrong("is not an answer to ours: its nonce does not go on from it"));
        }
        let salt = part("s=").and_then(|salt| STANDARD.decode(salt).ok()).ok_or_else(|| wrong("has no salt"))?;
        let iterations = part("i=").and_then(|text| text.parse().ok()).ok_or_else(|| wrong("has no iterations"))?;
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
            return Err(wrong(&format!(
                "asks for {iterations} iterations, allowed are {MIN_ITERATIONS} to {MAX_ITERATIONS}"
            )));
        }
        Ok((nonce, salt, iterations))
    }
}

impl ServerProof {
    /// Checks the server's last text: whoever does not know the password can't have made it.
    pub(super) fn verify(&self, server_last: &str) -> Result<(), String> {
        let first = server_last.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(format!("the broker refused: {error}"));
        }
        let signature = first.strip_prefix("v=").and_then(|text| STANDARD.decode(text).ok());
        let signature = signature.ok_or("the broker's last SCRAM text has no signature")?;
        if self.hash.mac_is(&self.key, self.signed.as_bytes(), &signature)? {
            return Ok(());
        }
        Err("the broker does not know the password: its signature is wrong".to_owned())
    }
}

impl Hash {
    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(data).to_vec(),
            Hash::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Hash::Sha256 => pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations).to_vec(),
            Hash::Sha512 => pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password, salt, iterations).to_vec(),
        }
    }

    fn mac(self, key: &[u8], data: &[u8]) -> Result<Vec<u8>, String> {
        Ok(match self {
            Hash::Sha256 => keyed::<Hmac<Sha256>>(key, data)?.finalize().into_bytes().to_vec(),
            Hash::Sha512 => keyed::<Hmac<Sha512>>(key, data)?.finalize().into_bytes().to_vec(),
        })
    }

    /// Compares in constant time.
    fn mac_is(self, key: &[u8], data: &[u8], expected: &[u8]) -> Result<bool, String> {
        Ok(match self {
            Hash::Sha256 => keyed::<Hmac<Sha256>>(key, data)?.verify_slice(expected).is_ok(),
            Hash::Sha512 => keyed::<Hmac<Sha512>>(key, data)?.verify_slice(expected).is_ok(),
        })
    }
}

fn keyed<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Result<M, String> {
    let mut mac = <M as KeyInit>::new_from_slice(key).map_err(|_| "HMAC refuses the key's length".to_owned())?;
    mac.update(data);
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn is_the_exchange_of_rfc_7677() {
        let scram = Scram::new(Hash::Sha256, "user", NONCE);
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, proof) = scram.answer("pencil", SERVER_FIRST).unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(last, expected);
        proof.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
    }

    #[test]
    fn a_server_without_the_password_is_found_out() {
        let (_, proof) = Scram::new(Hash::Sha256, "user", NONCE).answer("pencil", SERVER_FIRST).unwrap();
        for last in ["v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", "v=AAAA", "v=", "", "x"] {
            assert!(proof.verify(last).is_err(), "{last}");
        }
        assert_eq!(proof.verify("e=invalid-proof").unwrap_err(), "the broker refused: invalid-proof");
    }

    #[test]
    fn a_nonce_that_does_not_go_on_from_ours_is_refused() {
        let scram = Scram::new(Hash::Sha512, "user", NONCE);
        let salt = "s=W22ZaJ0SNY7soEsUEjb6gQ==";
        for (nonce, iterations) in
            [("other", 4096), (NONCE, 4096), ("rOprNGfwEbeRWgbNEkqO+", 4095), ("rOprNGfwEbeRWgbNEkqO+", u32::MAX)]
        {
            let text = format!("r={nonce},{salt},i={iterations}");
            assert!(scram.answer("pencil", &text).is_err(), "{text}");
        }
        for text in ["", "r=", "m=ext,r=x", "r=rOprNGfwEbeRWgbNEkqO+,s=!,i=4096"] {
            assert!(scram.answer("pencil", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_with_commas_is_escaped() {
        assert_eq!(Scram::new(Hash::Sha512, "a,b=c", "x").first(), "n,,n=a=2Cb=3Dc,r=x");
    }

    /// The primitives below RFC 5802's own example, which is SHA-1, are the same; SHA-512 is checked against a server of our
    /// own that computes its side from the stored keys alone, as a broker does.
    #[test]
    fn sha_512_agrees_with_a_server_that_only_has_the_stored_keys() {
        let hash = Hash::Sha512;
        let salted = hash.salted(b"pencil", b"salt", 4096);
        let stored_key = hash.digest(&hash.mac(&salted, b"Client Key").unwrap());
        let server_key = hash.mac(&salted, b"Server Key").unwrap();
        let scram = Scram::new(hash, "user", NONCE);
        let server_first = format!("r={NONCE}theirs,s={},i=4096", STANDARD.encode("salt"));
        let (last, proof) = scram.answer("pencil", &server_first).unwrap();
        let (without_proof, sent) = last.rsplit_once(",p=").unwrap();
        let signed = format!("n=user,r={NONCE},{server_first},{without_proof}");
        let signature = hash.mac(&stored_key, signed.as_bytes()).unwrap();
        let client_key: Vec<u8> = STANDARD.decode(sent).unwrap().iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        assert_eq!(hash.digest(&client_key), stored_key);
        let server_signature = STANDARD.encode(hash.mac(&server_key, signed.as_bytes()).unwrap());
        proof.verify(&format!("v={server_signature}")).unwrap();
    }
}
