//! `torch.randperm` on the CPU, without torch.

use std::collections::HashMap;

pub use peft_core::kernels::Mt19937;

/// From this size on torch draws 64 bits a step: `⌊(2³² − 1) / 20⌋`.
pub const LARGE: u64 = (u32::MAX / 20) as u64;

/// `torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count]`.
///
/// Below [`LARGE`] torch shuffles forwards, `r[i] ↔ r[i + z]` with `z = rand32 mod (total − i)`: the
/// first `count` places are final after `count` draws, and only places that were exchanged are kept
/// here. From [`LARGE`] on it builds the permutation inside out, `r[i] = r[z]; r[z] = i` with
/// `z = rand64 mod (i + 1)`: all draws are needed, but a place below `count` is only ever filled from
/// places below it or with `i` itself, so here too `count` values are enough.
///
/// (`aten/src/ATen/native/TensorFactories.cpp`, `randperm_cpu`.)
///
/// # Panics
/// If `count` is more than `total`.
#[must_use]
pub fn randperm_prefix(total: u64, count: usize, seed: u64) -> Vec<u64> {
    assert!(
        count as u64 <= total,
        "{count} places cannot be drawn from {total}"
    );
    // torch keeps the low half of a seed.
    let mut generator = Mt19937::new(seed as u32);
    if total < LARGE {
        forward(total, count, &mut generator)
    } else {
        inside_out(total, count, &mut generator)
    }
}

fn forward(total: u64, count: usize, generator: &mut Mt19937) -> Vec<u64> {
    let mut moved = HashMap::with_capacity(2 * count);
    let mut out = Vec::with_capacity(count);
    for i in 0..count as u64 {
        // The last place has no partner but itself, and torch draws none for it.
        let step = if i + 1 < total {
            u64::from(generator.next_u32()) % (total - i)
        } else {
            0
        };
        let at = |place: u64| moved.get(&place).copied().unwrap_or(place);
        let (here, there) = (at(i), at(i + step));
        moved.insert(i + step, here);
        out.push(there);
    }
    out
}

fn inside_out(total: u64, count: usize, generator: &mut Mt19937) -> Vec<u64> {
    let mut word = || {
        let high = u64::from(generator.next_u32());
        high << 32 | u64::from(generator.next_u32())
    };
    let mut first = Vec::with_capacity(count);
    for i in 0..count as u64 {
        first.push(i);
        first.swap((word() % (i + 1)) as usize, i as usize);
    }
    for i in count as u64..total {
        if let Some(slot) = first.get_mut(remainder(word(), i + 1) as usize) {
            *slot = i;
        }
    }
    first
}

/// `word % divisor`, for a divisor below 2⁴⁸: a division in floating point, corrected by at most one
/// divisor, is several times as fast as the integer one, and there are 10⁸ of them.
#[inline(always)]
fn remainder(word: u64, divisor: u64) -> u64 {
    if divisor < 1 << 14 {
        return word % divisor;
    }
    // The quotient is below 2⁵⁰ and three roundings of 2⁻⁵³ each cannot move it by one, so its
    // integer part is at most one off.
    let quotient = (word as f64 / divisor as f64) as u64;
    let rest = word.wrapping_sub(quotient.wrapping_mul(divisor)) as i64;
    if rest < 0 {
        rest.wrapping_add_unsigned(divisor) as u64
    } else if rest as u64 >= divisor {
        rest as u64 - divisor
    } else {
        rest as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_exact() {
        let mut generator = Mt19937::new(3);
        for divisor in [
            1,
            2,
            1 << 14,
            (1 << 14) + 1,
            214_748_364,
            234_881_023,
            (1 << 40) - 1,
        ] {
            let edges = [
                0,
                1,
                divisor - 1,
                divisor,
                u64::MAX,
                u64::MAX / divisor * divisor,
            ];
            let below = edges.map(|edge| edge.wrapping_sub(1));
            let random = (0..1000)
                .map(|_| u64::from(generator.next_u32()) << 32 | u64::from(generator.next_u32()));
            for word in edges.into_iter().chain(below).chain(random) {
                assert_eq!(remainder(word, divisor), word % divisor, "{word} {divisor}");
            }
        }
    }

    #[test]
    fn is_torchs() {
        // torch.randperm(10), seed 0.
        let whole = [4, 1, 7, 5, 3, 9, 0, 8, 6, 2];
        for count in 0..=10 {
            assert_eq!(randperm_prefix(10, count, 0), whole[..count]);
        }
    }

    #[test]
    fn both_shuffles_are_permutations_and_their_prefixes_agree() {
        for shuffle in [forward, inside_out] {
            let whole = shuffle(1000, 1000, &mut Mt19937::new(7));
            let mut sorted = whole.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
            for count in [0, 1, 2, 17, 500, 999] {
                assert_eq!(shuffle(1000, count, &mut Mt19937::new(7)), whole[..count]);
            }
        }
    }
}
