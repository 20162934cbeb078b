//! The choice of a token.

use peft_core::kernels::{mix_key, word};

use super::scores::softmax;

/// The first of the highest scores.
pub fn first_highest(scores: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (id, score) in scores.iter().enumerate() {
        if best.is_none_or(|(_, most)| *score > most) {
            best = Some((id, *score));
        }
    }
    best.map(|(id, _)| id as u32)
}

/// A token by its probability `softmax(scores)`: the one at which the sum of the probabilities, in the order of
/// the tokens, comes to exceed a number that is uniform in `[0, 1)`.
///
/// The number is a function of the seed, the sequence and the step alone: sequences that share a batch do not
/// change one another.
pub fn drawn(scores: &[f32], seed: u64, sequence: u64, step: u64) -> Option<u32> {
    let number = word(mix_key(seed, &[sequence]), step) >> 11;
    at(&softmax(scores), number as f64 / (1_u64 << 53) as f64)
}

fn at(probabilities: &[f64], number: f64) -> Option<u32> {
    let (mut sum, mut last) = (0.0, None);
    for (id, probability) in probabilities.iter().enumerate() {
        if *probability > 0.0 {
            sum += probability;
            last = Some(id as u32);
            if sum > number {
                break;
            }
        }
    }
    // Rounding may leave the sum below the number: the last token that has a probability takes it.
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_equal_scores_the_first_is_taken() {
        assert_eq!(first_highest(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(first_highest(&[f32::NEG_INFINITY, -1.0]), Some(1));
        assert_eq!(first_highest(&[]), None);
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let scores = [0.0, f32::NEG_INFINITY, 3f32.ln(), 0.0];
        let mut counts = [0; 4];
        for step in 0..10_000 {
            counts[drawn(&scores, 3, 1, step).unwrap() as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([2000, 0, 6000, 2000_i32]) {
            assert!((count - expected).abs() < 200, "{counts:?}");
        }
        assert_eq!(counts[1], 0);
        let (one, other): (Vec<_>, Vec<_>) = (0..50)
            .map(|step| (drawn(&scores, 3, 1, step), drawn(&scores, 3, 2, step)))
            .unzip();
        assert_ne!(one, other);
    }

    proptest! {
        #[test]
        fn what_was_dropped_is_never_drawn(
            scores in prop::collection::vec(prop::option::of(-50.0f32..50.0), 1..60),
            seed: u64, step in 0u64..1000, number in 0.0f64..1.0,
        ) {
            prop_assume!(scores.iter().any(Option::is_some));
            let scores: Vec<f32> = scores.into_iter().map(|s| s.unwrap_or(f32::NEG_INFINITY)).collect();
            let id = drawn(&scores, seed, 0, step).unwrap();
            prop_assert!(scores[id as usize].is_finite());
            let probabilities = softmax(&scores);
            for number in [number, 0.0, 1.0 - f64::EPSILON] {
                let id = at(&probabilities, number).unwrap();
                prop_assert!(scores[id as usize].is_finite());
            }
        }
    }
}
