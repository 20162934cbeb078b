//! Golden values and statistics of the counter-based generator: they may never change.

use peft_kernels::*;

// From an independent implementation of the documented formulas, in Python.
const GOLDEN: [u64; 5] = [
    0xe220_a839_7b1d_cdaf,
    0xb34b_cd87_d082_3264,
    0x764c_25a0_1813_b880,
    0x6396_938e_9490_bed9,
    0x8bac_7f10_7206_5a84,
];
const UNIFORM: [u32; 4] = [0x3f3d_d732, 0x3e23_bf8c, 0x3e8e_a4ce, 0x3eb0_39c2];
const NORMAL: [u32; 4] = [0x3ed4_5626, 0x3f27_161e, 0xbf64_52a8, 0x3fa9_d5af];
const MASK: u64 = 0x6783_1947_fcd8_72a1;

#[test]
fn keys_are_fixed() {
    assert_eq!(mix_key(0, &[]), GOLDEN[0]);
    assert_eq!(mix_key(0, &[0]), GOLDEN[1]);
    assert_eq!(mix_key(42, &[1, 2, 3]), GOLDEN[2]);
    assert_eq!(key_of(0, "", 0), GOLDEN[3]);
    assert_eq!(
        key_of(42, "encoder.layer.0.attention.query.lora_A", 7),
        GOLDEN[4]
    );
}

#[test]
fn keys_depend_on_everything() {
    let keys = [
        mix_key(1, &[2, 3]),
        mix_key(1, &[3, 2]),
        mix_key(1, &[2]),
        mix_key(1, &[2, 3, 0]),
        mix_key(2, &[2, 3]),
        mix_key(0, &[]),
        mix_key(0, &[0]),
        mix_key(0, &[0, 0]),
        mix_key(1, &[1]),
        mix_key(2, &[2]),
        key_of(1, "a", 0),
        key_of(1, "b", 0),
        key_of(1, "a", 1),
        key_of(2, "a", 0),
    ];
    for (i, a) in keys.iter().enumerate() {
        assert!(keys[i + 1..].iter().all(|b| a != b));
    }
}

#[test]
fn samples_are_fixed() {
    assert_eq!(uniform(42, 4).map_bits(), UNIFORM);
    assert_eq!(normal(42, 4).map_bits(), NORMAL);
    let mask: u64 = (0..64).filter(|&i| keep(42, i, 0.5)).map(|i| 1 << i).sum();
    assert_eq!(mask, MASK);
}

#[test]
fn a_shorter_draw_is_a_prefix() {
    assert_eq!(uniform(7, 100)[..33], uniform(7, 33));
    assert_eq!(normal(7, 100)[..33], normal(7, 33));
}

#[test]
fn moments_are_right() {
    let n = 200_000;
    let moments = |x: &[f32]| {
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
        let var = x
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>()
            / n as f64;
        (mean, var)
    };
    let u = uniform(3, n);
    assert!(u.iter().all(|v| (0.0..1.0).contains(v)));
    let (mean, var) = moments(&u);
    assert!(
        (mean - 0.5).abs() < 0.003 && (var - 1.0 / 12.0).abs() < 0.001,
        "{mean} {var}"
    );
    let z = normal(3, n);
    let (mean, var) = moments(&z);
    assert!(
        mean.abs() < 0.01 && (var - 1.0).abs() < 0.015,
        "{mean} {var}"
    );
    let within = z.iter().filter(|v| v.abs() < 1.0).count() as f64 / n as f64;
    assert!((within - 0.6827).abs() < 0.005, "{within}");
    for p in [0.1, 0.5, 0.9] {
        let kept = (0..n as u64).filter(|&i| keep(11, i, p)).count() as f64 / n as f64;
        assert!((kept - (1.0 - p)).abs() < 0.005, "{kept} kept at {p}");
    }
    assert!((0..1000).all(|i| keep(1, i, 0.0) && !keep(1, i, 1.0)));
}

trait Bits {
    fn map_bits(self) -> Vec<u32>;
}

impl Bits for Vec<f32> {
    fn map_bits(self) -> Vec<u32> {
        self.into_iter().map(f32::to_bits).collect()
    }
}
