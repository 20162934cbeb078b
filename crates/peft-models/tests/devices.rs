//! An encoder and a decoder take two training steps on the backend that `PEFT_TEST_DEVICE` names as they did on
//! the CPU: `tests/goldens/devices.json` holds what that came to. A driver without a GPU, such as Mesa's lavapipe,
//! will do. `PEFT_MINT=1` writes the file.

use peft_core::HostTensorExt;
use std::{collections::BTreeMap, path::PathBuf};

use burn::tensor::{Device, FloatDType};
use peft_core::{
    AttachOptions, adapter_tensors, attach,
    format::{TargetModules, TargetSpec},
};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_models::{HeadKind, Model, ModelFolder, Network, PackedBatch};
use peft_train::{
    AdamWConfig, Classification, NextToken, Objective, Schedule, ScheduleKind, Trainer,
    TrainerConfig, Truth,
};

/// Values of an adapter, by their names in a file.
type Values = BTreeMap<String, Vec<f64>>;

const IDS: [u32; 12] = [1, 5, 9, 3, 30, 7, 7, 12, 4, 2, 11, 28];
const STARTS: [usize; 4] = [0, 8, 10, 12];

fn device() -> Device {
    match std::env::var("PEFT_TEST_DEVICE").as_deref() {
        #[cfg(feature = "flex")]
        Err(_) | Ok("flex") => Device::flex(),
        #[cfg(feature = "wgpu")]
        Ok("wgpu") => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "cuda")]
        Ok("cuda") => Device::cuda(0usize),
        other => panic!("PEFT_TEST_DEVICE={other:?} is not compiled in"),
    }
}

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens")
}

/// The adapter's values after two steps.
fn trained(folder: &str, head: HeadKind, objective: &dyn Objective, device: &Device) -> Values {
    let device = device.clone().autodiff();
    let mut folder = ModelFolder::open(&goldens().join(folder)).unwrap();
    folder.set_dtype(FloatDType::F32);
    folder.set_dropout(0.0);
    let (model, _) = Model::load(&folder, head, 1, &device).unwrap();
    let method = LoraMethod::new(LoraConfig::new(2, 4.0)).unwrap();
    let names = model.description().names();
    let options = AttachOptions {
        targets: &TargetSpec::new(TargetModules::Regex(".*(query|value|q_proj|v_proj)".into())),
        names: &names,
        modules_to_save: &[],
        heads: model.description().head_modules,
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
        HeadKind::Tokens { .. } => unreachable!("no case has one"),
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

#[test]
fn two_steps_are_those_of_the_cpu() {
    let device = device();
    let encoder = HeadKind::Sequence { outputs: 3 };
    let found = BTreeMap::from([
        (
            "encoder",
            trained("models/bert", encoder, &Classification::new(3), &device),
        ),
        (
            "decoder",
            trained("llama_tiny", HeadKind::Language, &NextToken, &device),
        ),
    ]);
    let file = goldens().join("devices.json");
    if std::env::var_os("PEFT_MINT").is_some() {
        std::fs::write(&file, serde_json::to_string(&found).unwrap()).unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let expected: BTreeMap<String, Values> = serde_json::from_str(&text).unwrap();
    assert_eq!(expected.len(), found.len());
    for (model, found) in found {
        let expected = &expected[model];
        assert_eq!(expected.len(), 8, "{model}");
        assert!(expected.keys().eq(found.keys()), "{model}");
        let mut moved = 0;
        for (name, wanted) in expected {
            for (value, wanted) in found[name].iter().zip(wanted) {
                // A step of AdamW is 0.01 long whatever the gradient is, so rounding shows where that is near 0.
                let off = (value - wanted).abs();
                assert!(off < 1e-3, "{model}, {name}: {value} is not {wanted}");
                moved += usize::from(name.contains("lora_B") && wanted.abs() > 5e-3);
            }
        }
        assert!(moved > 40, "{model}: {moved} values of B moved");
    }
}
