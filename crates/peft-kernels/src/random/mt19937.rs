const STATE: usize = 624;
const SHIFT: usize = 397;

/// The Mersenne Twister of Matsumoto and Nishimura (1998), torch's generator on the CPU.
#[derive(Debug, Clone)]
pub struct Mt19937 {
    state: [u32; STATE],
    next: usize,
}

impl Mt19937 {
    /// The generator after `init_genrand(seed)`.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; STATE];
        for i in 1..STATE {
            let last = state[i - 1];
            state[i] = (last ^ (last >> 30))
                .wrapping_mul(1_812_433_253)
                .wrapping_add(i as u32);
        }
        Self { state, next: STATE }
    }

    /// The next 32 random bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.next == STATE {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        let state = &mut self.state;
        let next = |low: u32, high: u32, far: u32| {
            let joined = (low & 0x8000_0000) | (high & 0x7fff_ffff);
            far ^ (joined >> 1) ^ ((joined & 1).wrapping_neg() & 0x9908_b0df)
        };
        // In three runs, none of which wraps around: large permutations draw 10⁸ words.
        for i in 0..STATE - SHIFT {
            state[i] = next(state[i], state[i + 1], state[i + SHIFT]);
        }
        for i in STATE - SHIFT..STATE - 1 {
            state[i] = next(state[i], state[i + 1], state[i + SHIFT - STATE]);
        }
        state[STATE - 1] = next(state[STATE - 1], state[0], state[SHIFT - 1]);
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Mt19937;

    #[test]
    fn the_ten_thousandth_word_is_the_standards() {
        // C++ [rand.predef]: mt19937 with its default seed.
        let mut generator = Mt19937::new(5489);
        let last = (0..10_000).map(|_| generator.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }
}
