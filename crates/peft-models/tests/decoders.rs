//! Every family of decoders against transformers, on tiny models whose weights are a formula.

mod common;

use burn::tensor::{Device, FloatDType};
use peft_models::{Network, Output};

use common::{IDS, Row, batch, causal, config, logits, mean_loss, rows};

#[test]
fn every_family_gives_the_reference_s_logits() {
    let device = Device::flex();
    for dtype in [FloatDType::F32, FloatDType::F64] {
        for Row(name, own, loss, last, sum) in rows() {
            let model = causal(&config(own), dtype, &device);
            let found = logits(&model, &[&IDS], &device);
            let found_loss = mean_loss(&found, &IDS);
            assert!(
                (found_loss - loss).abs() < 2e-5,
                "{name}: loss {found_loss} for {loss}"
            );
            for (found, expected) in found[7].iter().zip(last) {
                assert!(
                    (found - expected).abs() < 2e-5,
                    "{name}: {found} for {expected}"
                );
            }
            let found: f64 = found.iter().flatten().map(|logit| logit.abs()).sum();
            assert!((found - sum).abs() < 1e-3, "{name}: sum {found} for {sum}");
        }
    }
}

#[test]
fn sequences_do_not_see_one_another() {
    let device = Device::flex();
    let other: &[u32] = &[4, 4, 19];
    for Row(name, own, ..) in rows() {
        let model = causal(&config(own), FloatDType::F32, &device);
        // Positions of one kind are those of the batch's longest sequence: they are equal here.
        let together = logits(&model, &[other, &IDS, &IDS], &device);
        for (start, alone) in [(0, other), (3, &IDS[..]), (11, &IDS[..])] {
            if name.contains("long positions") && alone.len() < 8 {
                continue;
            }
            let alone = logits(&model, &[alone], &device);
            for (row, alone) in together[start..].iter().zip(&alone) {
                for (one, two) in row.iter().zip(alone) {
                    assert!((one - two).abs() < 2e-5, "{name}: {one} for {two}");
                }
            }
        }
    }
}

#[test]
fn the_head_s_loss_is_that_of_its_logits() {
    let device = Device::flex();
    let model = causal(&config(rows().remove(6).1), FloatDType::F32, &device);
    let all = logits(&model, &[&IDS], &device);
    let batch = batch(&model, &[&IDS], &device);
    let context = peft_core::AdapterContext::inference();
    let Output::Tokens { hidden, head } = model.run(&batch, &context) else {
        panic!("no logits");
    };
    let targets: Vec<i64> = IDS[1..].iter().map(|id| i64::from(*id)).collect();
    let targets = burn::Tensor::from_ints(targets.as_slice(), &device);
    let loss = head.cross_entropy(hidden.narrow(0, 0, 7), targets);
    let loss: f64 = loss.into_scalar::<f64>();
    assert!((loss - mean_loss(&all, &IDS)).abs() < 1e-5, "{loss}");
}
