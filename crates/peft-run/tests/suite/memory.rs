//! What saves memory changes no result.

use burn::tensor::{DType, FloatDType};
use peft_run::{
    core::{
        AdapterContext, AttachOptions, attach,
        format::{TargetModules, TargetSpec},
    },
    methods,
    models::{EncoderLayer, HeadSpec, Network, Output, SequenceModel},
};
use peft_train::{GradientSet, gradients};
use serde_json::json;

use crate::common::*;

/// A golden model with LoRA on every linear layer.
fn adapted(name: &str, dtype: FloatDType, base: FloatDType) -> SequenceModel {
    adapted_by(
        "lora",
        &TargetSpec::new(TargetModules::AllLinear),
        name,
        dtype,
        base,
    )
}

/// A golden model with adapters of a method.
fn adapted_by(
    method: &str,
    targets: &TargetSpec,
    name: &str,
    dtype: FloatDType,
    base: FloatDType,
) -> SequenceModel {
    let device = cpu().autodiff();
    let mut folder = folder(name, dtype);
    folder.set_dropout(0.2);
    folder.set_base_dtype(base);
    let head = HeadSpec {
        outputs: 3,
        seed: 1,
    };
    let (model, _) = SequenceModel::load(&folder, &head, &device).unwrap();
    let entry = methods::by_name(method).unwrap();
    let mut settings = (entry.defaults)();
    for (key, value) in [
        ("r", 4),
        ("init_r", 4),
        ("target_r", 2),
        ("n_frequency", 24),
        ("num_heads", 4),
        ("block_size", 16),
    ] {
        if entry.keys.contains(&key) {
            settings.insert(key.into(), json!(value));
        }
    }
    let method = (entry.build)(&settings).unwrap();
    let names = model.names();
    let heads = model.head_modules();
    let saved: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let options = AttachOptions {
        targets,
        names: &names,
        modules_to_save: &saved,
        heads,
        seed: 3,
        gradients: None,
    };
    attach(model, method.as_ref(), &options).unwrap().0
}

#[test]
fn recomputed_gradients_are_the_kept_ones() {
    // ALBERT's layers share their parameters, and what stands before its first block is adapted, too. Where the
    // first blocks are not adapted, no gradient arrives at their inputs.
    let all = TargetSpec::new(TargetModules::AllLinear);
    let some = TargetModules::List(vec!["query".into(), "value".into()]);
    let upper = TargetSpec {
        layers_to_transform: Some(vec![1]),
        ..TargetSpec::new(some.clone())
    };
    let some = TargetSpec::new(some);
    let projections = TargetModules::List(vec!["query_proj".into(), "value_proj".into()]);
    let projections = TargetSpec::new(projections);
    let cases = [
        ("bert", "lora", &all),
        ("roberta", "lora", &all),
        ("distilbert", "lora", &all),
        ("albert", "lora", &all),
        ("mpnet", "lora", &all),
        ("deberta_v3", "lora", &all),
        ("deberta_plain", "adalora", &projections),
        ("modernbert", "lora", &all),
        ("modernbert_mean", "lora", &all),
        ("albert", "adalora", &all),
        ("bert", "adalora", &some),
        ("bert", "sdctft", &upper),
        ("bert", "loca", &some),
        ("bert", "lorta", &some),
        ("bert", "c3a", &upper),
    ];
    for (name, method, targets) in cases {
        let model = adapted_by(method, targets, name, FloatDType::F32, FloatDType::F32);
        let name = format!("{name}, {method}");
        let family = name.split(',').next().unwrap();
        let cases = json("cases.json");
        let inputs = cases["models"][family]["inputs"]
            .as_str()
            .unwrap()
            .to_owned();
        let device = cpu().autodiff();
        let batch = pack(model.config(), &rows(&cases, &inputs), &device);
        let context = AdapterContext::training(5, 7);

        let value = model.forward(&batch, &context).powi_scalar(2).mean();
        let mut grads = value.backward();
        let kept = gradients(&model, &mut grads);

        let (again, passes) = model.backward_recomputing(&batch, &context, |output| {
            let Output::Scores(scores) = output else {
                panic!("no scores")
            };
            scores.powi_scalar(2).mean()
        });
        assert_eq!(values(again), values(value), "{name}");
        let mut recomputed = GradientSet::default();
        for mut grads in passes {
            recomputed.add(gradients(&model, &mut grads));
        }
        let paths: Vec<&str> = kept.paths().collect();
        assert_eq!(recomputed.paths().collect::<Vec<_>>(), paths, "{name}");
        assert!(paths.len() >= 4, "{name}: {paths:?}");
        for path in paths {
            let [a, b] = [&recomputed, &kept].map(|set| values(set.get(path).unwrap().clone()));
            // Passes through shared layers are summed in another order, and a run is not resumed so.
            if family == "albert" {
                assert_close(&format!("{name}, {path}"), &a, &b, 1e-5);
            } else {
                assert_eq!(a, b, "{name}, {path}");
            }
        }
    }
}

#[test]
fn a_half_precision_base_computes_like_the_checkpoint_it_holds() {
    // The checkpoint is stored in bfloat16, so keeping it so rounds nothing: the sums are the same.
    let context = AdapterContext::inference();
    let model = |base| adapted("bert_bf16", FloatDType::F32, base);
    let (wide, half) = (model(FloatDType::F32), model(FloatDType::BF16));
    let EncoderLayer::PostNorm(first) = &half.encoder.layers[0] else {
        panic!("BERT's blocks end in norms")
    };
    let weight = first.query.weight.base();
    assert_eq!(weight.dtype(), DType::BF16);
    assert_eq!(half.classifier.weight.base().dtype(), DType::F32);
    let device = cpu().autodiff();
    let batch = pack(wide.config(), &rows(&json("cases.json"), "bert"), &device);
    let [expected, got] = [&wide, &half].map(|model| values(model.forward(&batch, &context)));
    assert_close("logits", &got, &expected, 1e-6);

    let [expected, got] = [&wide, &half].map(|model| {
        let loss = model.forward(&batch, &context).powi_scalar(2).mean();
        gradients(model, &mut loss.backward())
    });
    for path in expected.paths() {
        let [a, b] = [&got, &expected].map(|set| values(set.get(path).unwrap().clone()));
        assert_close(path, &a, &b, 1e-6);
    }
}
