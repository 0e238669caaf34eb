//! Numbers and addresses as text, for outputs that hold millions of them.

use std::net::Ipv4Addr;

/// Digits of the largest `u64`.
const DIGITS_MAX: usize = 20;

/// Appends a number.
pub(crate) fn number(mut number: u64, into: &mut Vec<u8>) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit += ones(number);
        number /= 10;
        first = place;
        if number == 0 {
            break;
        }
    }
    into.extend_from_slice(digits.get(first..).unwrap_or_default());
}

/// Writes an address to the beginning of `into`, which has room for 15 letters, and returns their number.
pub(crate) fn ipv4(address: Ipv4Addr, into: &mut [u8]) -> u8 {
    let mut letters = into.iter_mut();
    let mut length = 0;
    let mut put = |letter: u8| {
        if let Some(place) = letters.next() {
            *place = letter;
            length += 1;
        }
    };
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            put(b'.');
        }
        if octet >= 100 {
            put(b'0' + octet / 100);
        }
        if octet >= 10 {
            put(b'0' + octet / 10 % 10);
        }
        put(b'0' + octet % 10);
    }
    length
}

fn ones(number: u64) -> u8 {
    // Less than ten.
    u8::try_from(number % 10).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_library_does() {
        let around = (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1]);
        let tens = (0..20).flat_map(|power| [10_u64.pow(power), 10_u64.pow(power) - 1]);
        for value in around.chain(tens).chain([u64::MAX]) {
            let mut text = Vec::new();
            number(value, &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), value.to_string());
        }
    }

    #[test]
    fn every_octet_is_written_as_the_library_does() {
        for octet in 0..=255 {
            let address = Ipv4Addr::new(octet, 255 - octet, 0, octet / 2);
            let mut text = [0; 15];
            let length = usize::from(ipv4(address, &mut text));
            assert_eq!(std::str::from_utf8(&text[..length]).unwrap(), address.to_string());
        }
    }
}
