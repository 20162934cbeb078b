//! Indices in few bytes: the code of Elias (1974) and Fano (1971).
//!
//! Of `n` numbers below `u` that rise, the low `l = ⌊log₂(u / n)⌋` bits are written as they are, the
//! rest as gaps in unary: `2 + l` bits a number at most, and their size is known from `n` and `u`
//! alone. At 1 % of the entries that is a seventh of two 32-bit numbers. A checksum of the numbers and
//! of the weight's shape follows in four bytes.

use super::{Support, tiles::tile_count};
use crate::SparseError;

/// Bytes of the code of `count` numbers below `below`.
#[must_use]
pub fn code_len(count: usize, below: usize) -> usize {
    let low = low_bits(count, below);
    (count * low).div_ceil(8) + upper_bits(count, below, low).div_ceil(8) + CHECK
}

const CHECK: usize = 4;

fn low_bits(count: usize, below: usize) -> usize {
    (below / count.max(1)).max(1).ilog2() as usize
}

fn upper_bits(count: usize, below: usize, low: usize) -> usize {
    count + (below >> low) + 1
}

/// FNV-1a over the bytes of the sides and the numbers.
fn checksum(shape: [usize; 2], tile: [usize; 2], numbers: &[u32]) -> u32 {
    let sides = shape.into_iter().chain(tile).map(|side| side as u32);
    let all = sides.chain(numbers.iter().copied());
    let bytes = all.flat_map(u32::to_le_bytes);
    bytes.fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

impl Support {
    /// The numbers of the tiles as bytes, [`code_len`] of them, in the code of Elias and Fano with a checksum.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let [rows, cols] = self.shape();
        let [height, width] = self.tile();
        let (numbers, below) = (self.tiles(), rows.div_ceil(height) * cols.div_ceil(width));
        let low = low_bits(numbers.len(), below);
        let lower = (numbers.len() * low).div_ceil(8);
        let mut bytes = vec![0; code_len(numbers.len(), below)];
        for (index, &number) in numbers.iter().enumerate() {
            for bit in 0..low {
                if number >> bit & 1 == 1 {
                    set(&mut bytes, index * low + bit);
                }
            }
            set(&mut bytes, 8 * lower + (number as usize >> low) + index);
        }
        let end = bytes.len() - CHECK;
        bytes[end..].copy_from_slice(&checksum(self.shape(), self.tile(), numbers).to_le_bytes());
        bytes
    }

    /// The support of `count` tiles that a code stands for.
    ///
    /// # Errors
    /// If the code is not one of `count` tiles of such a weight.
    pub fn decode(
        shape: [usize; 2],
        tile: [usize; 2],
        count: usize,
        bytes: &[u8],
    ) -> Result<Self, SparseError> {
        let below = tile_count(shape, tile)?;
        if count == 0 || count > below {
            let available = below;
            return Err(SparseError::Count { count, available });
        }
        if bytes.len() != code_len(count, below) {
            return Err(SparseError::Code("it has another length"));
        }
        let low = low_bits(count, below);
        let lower = (count * low).div_ceil(8);
        let (code, check) = bytes.split_at(bytes.len() - CHECK);
        let mut numbers = Vec::with_capacity(count);
        for bit in 0..upper_bits(count, below, low) {
            if !get(code, 8 * lower + bit) {
                continue;
            }
            let index = numbers.len();
            if index == count {
                return Err(SparseError::Code("it has too many numbers"));
            }
            let rest = (0..low).filter(|&bit| get(code, index * low + bit));
            let number = ((bit - index) << low) + rest.map(|bit| 1 << bit).sum::<usize>();
            numbers.push(
                u32::try_from(number).map_err(|_| SparseError::Code("a number is too large"))?,
            );
        }
        if numbers.len() < count || check != checksum(shape, tile, &numbers).to_le_bytes() {
            return Err(SparseError::Code("its checksum is another"));
        }
        Self::new(shape, tile, numbers.into_iter().map(u64::from))
    }
}

fn set(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] |= 1 << (bit % 8);
}

fn get(bytes: &[u8], bit: usize) -> bool {
    bytes[bit / 8] >> (bit % 8) & 1 == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::support::random;

    proptest! {
        #[test]
        fn codes_are_read_back(rows in 1..80usize, cols in 1..80usize, share in 0.0..1.0f64, key: u64) {
            let count = 1 + (share * (rows * cols - 1) as f64) as usize;
            let support = random([rows, cols], count, key).unwrap();
            let code = support.encode();
            prop_assert_eq!(code.len(), code_len(count, rows * cols));
            prop_assert_eq!(Support::decode([rows, cols], [1, 1], count, &code), Ok(support));
        }

        #[test]
        fn damage_is_noticed(key: u64, place in 0..1000usize, change in 1..=255u8) {
            let support = random([37, 41], 60, key).unwrap();
            let mut code = support.encode();
            let place = place % code.len();
            code[place] ^= change;
            let found = Support::decode([37, 41], [1, 1], 60, &code);
            // Bits behind the last number carry nothing.
            prop_assert!(found.is_err() || found == Ok(support));
        }
    }

    #[test]
    fn a_hundredth_takes_about_a_byte_each() {
        let bytes = code_len(24_000, 768 * 3072);
        assert!(bytes < 24_000 * 9 / 8, "{bytes}");
    }

    #[test]
    fn other_sizes_are_refused() {
        let code = Support::entries([5, 5], [3, 9]).unwrap().encode();
        for (shape, count) in [([5, 6], 2), ([5, 5], 3), ([5, 5], 0), ([5, 5], 26)] {
            assert!(Support::decode(shape, [1, 1], count, &code).is_err());
        }
        assert!(Support::decode([5, 5], [1, 1], 2, &code[1..]).is_err());
    }
}
