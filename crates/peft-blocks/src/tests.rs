use proptest::prelude::*;

use super::nf4::{NestedScales, Nf4, dynamic_map, interleaved};
use super::*;

/// The block of the goldens: bytes `(7i + 3) mod 256`, with `d = 0.5` and the other half float 0.25
/// written over the places given.
fn golden(kind: BlockType, d: usize, m: Option<usize>) -> Vec<f32> {
    let mut block: Vec<u8> = (0..kind.block_bytes())
        .map(|i| ((7 * i + 3) % 256) as u8)
        .collect();
    block[d..d + 2].copy_from_slice(&half::f16::from_f32(0.5).to_le_bytes());
    if let Some(m) = m {
        block[m..m + 2].copy_from_slice(&half::f16::from_f32(0.25).to_le_bytes());
    }
    let mut out = vec![0.0; kind.block_len()];
    kind.decode(&block, &mut out);
    out
}

fn check(kind: BlockType, d: usize, m: Option<usize>, expected: &[f32], sum: f32) {
    let places: &[usize] = match kind.block_len() {
        32 => &[0, 1, 15, 16, 31],
        _ => &[0, 31, 32, 63, 127, 128, 192, 255],
    };
    let values = golden(kind, d, m);
    let found: Vec<f32> = places.iter().map(|&i| values[i]).collect();
    assert_eq!(found, expected, "{kind}");
    assert_eq!(values.iter().sum::<f32>(), sum, "{kind}");
}

/// Values of gguf-py 0.19.0.
#[test]
fn blocks_of_32_decode_as_the_reference() {
    use BlockType::*;
    check(Q4_0, 0, None, &[-3.5, 0.0, 1.0, -3.5, -0.5], -37.0);
    check(Q4_1, 0, Some(2), &[7.75, 3.25, 4.25, 0.75, 4.25], 106.0);
    check(Q5_0, 0, None, &[6.5, -6.0, -5.0, 1.0, -3.5], -55.0);
    check(Q5_1, 0, Some(2), &[13.75, 9.25, 2.25, 9.75, 5.25], 240.0);
    check(Q8_0, 0, None, &[8.5, 12.0, 61.0, -63.5, -11.0], -40.0);
}

/// Values of gguf-py 0.19.0.
#[test]
fn blocks_of_256_decode_as_the_reference() {
    use BlockType::*;
    let q2 = [4.5, 0.0, -0.25, 11.75, 1.25, 15.75, 2.25, -1.5];
    check(Q2K, 80, Some(82), &q2, 1294.0);
    let q3 = [28.5, -20.0, 0.0, 12.0, -28.0, 3.0, -54.0, 29.0];
    check(Q3K, 108, None, &q3, -1056.0);
    let q4 = [31.75, 171.25, 132.5, 75.5, 48.0, 9.25, 2.0, 78.5];
    check(Q4K, 0, Some(2), &q4, 24176.0);
    let q5 = [279.75, 171.25, 398.5, 37.5, 412.0, 65.25, 42.0, 66.5];
    check(Q5K, 0, Some(2), &q5, 50496.0);
    let q6 = [
        636.5, -740.0, -1174.5, 1232.0, -290.0, 1168.5, -630.0, 1050.0,
    ];
    check(Q6K, 208, None, &q6, -15552.0);
}

fn wave(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| (0.5 * (0.37 * i as f64).sin()) as f32)
        .collect()
}

/// Bytes of gguf-py 0.19.0.
#[test]
fn encoders_write_the_reference_bytes() {
    let encode = |kind: BlockType| kind.encode(&wave(32)).unwrap();
    assert_eq!(encode(BlockType::Q8_0)[..7], [4, 28, 0, 46, 86, 114, 127]);
    assert_eq!(encode(BlockType::Q4_0)[..6], [249, 171, 184, 133, 83, 49]);
    assert_eq!(encode(BlockType::Q4_1)[..6], [64, 44, 246, 183, 87, 138]);
    assert!(BlockType::Q6K.encode(&wave(256)).is_none());
}

