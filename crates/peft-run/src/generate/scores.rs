//! Scores of the next token: what is changed in them before one is chosen, in the order of transformers'
//! logits processors.

use std::collections::BTreeSet;

use super::GenerationConfig;

/// Change the scores of the next token by what comes before it, `ids`, of which the last `generated` are no part
/// of the prompt. Tokens that may not be chosen have −∞.
pub fn process(scores: &mut [f32], ids: &[u32], generated: usize, config: &GenerationConfig) {
    penalise_repetition(scores, ids, config.repetition_penalty);
    forbid_ngrams(scores, ids, config.no_repeat_ngram_size);
    if generated < config.min_tokens || ids.len() < config.min_length {
        for id in &config.eos_token_ids {
            forbid(scores, *id);
        }
    }
    for id in &config.suppress_tokens {
        forbid(scores, *id);
    }
    if config.do_sample {
        if config.temperature != 1.0 {
            let factor = config.temperature;
            scores
                .iter_mut()
                .for_each(|score| *score = (f64::from(*score) / factor) as f32);
        }
        keep_top_k(scores, config.top_k);
        keep_top_p(scores, config.top_p);
        keep_min_p(scores, config.min_p);
        keep_typical(scores, config.typical_p);
        keep_above(scores, config.epsilon_cutoff, |_| 1.0);
        keep_above(scores, config.eta_cutoff, |entropy| {
            ((-entropy).exp() / config.eta_cutoff.sqrt()).min(1.0)
        });
    }
}

fn forbid(scores: &mut [f32], id: u32) {
    if let Some(score) = scores.get_mut(id as usize) {
        *score = f32::NEG_INFINITY;
    }
}

/// Of every token that occurs, once: a positive score is divided, another multiplied.
fn penalise_repetition(scores: &mut [f32], ids: &[u32], penalty: f64) {
    if penalty == 1.0 {
        return;
    }
    let penalty = penalty as f32;
    for id in ids.iter().collect::<BTreeSet<_>>() {
        if let Some(score) = scores.get_mut(*id as usize) {
            *score = match *score < 0.0 {
                true => *score * penalty,
                false => *score / penalty,
            };
        }
    }
}

/// No `size` tokens in succession twice.
fn forbid_ngrams(scores: &mut [f32], ids: &[u32], size: usize) {
    if size == 0 || ids.len() + 1 < size {
        return;
    }
    let begun = &ids[ids.len() + 1 - size..];
    for ngram in ids.windows(size) {
        if ngram[..size - 1] == *begun {
            forbid(scores, ngram[size - 1]);
        }
    }
}

