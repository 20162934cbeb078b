//! Adapters on Jamba, whose blocks are of two kinds.

use std::path::PathBuf;

use burn::tensor::{Device, FloatDType};
use peft_core::{
    AdapterContext, AttachOptions, HostTensorExt, adapter_tensors, attach,
    format::{TargetModules, TargetSpec},
};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_models::{HeadKind, Model, ModelFolder, Network, Output, PackedBatch};
use peft_train::{
    AdamWConfig, NextToken, Objective, Schedule, ScheduleKind, Trainer, TrainerConfig, Truth,
};

const IDS: [u32; 12] = [1, 5, 9, 3, 30, 7, 7, 12, 4, 2, 11, 28];
const STARTS: [usize; 4] = [0, 8, 10, 12];
/// Block 0 and 2 have a state space, 1 and 3 attention.
const SPACE: [&str; 4] = ["in_proj", "x_proj", "dt_proj", "out_proj"];
const ATTENTION: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];
const FEED_FORWARD: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];

/// The tiny Jamba with LoRA on the layers of a pattern, after one step.
fn stepped(pattern: &str, device: &Device) -> (Model, LoraMethod) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/jamba_tiny");
    let mut folder = ModelFolder::open(&path).unwrap();
    folder.set_dtype(FloatDType::F64);
    let (model, _) = Model::load(&folder, HeadKind::Language, 0, device).unwrap();
    let method = LoraMethod::new(LoraConfig::new(2, 4.0)).unwrap();
    let names = model.description().names();
    let options = AttachOptions {
        targets: &TargetSpec::new(TargetModules::Regex(pattern.into())),
        names: &names,
        modules_to_save: &[],
        heads: model.description().head_modules,
        seed: 3,
        gradients: None,
    };
    let (model, _) = attach(model, &method, &options).unwrap();
    let config = TrainerConfig {
        learning_rate: 1e-2,
        head_learning_rate: 1e-2,
        clip_norm: Some(1.0),
        optimizer: AdamWConfig::default(),
        seed: 0,
    };
    let mut trainer = Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, 2));
    let trained: Vec<bool> = (0..IDS.len())
        .map(|place| !STARTS.contains(&place))
        .collect();
    let truth = Truth::Tokens {
        ids: &IDS,
        starts: &STARTS,
        trained: &trained,
    };
    let step = trainer.step(model, &method, 1, |model, _, context| {
        let batch = batch(model, device);
        let targets = NextToken.targets(&truth, device)?;
        Ok((NextToken.loss(model.run(&batch, context), targets), 1.0))
    });
    (step.unwrap().0, method)
}

fn batch(model: &Model, device: &Device) -> PackedBatch {
    PackedBatch::new(model.description(), &IDS, &[], &STARTS, device).unwrap()
}

/// A step of AdamW moves what has a gradient and nothing else, and `lora_B` starts from zeros.
#[test]
fn every_projection_gets_a_gradient() {
    let device = Device::flex().autodiff();
    let (model, method) = stepped(".*_proj", &device);
    let names = model.description().names();
    let tensors = adapter_tensors(&model, &method, &names, &[]).unwrap();
    let mut count = 0;
    for block in 0..4 {
        let mixer = if block % 2 == 0 { SPACE } else { ATTENTION };
        for layer in mixer.into_iter().chain(FEED_FORWARD) {
            let of = |key: &&String| {
                let inside = key.contains(&format!("layers.{block}."));
                inside && key.contains(&format!(".{layer}.")) && key.contains("lora_B")
            };
            let (name, tensor) = tensors
                .iter()
                .find(|(key, _)| of(key))
                .unwrap_or_else(|| panic!("no adapter on {layer} of block {block}"));
            let data = tensor.to_float(name, FloatDType::F64).unwrap();
            assert!(data.iter::<f64>().any(|value| value != 0.0), "{name}");
            count += 1;
        }
    }
    assert_eq!(tensors.len(), 2 * count);
}

#[test]
fn a_pass_begins_at_the_first_adapted_block() {
    let device = Device::flex().autodiff();
    for (pattern, first) in [
        (r".*\.3\.self_attn\.q_proj", 3),
        (r".*\.2\.mamba\.x_proj", 2),
    ] {
        let (model, _) = stepped(pattern, &device);
        assert_eq!(model.first_adapted(), first, "{pattern}");
        let (batch, context) = (batch(&model, &device), AdapterContext::inference());
        let hidden = model.hidden(first, &batch, &context);
        let hidden = burn::Tensor::from_inner(hidden);
        let outputs = [
            model.run_from(first, hidden, &batch, &context),
            model.run(&batch, &context),
        ];
        let [behind, whole] = outputs.map(|output| {
            let Output::Tokens { hidden, head } = output else {
                panic!("no logits");
            };
            let logits: Vec<f64> = head.logits(hidden).into_data().iter::<f64>().collect();
            logits
        });
        assert_eq!(behind, whole, "{pattern}");
    }
}
