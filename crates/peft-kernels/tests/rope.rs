//! Frequencies of rotary embeddings against those of Hugging Face transformers.

use peft_kernels::{LongRope, RopeError, RopeFrequencies, RopeScaling, RopeSpec, Yarn};

fn frequencies(
    channels: usize,
    theta: f64,
    scaling: RopeScaling,
    longest: usize,
) -> RopeFrequencies {
    let spec = RopeSpec {
        channels,
        theta,
        scaling,
    };
    spec.frequencies(longest).unwrap()
}

/// Single precision on the other side.
#[track_caller]
fn near(got: f64, want: f64) {
    assert!(
        (got / want - 1.0).abs() < 3e-7,
        "{got} is not {want} by {:e}",
        got / want - 1.0
    );
}

#[test]
fn default_is_the_powers_of_theta() {
    let got = frequencies(4, 100.0, RopeScaling::Default, 10);
    assert_eq!(got.inverse, [1.0, 0.1]);
    assert_eq!(got.attention_factor, 1.0);
}

#[test]
fn linear() {
    let got = frequencies(16, 1e4, RopeScaling::Linear { factor: 4.0 }, 10);
    near(got.inverse[0], 0.25);
    near(got.inverse[1], 0.079_056_941);
    near(got.inverse.iter().sum(), 0.365_582_26);
}

#[test]
fn dynamic_changes_beyond_the_trained_positions_only() {
    let scaling = RopeScaling::Dynamic {
        factor: 4.0,
        max_positions: 64,
    };
    let got = frequencies(16, 1e4, scaling.clone(), 128);
    near(got.inverse[0], 1.0);
    near(got.inverse[1], 0.251_273_751);
    near(got.inverse[2], 0.063_138_507_3);
    near(got.inverse.iter().sum(), 1.335_580_42);
    let plain = frequencies(16, 1e4, RopeScaling::Default, 64);
    assert_eq!(frequencies(16, 1e4, scaling, 64), plain);
}

#[test]
fn llama3_of_the_1b_model() {
    let scaling = RopeScaling::Llama3 {
        factor: 32.0,
        low: 1.0,
        high: 4.0,
        original: 8192,
    };
    let got = frequencies(64, 5e5, scaling, 10).inverse;
    let want = [
        3.211_446_11e-3,
        1.290_548_01e-3,
        4.295_567_05e-4,
        9.708_286_23e-5,
        1.946_163_87e-5,
    ];
    for (&got, want) in got[14..19].iter().zip(want) {
        near(got, want);
    }
    near(got[31], 9.418_306_49e-8);
    near(got.iter().sum(), 2.968_202_40);
}

fn yarn() -> Yarn {
    Yarn {
        factor: 4.0,
        original: 8192,
        beta_fast: 32.0,
        beta_slow: 1.0,
        truncate: true,
        attention_factor: None,
        mscale: None,
        mscale_all_dim: None,
    }
}

#[test]
fn yarn_ramps() {
    let got = frequencies(16, 1e6, RopeScaling::Yarn(yarn()), 10);
    let want = [
        1.0,
        0.177_827_939,
        0.031_622_778_6,
        0.004_217_559_94,
        0.000_500_000_024,
    ];
    for (&got, want) in got.inverse.iter().zip(want) {
        near(got, want);
    }
    near(got.inverse.iter().sum(), 1.214_222_05);
    near(got.attention_factor, 1.138_629_44);
}

#[test]
fn the_factor_of_yarn_may_be_named() {
    let factor = |yarn: Yarn| frequencies(16, 1e6, RopeScaling::Yarn(yarn), 1).attention_factor;
    let named = Yarn {
        attention_factor: Some(0.5),
        ..yarn()
    };
    assert_eq!(factor(named), 0.5);
    let scales = Yarn {
        mscale: Some(1.0),
        mscale_all_dim: Some(2.0),
        ..yarn()
    };
    let ln = 4.0_f64.ln();
    near(factor(scales), (0.1 * ln + 1.0) / (0.2 * ln + 1.0));
}

fn longrope() -> RopeScaling {
    RopeScaling::LongRope(LongRope {
        short: (0..8).map(|i| 1.0 + 0.1 * f64::from(i)).collect(),
        long: (0..8).map(|i| 2.0 + 0.5 * f64::from(i)).collect(),
        original: 4096,
        factor: 131_072.0 / 4096.0,
        attention_factor: None,
    })
}

#[test]
fn longrope_goes_by_the_longest_sequence() {
    for (longest, want) in [(4096, 1.405_200_37), (4097, 0.672_319_75)] {
        let got = frequencies(16, 1e4, longrope(), longest);
        near(got.inverse.iter().sum(), want);
        near(got.attention_factor, 1.190_238_07);
    }
}

#[test]
fn what_cannot_be_is_named() {
    let error = |channels, theta, scaling| {
        let spec = RopeSpec {
            channels,
            theta,
            scaling,
        };
        spec.frequencies(10).unwrap_err().to_string()
    };
    assert_eq!(
        error(5, 1e4, RopeScaling::Default),
        "rotary embedding needs an even number of channels of at least 2, not 5"
    );
    assert_eq!(
        error(4, f64::NAN, RopeScaling::Default),
        "rotary embedding: rope_theta is NaN, but must be above 1"
    );
    assert_eq!(
        error(4, 1e4, RopeScaling::Linear { factor: 0.0 }),
        "rotary embedding: factor is 0, but must be a positive number"
    );
    let spec = RopeSpec {
        channels: 8,
        theta: 1e4,
        scaling: longrope(),
    };
    let divisors = RopeError::Divisors {
        name: "short_factor",
        found: 8,
        needed: 4,
    };
    assert_eq!(spec.frequencies(10).unwrap_err(), divisors);
}
