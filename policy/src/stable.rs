//! A hash that is the same in every run, on every machine, in every version.

/// FNV-1a, 64 bits. Names things; protects nothing.
///
/// # Sources
///
/// The FNV Non-Cryptographic Hash Algorithm, draft-eastlake-fnv, parameters for 64 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StableHash(u64);

impl StableHash {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    pub(crate) fn new() -> Self {
        Self(Self::OFFSET)
    }

    /// Takes in one field. Its length goes first, so that ("ab", "c") and ("a", "bc") differ.
    #[must_use]
    pub(crate) fn field(self, text: &str) -> Self {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.bytes(&length.to_le_bytes()).bytes(text.as_bytes())
    }

    /// Returns 16 hexadecimal digits.
    pub(crate) fn digits(self) -> String {
        format!("{:016x}", self.0)
    }

    /// Returns the number itself.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(Self::PRIME)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_the_published_value_for_the_published_input() {
        // draft-eastlake-fnv, test vectors: FNV-1a 64 of "foobar".
        assert_eq!(StableHash::new().bytes(b"foobar").0, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_border_between_fields_counts() {
        let one = StableHash::new().field("ab").field("c");
        let other = StableHash::new().field("a").field("bc");
        assert_ne!(one.digits(), other.digits());
    }
}
