//! Random numbers by counting.

/// A stream of random numbers that is a function of a seed, a purpose and an index, and of nothing else.
///
/// Philox 4×32 with ten rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
/// SC 2011): block `b` of the stream is the bijection keyed by the seed at the counter
/// `(b, purpose, index low, index high)`. There is no state to store with a study: whoever knows the seed and a
/// trial's number draws the same numbers again, in any order and in any process.
#[derive(Debug, Clone)]
pub struct Counter {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Counter {
    /// The stream of `seed` for one `purpose` and one `index` (a trial's number, as a rule).
    pub fn new(seed: u64, purpose: u32, index: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, purpose, index as u32, (index >> 32) as u32],
            block: [0; 4],
            used: 4,
        }
    }

    /// The next 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform on the 2⁵³ multiples of 2⁻⁵³ in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        let high = u64::from(self.bits());
        let low = u64::from(self.bits());
        ((high << 32 | low) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform on `0..count`; 0 where `count` is 0. Its bias is below `count`·2⁻⁵³.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.uniform() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// Standard normal, by the inverse of its distribution function.
    pub fn normal(&mut self) -> f64 {
        // The middle of a cell of the grid: never 0, and never rounded up to 1.
        let middle = self.uniform() + 0.5 / (1u64 << 53) as f64;
        crate::normal::quantile(middle.min(1.0 - f64::EPSILON / 2.0))
    }

    /// A random order of the items (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let chosen = self.below(last + 1);
            items.swap(last, chosen);
        }
    }
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key[0] = key[0].wrapping_add(0x9E37_79B9);
            key[1] = key[1].wrapping_add(0xBB67_AE85);
        }
        let first = u64::from(counter[0]) * 0xD251_1F53;
        let second = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Random123's `kat_vectors`.
    #[test]
    fn known_answers_of_philox() {
        let answer = philox([0; 4], [0; 2]);
        assert_eq!(answer, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let answer = philox([u32::MAX; 4], [u32::MAX; 2]);
        assert_eq!(answer, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let answer = philox(
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
        );
        assert_eq!(answer, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut counter = Counter::new(3, 1, 4);
        let (mut mean, mut square, mut uniform) = (0.0, 0.0, 0.0);
        for _ in 0..20_000 {
            let value = counter.normal();
            mean += value / 20_000.0;
            square += value * value / 20_000.0;
            uniform += counter.uniform() / 20_000.0;
        }
        assert!(
            mean.abs() < 0.03 && (square - 1.0).abs() < 0.05,
            "{mean} {square}"
        );
        assert!((uniform - 0.5).abs() < 0.01, "{uniform}");
        assert_ne!(Counter::new(3, 1, 4).bits(), Counter::new(3, 2, 4).bits());
        assert_ne!(Counter::new(3, 1, 4).bits(), Counter::new(3, 1, 5).bits());
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut counter = Counter::new(0, 0, 0);
        let mut seen = [false; 7];
        (0..200).for_each(|_| seen[counter.below(7)] = true);
        assert!(seen.iter().all(|&seen| seen));
        assert_eq!(counter.below(0), 0);
    }
}
