//! Inputs made from others by small damage, the same ones for the same seed.

use peft_data::CounterRng;

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "255",
    "256",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "1e308",
    "1e999",
    "0.5",
    "-0.0",
];
const BYTES: &[u8] = &[
    0, 1, 0x7F, 0x80, 0xFF, b'"', b',', b'\n', b'\r', b'\t', b'{', b'}', b'[', b']',
];
/// An input grows no further than this.
const LARGEST: usize = 1 << 16;

pub struct Mutator<'a> {
    rng: CounterRng,
    drawn: u64,
    seeds: &'a [Vec<u8>],
    words: &'a [&'a str],
    binary: bool,
}

impl<'a> Mutator<'a> {
    /// For the input of one number; `words` are pieces of the format. Binary formats are mostly
    /// damaged in place: what moves bytes breaks all their offsets at once.
    pub fn new(
        seed: u64,
        number: u64,
        seeds: &'a [Vec<u8>],
        words: &'a [&'a str],
        binary: bool,
    ) -> Self {
        let rng = CounterRng::new(seed, "mutate", number);
        Self {
            rng,
            drawn: 0,
            seeds,
            words,
            binary,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.drawn += 1;
        (self.rng.at(self.drawn) % n.max(1) as u64) as usize
    }

    pub fn input(mut self) -> Vec<u8> {
        let seed = self.below(self.seeds.len());
        let mut bytes = self.seeds[seed].clone();
        // Mostly little: much damage is found at the first place looked at.
        let most = self.below(6) + 1;
        for _ in 0..=self.below(most) {
            self.damage(&mut bytes);
        }
        bytes.truncate(LARGEST);
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let at = self.below(length);
        let kind = match self.binary && self.below(8) > 0 {
            true => [0, 1, 2, 10][self.below(4)],
            false => self.below(11),
        };
        match kind {
            0 if length > 0 => bytes[at] ^= 1 << self.below(8),
            1 if length > 0 => bytes[at] = BYTES[self.below(BYTES.len())],
            2 if length > 0 => bytes[at] = self.below(256) as u8,
            3 => {
                let end = (at + 1 + self.below(16)).min(length);
                bytes.drain(at.min(end)..end);
            }
            4 => {
                let end = (at + 1 + self.below(64)).min(length);
                let piece = bytes[at.min(end)..end].to_vec();
                let to = self.below(length + 1);
                bytes.splice(to..to, piece);
            }
            5 => bytes.truncate(at),
            6 | 7 => {
                let word = match self.words.is_empty() {
                    true => NUMBERS[self.below(NUMBERS.len())],
                    false => self.words[self.below(self.words.len())],
                };
                let end = at + self.below(2) * word.len();
                bytes.splice(at..end.min(length), word.bytes());
            }
            8 => {
                // Another number where there is one.
                let digit = |b: &u8| b.is_ascii_digit();
                let Some(start) = bytes[at.min(length)..].iter().position(digit) else {
                    return;
                };
                let start = at + start;
                let end = bytes[start..]
                    .iter()
                    .position(|b| !digit(b))
                    .map_or(length, |e| start + e);
                let number = NUMBERS[self.below(NUMBERS.len())];
                bytes.splice(start..end, number.bytes());
            }
            9 => {
                let other = self.below(self.seeds.len());
                let cut = self.below(self.seeds[other].len());
                bytes.truncate(at);
                bytes.extend_from_slice(&self.seeds[other][cut..]);
            }
            _ if length >= 4 => {
                // Four bytes as a size of some kind.
                let sizes = [0u32, 1, 0x7FFF_FFFF, 0x8000_0000, u32::MAX, length as u32];
                let size = sizes[self.below(sizes.len())].to_le_bytes();
                let at = at.min(length - 4);
                bytes[at..at + 4].copy_from_slice(&size);
            }
            _ => bytes.push(self.below(256) as u8),
        }
    }
}
