//! An encoder and a decoder take two training steps on the GPU backend that is compiled in as they do on the
//! CPU. `PEFT_TEST_DEVICE=wgpu` asks for it; a driver without a GPU, such as Mesa's lavapipe, will do.
#![cfg(all(feature = "flex", any(feature = "wgpu", feature = "cuda")))]

mod common;

use std::path::PathBuf;

use burn::tensor::{Device, DeviceKind, FloatDType};
use peft_core::{
    AttachOptions, adapter_tensors, attach,
    format::{TargetSpec, Targets},
};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_models::{HeadKind, Model, ModelFolder, Network, PackedBatch};
use peft_train::{
    AdamWConfig, Classification, NextToken, Objective, Schedule, ScheduleKind, Trainer,
    TrainerConfig, Truth,
};

const IDS: [u32; 12] = [1, 5, 9, 3, 30, 7, 7, 12, 4, 2, 11, 28];
const STARTS: [usize; 4] = [0, 8, 10, 12];

fn gpu() -> Option<Device> {
    match std::env::var("PEFT_TEST_DEVICE").as_deref() {
        #[cfg(feature = "wgpu")]
        Ok("wgpu") => Some(Device::wgpu(DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        Ok("cuda") => Some(Device::cuda(DeviceKind::DefaultDevice)),
        _ => None,
    }
}

/// The adapter's values after two steps, by their names in a file.
fn trained(
    folder: &str,
    head: HeadKind,
    objective: &dyn Objective,
    device: &Device,
) -> Vec<(String, Vec<f64>)> {
    let device = device.clone().autodiff();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    let mut folder = ModelFolder::open(&path.join(folder)).unwrap();
    folder.set_dtype(FloatDType::F32);
    folder.set_dropout(0.0);
    let (model, _) = Model::load(&folder, head, 1, &device).unwrap();
    let method = LoraMethod::new(LoraConfig::new(2, 4.0)).unwrap();
    let names = model.description().names();
    let options = AttachOptions {
        targets: &TargetSpec::new(Targets::AllLinear),
        names: &names,
        modules_to_save: &[],
        heads: &model.description().head_modules,
        seed: 3,
        gradients: None,
    };
    let (mut model, _) = attach(model, &method, &options).unwrap();
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
    let truth = match head {
        HeadKind::Sequence { .. } => Truth::Classes(&[0, 2, 1]),
        HeadKind::Language => Truth::Tokens {
            ids: &IDS,
            starts: &STARTS,
            trained: &trained,
        },
    };
    for _ in 0..2 {
        let step = trainer.step(model, &method, 1, |model, _, context| {
            let description = model.description();
            let batch = PackedBatch::new(description, &IDS, &[], &STARTS, &device).unwrap();
            let targets = objective.targets(&truth, &device)?;
            Ok((objective.loss(model.run(&batch, context), targets), 1.0))
        });
        model = step.unwrap().0;
    }
    let tensors = adapter_tensors(&model, &method, &names, &[]).unwrap();
    let read = |(name, tensor): (String, peft_core::HostTensor)| {
        let data = tensor.to_float(&name, FloatDType::F64).unwrap();
        let values = data.iter::<f64>().collect();
        (name, values)
    };
    tensors.into_iter().map(read).collect()
}

fn compare(folder: &str, head: HeadKind, objective: &dyn Objective) {
    let Some(gpu) = gpu() else {
        return;
    };
    let expected = trained(folder, head, objective, &Device::flex());
    let found = trained(folder, head, objective, &gpu);
    assert!(expected.len() >= 12, "{}", expected.len());
    assert_eq!(expected.len(), found.len());
    let mut moved = 0;
    for ((name, wanted), (same, values)) in expected.iter().zip(&found) {
        assert_eq!(name, same);
        for (value, wanted) in values.iter().zip(wanted) {
            // Steps of AdamW are of one size, and a gradient near zero may have either sign.
            assert!(
                (value - wanted).abs() < 2e-3,
                "{name}: {value} is not {wanted}"
            );
            moved += usize::from(name.contains("lora_B") && wanted.abs() > 5e-3);
        }
    }
    assert!(moved > 20, "{moved} values of B moved");
}

#[test]
fn an_encoder_learns_on_the_gpu_as_on_the_cpu() {
    let head = HeadKind::Sequence { outputs: 3 };
    compare("models/bert", head, &Classification::new(3));
}

#[test]
fn a_decoder_learns_on_the_gpu_as_on_the_cpu() {
    compare("llama_tiny", HeadKind::Language, &NextToken);
}
