//! JSON text as Kafka Connect writes it: Jackson's escapes, Java's spelling of floating-point numbers.
//!
//! Why not serde's: the same row must be the same text whether it came as JSON or was rendered from Avro, because keys
//! are compared as text.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Appends a string in quotes.
pub(super) fn push_string(out: &mut String, value: &str) {
    out.push('"');
    push_escaped(out, value);
    out.push('"');
}

fn push_escaped(out: &mut String, value: &str) {
    let mut clean_from = 0;
    for (index, byte) in value.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&value[clean_from..index]);
        clean_from = index + 1;
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04X}");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&value[clean_from..]);
}

/// Appends an integer.
pub(super) fn push_integer(out: &mut String, value: i64) {
    let _ = write!(out, "{value}");
}

/// Appends bytes as base64 in quotes.
pub(super) fn push_base64(out: &mut String, bytes: &[u8]) {
    out.push('"');
    STANDARD.encode_string(bytes, out);
    out.push('"');
}

/// Appends a 64-bit number: its shortest exact digits.
pub(super) fn push_double(out: &mut String, value: f64) {
    if value.is_finite() {
        push_java(out, &format!("{value:e}"));
    } else {
        push_not_a_number(out, value);
    }
}

/// Appends a 32-bit number: its shortest exact digits.
pub(super) fn push_float(out: &mut String, value: f32) {
    if value.is_finite() {
        push_java(out, &format!("{value:e}"));
    } else {
        push_not_a_number(out, f64::from(value));
    }
}

fn push_not_a_number(out: &mut String, value: f64) {
    out.push_str(match value {
        f64::INFINITY => "\"Infinity\"",
        f64::NEG_INFINITY => "\"-Infinity\"",
        _ => "\"NaN\"",
    });
}

/// Java's `toString`: plain from 10^-3 to below 10^7, else `d.dE±n`; always a digit after the point.
fn push_java(out: &mut String, scientific: &str) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let unsigned = match mantissa.strip_prefix('-') {
        Some(unsigned) => {
            out.push('-');
            unsigned
        }
        None => mantissa,
    };
    let digits: String = unsigned.chars().filter(char::is_ascii_digit).collect();
    if (-3..0).contains(&exponent) {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-1 - exponent) as usize));
        out.push_str(&digits);
    } else if (0..7).contains(&exponent) {
        let whole = exponent as usize + 1;
        out.push_str(&digits[..whole.min(digits.len())]);
        out.extend(std::iter::repeat_n('0', whole.saturating_sub(digits.len())));
        out.push('.');
        out.push_str(digits.get(whole..).filter(|fraction| !fraction.is_empty()).unwrap_or("0"));
    } else {
        let (first, fraction) = digits.split_at(1.min(digits.len()));
        let _ = write!(out, "{first}.{}E{exponent}", if fraction.is_empty() { "0" } else { fraction });
    }
}

/// The same JSON without insignificant whitespace and with every string escaped one way. The text must be JSON already.
pub(super) fn canonical(text: &str) -> Cow<'_, str> {
    let mut in_string = false;
    let mut plain = true;
    for byte in text.bytes() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' => plain = false,
            b' ' | b'\n' | b'\r' | b'\t' if !in_string => plain = false,
            _ => {}
        }
        if !plain {
            return Cow::Owned(rewritten(text));
        }
    }
    Cow::Borrowed(text)
}

fn rewritten(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', ' ', '\n', '\r', '\t']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if !rest.starts_with('"') {
            rest = &rest[1..];
            continue;
        }
        let end = string_end(rest);
        let quoted = &rest[..end];
        match serde_json::from_str::<Cow<'_, str>>(quoted) {
            Ok(value) if quoted.contains('\\') => push_string(&mut out, &value),
            _ => out.push_str(quoted),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The length of the quoted string that the text starts with.
pub(super) fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// The text with raw control characters escaped, if it has any: Connect's default header converter leaves them raw.
pub(super) fn escape_controls(text: &str) -> Option<String> {
    if !text.bytes().any(|byte| byte < 0x20) {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 8);
    for piece in text.split_inclusive(|c: char| c < '\u{20}') {
        let clean = piece.trim_end_matches(|c: char| c < '\u{20}');
        out.push_str(clean);
        push_escaped(&mut out, &piece[clean.len()..]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(value: f64) -> String {
        let mut out = String::new();
        push_double(&mut out, value);
        out
    }

    #[test]
    fn numbers_are_spelled_as_java_spells_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-12.5, "-12.5"),
            (0.001, "0.001"),
            (0.012_34, "0.01234"),
            (0.000_123_4, "1.234E-4"),
            (1_234_567.0, "1234567.0"),
            (1_234_567.5, "1234567.5"),
            (1.0e7, "1.0E7"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157E308"),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(double(value), text);
        }
        let mut out = String::new();
        push_float(&mut out, 1.1);
        assert_eq!(out, "1.1");
    }

    #[test]
    fn strings_are_escaped_as_jackson_escapes_them() {
        let mut out = String::new();
        push_string(&mut out, "a\"\\\n\t\u{8}\u{c}\r\u{1f}\u{7f}é😀/");
        assert_eq!(out, "\"a\\\"\\\\\\n\\t\\b\\f\\r\\u001F\u{7f}é😀/\"");
    }

    #[test]
    fn f13_two_spellings_of_a_key_have_one_canonical_text() {
        let spaced = "{ \"id\" : 9007199254740993 ,\n \"k\\u0065y\": \"a\\u000a\\/b \" }";
        assert_eq!(canonical(spaced), "{\"id\":9007199254740993,\"key\":\"a\\n/b \"}");
        assert!(matches!(canonical("{\"id\":\"a b\"}"), Cow::Borrowed(_)));
        assert_eq!(escape_controls("{\"id\":\"a\n\tb\"}").as_deref(), Some("{\"id\":\"a\\n\\tb\"}"));
        assert_eq!(escape_controls("{}"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_string_and_number_reads_back(value: String, number: f64, small: f32) {
            let mut out = String::new();
            push_string(&mut out, &value);
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), value);
            if number.is_finite() {
                proptest::prop_assert_eq!(double(number).parse::<f64>().unwrap().to_bits(), number.to_bits());
            }
            if small.is_finite() {
                let mut out = String::new();
                push_float(&mut out, small);
                proptest::prop_assert_eq!(out.parse::<f32>().unwrap().to_bits(), small.to_bits());
            }
        }
    }
}
