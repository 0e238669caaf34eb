//! Broken frames and files out of whole ones, the same for the same seed.

/// Numbers that look random, and are the same for the same seed (xorshift64*, Vigna 2016).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Begins a series.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(number % bound.max(1) as u64).unwrap_or_default()
    }

    /// Returns one of these.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Values that lengths, counts and offsets go wrong at.
const EDGES: [u32; 14] =
    [0, 1, 2, 3, 4, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_fffc, 0xffff_ffff];

/// Ethertypes, protocols and ports that lead into another parser.
const DOORS: [u16; 14] = [
    0x0800, 0x0806, 0x8100, 0x88a8, 0x86dd, 0x8847, 0x8864, 0x6558, 0x002b, 0x002c, 0x0033, 0x002f, 0x12b5,
    0x17c1,
];

/// Breaks bytes in one to eight places. `other` lends parts.
pub fn mutate(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    for _ in 0..=dice.below(8) {
        let at = dice.below(bytes.len());
        let length = 1 + dice.below(16.min(bytes.len().max(1)));
        let end = (at + length).min(bytes.len());
        match dice.below(10) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(dice.below(256)).unwrap_or_default();
                }
            }
            2 => put(bytes, at, &dice.one(&EDGES).to_be_bytes()[2..]),
            3 => put(bytes, at, &dice.one(&EDGES).to_be_bytes()),
            4 => put(bytes, at, &dice.one(&EDGES).to_le_bytes()),
            5 => put(bytes, at, &dice.one(&DOORS).to_be_bytes()),
            6 => bytes.truncate(at),
            7 => {
                bytes.drain(at.min(end)..end);
            }
            8 => {
                let twice = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, twice);
            }
            _ => {
                let from = dice.below(other.len());
                let lent = &other[from..(from + 4 * length).min(other.len())];
                bytes.splice(at.min(bytes.len())..at.min(bytes.len()), lent.iter().copied());
            }
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (byte, value) in bytes.iter_mut().skip(at).zip(value) {
        *byte = *value;
    }
}