/// The `k` highest scores, and those equal to the least of them.
fn keep_top_k(scores: &mut [f32], k: usize) {
    if k == 0 || k >= scores.len() {
        return;
    }
    let mut sorted = scores.to_vec();
    let (_, least, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let least = *least;
    for score in scores {
        if *score < least {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// The likeliest tokens without the least likely ones that have `1 − p` or less together; one at least.
fn keep_top_p(scores: &mut [f32], p: f64) {
    if p >= 1.0 {
        return;
    }
    let probabilities = softmax(scores);
    let mut order: Vec<usize> = (0..scores.len())
        .filter(|i| scores[*i] > f32::NEG_INFINITY)
        .collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let mut sum = 0.0;
    for index in order.iter().take(order.len().saturating_sub(1)) {
        sum += probabilities[*index];
        if sum > 1.0 - p {
            break;
        }
        scores[*index] = f32::NEG_INFINITY;
    }
}

/// Tokens of `p` times the probability of the likeliest or more.
fn keep_min_p(scores: &mut [f32], p: f64) {
    if p == 0.0 {
        return;
    }
    let probabilities = softmax(scores);
    let least = p * probabilities.iter().copied().fold(0.0, f64::max);
    for (score, probability) in scores.iter_mut().zip(probabilities) {
        if probability < least {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// The tokens whose surprisal is nearest to the entropy, as many as reach the probability `mass` together (Meister et al.
/// 2022); one at least.
fn keep_typical(scores: &mut [f32], mass: f64) {
    if mass >= 1.0 {
        return;
    }
    let probabilities = softmax(scores);
    let entropy = entropy(&probabilities);
    let strange = |index: usize| (-probabilities[index].ln() - entropy).abs();
    let mut order: Vec<usize> = (0..scores.len())
        .filter(|index| probabilities[*index] > 0.0)
        .collect();
    order.sort_by(|a, b| strange(*a).total_cmp(&strange(*b)));
    let mut sum = 0.0;
    let reached = order.iter().position(|index| {
        sum += probabilities[*index];
        sum >= mass
    });
    let Some(last) = reached.and_then(|place| order.get(place)) else {
        return;
    };
    let most = strange(*last);
    for index in order.into_iter().skip(1) {
        if strange(index) > most {
            scores[index] = f32::NEG_INFINITY;
        }
    }
}

/// Tokens of the probability `cutoff · factor(entropy)` or more (Hewitt et al. 2022), and the likeliest; 0 keeps all.
fn keep_above(scores: &mut [f32], cutoff: f64, factor: impl Fn(f64) -> f64) {
    if cutoff == 0.0 {
        return;
    }
    let probabilities = softmax(scores);
    let least = cutoff * factor(entropy(&probabilities));
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for (score, probability) in scores.iter_mut().zip(probabilities) {
        if probability < least && *score < most {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// `−Σ p ln p`.
fn entropy(probabilities: &[f64]) -> f64 {
    let parts = probabilities.iter().filter(|p| **p > 0.0);
    -parts.map(|p| p * p.ln()).sum::<f64>()
}

/// `exp(sᵢ) / Σⱼ exp(sⱼ)`, 0 for what may not be chosen.
pub fn softmax(scores: &[f32]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let parts: Vec<f64> = scores
        .iter()
        .map(|score| f64::from(score - most).exp())
        .collect();
    let sum: f64 = parts.iter().sum();
    parts.into_iter().map(|part| part / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(scores: &[f32]) -> Vec<usize> {
        (0..scores.len())
            .filter(|i| scores[*i].is_finite())
            .collect()
    }

    /// Expectations are those of transformers 5.24's processors.
    #[test]
    fn processors_give_the_reference_s_scores() {
        let mut scores = [2.0, 1.0, 0.5, -1.0, -2.0, 1.5, 0.0, 3.0];
        let ids = [7, 3, 3, 0];
        let config = GenerationConfig {
            repetition_penalty: 1.3,
            ..GenerationConfig::default()
        };
        process(&mut scores, &ids, 0, &config);
        let expected = [1.538462, 1.0, 0.5, -1.3, -2.0, 1.5, 0.0, 2.307692];
        for (found, expected) in scores.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
        let config = GenerationConfig {
            do_sample: true,
            temperature: 0.7,
            top_k: 5,
            top_p: 0.9,
            min_p: 0.1,
            ..GenerationConfig::default()
        };
        process(&mut scores, &ids, 0, &config);
        assert_eq!(kept(&scores), [0, 1, 5, 7]);
        let probabilities = softmax(&scores);
        for (id, expected) in [(0, 0.184816), (1, 0.085638), (5, 0.174936), (7, 0.554610)] {
            let found: f64 = probabilities[id];
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
    }

    #[test]
    fn scores_are_those_of_the_reference() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/goldens/generation.json"
        );
        let text = std::fs::read_to_string(path).unwrap();
        let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cases = golden["scores"].as_array().unwrap();
        assert_eq!(cases.len(), 13);
        for case in cases {
            let settings = &case["settings"];
            let number = |name: &str, default: f64| settings[name].as_f64().unwrap_or(default);
            let count =
                |name: &str, default: u64| settings[name].as_u64().unwrap_or(default) as usize;
            let config = GenerationConfig {
                do_sample: settings["do_sample"].as_bool().unwrap_or(false),
                temperature: number("temperature", 1.0),
                top_k: count("top_k", 50),
                top_p: number("top_p", 1.0),
                min_p: number("min_p", 0.0),
                typical_p: number("typical_p", 1.0),
                epsilon_cutoff: number("epsilon_cutoff", 0.0),
                eta_cutoff: number("eta_cutoff", 0.0),
                suppress_tokens: serde_json::from_value(settings["suppress_tokens"].clone())
                    .unwrap_or_default(),
                repetition_penalty: number("repetition_penalty", 1.0),
                no_repeat_ngram_size: count("no_repeat_ngram_size", 0),
                ..GenerationConfig::default()
            };
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            let mut scores: Vec<f32> = serde_json::from_value(case["scores"].clone()).unwrap();
            process(&mut scores, &ids, 0, &config);
            let expected: Vec<Option<f32>> =
                serde_json::from_value(case["processed"].clone()).unwrap();
            for (found, expected) in scores.iter().zip(expected) {
                match expected {
                    None => assert_eq!(*found, f32::NEG_INFINITY, "{settings}"),
                    Some(expected) => {
                        assert!(
                            (found - expected).abs() < 1e-6,
                            "{settings}: {found} for {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn ngrams_do_not_come_twice() {
        let forbidden = |ids: &[u32], size| {
            let mut scores = [0.0; 5];
            forbid_ngrams(&mut scores, ids, size);
            (0..5)
                .filter(|i| scores[*i as usize] < 0.0)
                .collect::<Vec<u32>>()
        };
        assert_eq!(forbidden(&[1, 2, 3, 1, 2], 3), [3]);
        assert_eq!(forbidden(&[1, 2, 1, 4, 1], 2), [2, 4]);
        assert_eq!(forbidden(&[1, 2], 1), [1, 2]);
        assert_eq!(forbidden(&[1], 3), [0; 0]);
        assert_eq!(forbidden(&[1, 2, 3], 0), [0; 0]);
    }

    #[test]
    fn a_text_may_not_end_too_early() {
        let config = GenerationConfig {
            eos_token_ids: vec![1, 9],
            min_tokens: 2,
            ..GenerationConfig::default()
        };
        let mut scores = [0.0, 1.0, 0.0];
        process(&mut scores, &[0], 1, &config);
        assert_eq!(kept(&scores), [0, 2]);
        process(&mut scores, &[0], 2, &config);
        assert_eq!(kept(&scores), [0, 2]);
    }

    #[test]
    fn equal_scores_stay_together() {
        let mut scores = [1.0, 3.0, 1.0, 0.0];
        keep_top_k(&mut scores, 2);
        assert_eq!(kept(&scores), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn something_is_always_kept(
            mut scores in prop::collection::vec(-30.0f32..30.0, 1..40),
            temperature in 0.05..3.0, top_k in 0usize..50, top_p in 0.001..=1.0, min_p in 0.0..=1.0,
        ) {
            let most = scores.iter().copied().fold(f32::MIN, f32::max);
            let best: Vec<usize> = (0..scores.len()).filter(|i| scores[*i] == most).collect();
            let config = GenerationConfig {
                do_sample: true, temperature, top_k, top_p, min_p,
                ..GenerationConfig::default()
            };
            process(&mut scores, &[], 0, &config);
            prop_assert!(best.iter().any(|i| scores[*i].is_finite()));
            let sum: f64 = softmax(&scores).iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        }
    }
}
