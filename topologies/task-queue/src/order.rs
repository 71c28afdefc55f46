//! The order of tasks of one order key, as keys of a store.

/// The place with this number of an order key: places of one key lie together, in the order of their numbers, behind their head.
pub fn place(order_key: &str, number: i64) -> Vec<u8> {
    let mut key = head(order_key);
    key.extend(number.max(0).to_be_bytes());
    key
}

/// What the places of an order key begin with, and no other's: its length stands before it.
pub fn head(order_key: &str) -> Vec<u8> {
    let length = u32::try_from(order_key.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], order_key.as_bytes()].concat()
}

/// From behind a place to the end of its order key's.
pub fn places(order_key: &str, behind: i64) -> (Vec<u8>, Vec<u8>) {
    let (mut from, mut to) = (place(order_key, behind), place(order_key, i64::MAX));
    // Whatever is longer comes later.
    from.push(0);
    to.push(0);
    (from, to)
}

/// The number of a place.
pub fn number(place: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(*place.last_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_one_key_lie_together_in_their_order() {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for order_key in ["a", "b", "ab", "a\0", ""] {
            for number in [0, 1, 255, 256, i64::MAX] {
                keys.push(place(order_key, number));
            }
        }
        let mut sorted = keys.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), keys.len());
        for order_key in ["a", "b", "ab", "a\0", ""] {
            let own: Vec<_> = sorted.iter().filter(|key| key.starts_with(&head(order_key))).collect();
            let expected: Vec<Vec<u8>> = [0, 1, 255, 256, i64::MAX].map(|number| place(order_key, number)).into();
            assert_eq!(own, expected.iter().collect::<Vec<_>>(), "{order_key:?}");
            assert!(own.iter().all(|own| ***own > *head(order_key)));
            let (from, to) = places(order_key, 1);
            let behind: Vec<_> = sorted.iter().filter(|key| (&from..&to).contains(key)).collect();
            assert_eq!(behind, expected[2..].iter().collect::<Vec<_>>(), "{order_key:?}");
            assert_eq!(
                behind.iter().map(|key| number(key)).collect::<Vec<_>>(),
                [Some(255), Some(256), Some(i64::MAX)]
            );
        }
    }
}