/// Codes and scales of bitsandbytes 0.50.2 on a CPU.
#[test]
fn nf4_is_that_of_bitsandbytes() {
    let values = wave(512);
    let coded = Nf4::encode(&values);
    assert_eq!(coded.codes[..8], [123, 239, 255, 237, 149, 33, 0, 1]);
    assert_eq!(coded.absmax.len(), 8);
    for (found, expected) in coded
        .absmax
        .iter()
        .zip([0.498_763_14, 0.499_535_8, 0.499_937_33])
    {
        assert!((found - expected).abs() < 1e-8, "{found} {expected}");
    }
    let close = |found: &[f32], expected: [f32; 4]| {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 6e-8, "{found} {expected}");
        }
    };
    close(
        &coded.decode(512),
        [0.0, 0.168_539_7, 0.360_584_2, 0.498_763_1],
    );

    let nested = NestedScales::encode(&coded.absmax);
    assert_eq!(nested.codes, [13, 194, 229, 234, 231, 202, 27, 0]);
    assert!(
        (nested.offset - 0.499_418_14).abs() < 1e-7,
        "{}",
        nested.offset
    );
    assert!((nested.absmax[0] - 0.000_814_855).abs() < 1e-7);
    let twice = Nf4 {
        absmax: nested.decode(),
        ..coded
    };
    close(
        &twice.decode(512),
        [0.0, 0.168_537_9, 0.360_580_5, 0.498_758],
    );
}

#[test]
fn the_dynamic_map_is_symmetric_but_for_its_end() {
    let map = dynamic_map();
    assert!(map.is_sorted() && map[255] == 1.0 && map[127] == 0.0);
    for i in 0..127 {
        assert_eq!(map[i], -map[254 - i], "{i}");
    }
}

#[test]
fn an_empty_or_constant_block_is_exact() {
    for kind in [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4_1] {
        let mut out = vec![1.0; 32];
        kind.decode(&kind.encode(&[0.0; 32]).unwrap(), &mut out);
        assert_eq!(out, [0.0; 32], "{kind}");
    }
    assert_eq!(Nf4::encode(&[0.0; 65]).decode(65), [0.0; 65]);
    let scales = [0.25; 300];
    assert_eq!(NestedScales::encode(&scales).decode(), scales);
}

#[test]
fn byte_lengths_are_checked() {
    assert_eq!(BlockType::Q6K.byte_len(512), Some(420));
    assert_eq!(BlockType::Q6K.byte_len(511), None);
    assert_eq!(BlockType::F32.byte_len(usize::MAX), None);
    for kind in BlockType::ALL {
        assert_eq!(kind.ggml().is_none(), kind == BlockType::Nf4);
        assert!(
            kind.ggml()
                .is_none_or(|id| BlockType::from_ggml(id) == Some(kind))
        );
    }
    assert_eq!(BlockType::Nf4.byte_len(128), Some(72));
    assert_eq!(BlockType::from_ggml(16), None);
}

proptest! {
    /// NF4 as blocks is NF4 as codes beside their maxima.
    #[test]
    fn blocks_of_nf4_hold_codes_and_maxima(x in prop::collection::vec(-1e3f32..1e3, 192)) {
        let coded = Nf4::encode(&x);
        let blocks = BlockType::Nf4.encode(&x).unwrap();
        let beside = interleaved(&coded.codes, &coded.absmax);
        prop_assert_eq!(Some(&blocks), beside.as_ref());
        let mut out = vec![0.0; 192];
        BlockType::Nf4.decode(&blocks, &mut out);
        prop_assert_eq!(out, coded.decode(192));
        prop_assert!(interleaved(&coded.codes[1..], &coded.absmax).is_none());
    }

    /// No value is further off than half a step of its block, and rounding the scale to a half adds
    /// at most 2^-11 of the value.
    #[test]
    fn encoded_values_are_near(x in prop::collection::vec(-1e3f32..1e3, 32)) {
        let max = x.iter().fold(0f32, |m, v| m.max(v.abs()));
        let spread = x.iter().fold(f32::MIN, |m, v| m.max(*v))
            - x.iter().fold(f32::MAX, |m, v| m.min(*v));
        // Q4_0 has a code less on the side opposite to its extreme value.
        for (kind, step) in [
            (BlockType::Q8_0, max / 127.0 * 0.5),
            (BlockType::Q4_0, max / 8.0),
            (BlockType::Q4_1, spread / 15.0 * 0.5),
        ] {
            let mut out = vec![0.0; 32];
            kind.decode(&kind.encode(&x).unwrap(), &mut out);
            for (a, b) in x.iter().zip(&out) {
                prop_assert!((a - b).abs() <= step * 1.001 + max * 2e-3 + 1e-6, "{kind}: {a} {b}");
            }
        }
    }

    #[test]
    fn any_bytes_decode(bytes in prop::collection::vec(any::<u8>(), 256)) {
        for kind in BlockType::ALL {
            let mut out = vec![0.0; kind.block_len()];
            kind.decode(&bytes[..kind.block_bytes()], &mut out);
        }
    }
}
