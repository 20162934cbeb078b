//! Keys: 64-bit names of random streams, derived and never drawn.

/// Weyl increment of SplitMix64: 2⁶⁴ divided by the golden ratio, made odd.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Output permutation of SplitMix64 (Steele, Lea and Flood 2014; constants of Stafford's "Mix13").
#[inline(always)]
fn permute(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Word `index` of the stream `key`: output `index` of SplitMix64 seeded with `key`, fixed forever.
#[inline(always)]
#[must_use]
pub fn word(key: u64, index: u64) -> u64 {
    permute(key.wrapping_add(index.wrapping_add(1).wrapping_mul(GAMMA)))
}

/// Keeps the keys below a key apart from the words of its own stream.
const CHILD: u64 = 0x5851_f42d_4c95_7f2d;

/// Derives a key from a seed and a list of numbers.
///
/// `h₀ = word(seed, 0)`, then `hᵢ₊₁ = word(hᵢ xor CHILD, partᵢ)`, where `word(key, i)` is output
/// `i` of SplitMix64 seeded with `key` and `CHILD = 0x5851f42d4c957f2d`. Order matters, and the
/// empty list is no identity. The values are fixed forever: trained artefacts name seeds.
#[must_use]
pub fn mix_key(seed: u64, parts: &[u64]) -> u64 {
    parts
        .iter()
        .fold(word(seed, 0), |h, &part| word(h ^ CHILD, part))
}

/// The key of a named random draw: one tensor (`path`), one training step, one seed.
///
/// `mix_key(seed, [FNV-1a-64(path as UTF-8), step])`. Because nothing depends on the order of
/// calls, a run that resumes, or builds its modules in another order, draws the same numbers.
#[must_use]
pub fn key_of(seed: u64, path: &str, step: u64) -> u64 {
    let name = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    mix_key(seed, &[name, step])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_splitmix64() {
        // The first outputs of the reference implementation for seed 1234567.
        let expected = [
            6_457_827_717_110_365_317_u64,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for (i, want) in expected.into_iter().enumerate() {
            assert_eq!(word(1_234_567, i as u64), want);
        }
    }
}
