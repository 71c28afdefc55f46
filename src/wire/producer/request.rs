//! The Produce request, written by hand: its batches are not copied.

use std::time::Duration;

use bytes::Bytes;

use super::engine::Part;

/// Kafka's compact strings and lengths, for the Produce request.
fn put_length(target: &mut Vec<u8>, length: usize) {
    let mut rest = length;
    while rest >= 0x80 {
        target.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    target.push(rest as u8);
}

/// A Produce request (versions 9 to 12, or 13 with topics by id) in pieces: the batches are not copied.
pub(super) fn produce_request(
    transactional_id: Option<&str>,
    timeout: Duration,
    by_id: bool,
    parts: Vec<Part>,
) -> Vec<Bytes> {
    let put_text = |target: &mut Vec<u8>, text: &str| {
        put_length(target, text.len() + 1);
        target.extend_from_slice(text.as_bytes());
    };
    let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
    let mut head = Vec::with_capacity(128);
    match transactional_id {
        Some(id) => put_text(&mut head, id),
        None => head.push(0),
    }
    head.extend_from_slice(&(-1_i16).to_be_bytes()); // all in-sync replicas
    head.extend_from_slice(&i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX).to_be_bytes());
    let topics = parts.chunk_by(|a, b| a.topic == b.topic).count();
    put_length(&mut head, topics + 1);
    let mut sizes: Vec<usize> = parts.chunk_by(|a, b| a.topic == b.topic).map(<[_]>::len).collect();
    sizes.reverse();
    let mut left = 0;
    for part in parts {
        if left == 0 {
            left = sizes.pop().unwrap_or(0);
            match by_id {
                true => head.extend_from_slice(&part.id.0),
                false => put_text(&mut head, &part.topic),
            }
            put_length(&mut head, left + 1);
        }
        head.extend_from_slice(&part.partition.to_be_bytes());
        put_length(&mut head, part.bytes.len() + 1);
        pieces.push(Bytes::from(std::mem::take(&mut head)));
        pieces.push(part.bytes);
        head.push(0); // no tags of the partition
        left -= 1;
        if left == 0 {
            head.push(0); // nor of the topic
        }
    }
    head.push(0); // nor of the request
    pieces.push(Bytes::from(head));
    pieces
}
