/// Word `index` of the stream `key`: output `index` of SplitMix64 seeded with `key` (Steele, Lea
/// and Flood, OOPSLA 2014), the workspace's counter-based generator.
///
/// Supports name their entries by these words, so the function is fixed forever.
#[inline(always)]
pub(crate) fn word(key: u64, index: u64) -> u64 {
    let mut z = key.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn words_are_those_of_splitmix64() {
        // The first outputs of the reference implementation for seed 1234567.
        for (i, want) in [
            6_457_827_717_110_365_317_u64,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(word(1_234_567, i as u64), want);
        }
    }
}
