//! The same files on a user's own Burn model.

use burn::{
    module::Module,
    nn,
    tensor::{Device, Distribution, Tensor, activation::relu},
};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_train::{
    AdamWConfig, Schedule, ScheduleKind, Trainer, TrainerConfig,
    core::{
        AttachOptions, NameMap, attach,
        format::{AdapterConfig, TargetSpec, Targets},
        load_adapter, read_adapter, save_adapter,
    },
};

use crate::common::{assert_close, cpu, values};

/// A model that knows nothing of adapters.
#[derive(Module, Debug)]
struct Own {
    first: nn::Linear,
    norm: nn::LayerNorm,
    last: nn::Linear,
}

impl Own {
    fn new(device: &Device) -> Self {
        Self {
            first: nn::LinearConfig::new(7, 13).init(device),
            norm: nn::LayerNormConfig::new(13).init(device),
            last: nn::LinearConfig::new(13, 5).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.last
            .forward(relu(self.norm.forward(self.first.forward(x))))
    }
}

fn names() -> NameMap {
    NameMap::new([
        ("first", "encoder.dense"),
        ("norm", "encoder.norm"),
        ("last", "head"),
    ])
}

#[test]
fn attach_train_save_and_load_on_a_model_of_ones_own() {
    let device = cpu().autodiff();
    let base = Own::new(&device);
    let method = LoraMethod::new(LoraConfig::new(3, 6.0)).unwrap();
    let targets = TargetSpec::new(Targets::List(vec!["dense".into()]));
    let saved = ["head".to_owned(), "norm".to_owned()];
    let names = names();
    let options = AttachOptions {
        targets: &targets,
        names: &names,
        modules_to_save: &saved,
        heads: &["head"],
        seed: 3,
        gradients: None,
    };
    let (mut model, report) = attach(base.clone(), &method, &options).unwrap();
    assert_eq!(report.adapter_parameters, 3 * (7 + 13));
    assert_eq!(report.saved_parameters, 13 * 5 + 5 + 2 * 13);

    let x = Tensor::<2>::random([32, 7], Distribution::Default, &device);
    let y = Tensor::<2>::random([32, 5], Distribution::Default, &device);
    let config = TrainerConfig {
        learning_rate: 1e-2,
        head_learning_rate: 1e-2,
        clip_norm: Some(1.0),
        optimizer: AdamWConfig::default(),
        seed: 0,
    };
    let mut trainer = Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, 40));
    let mut losses = Vec::new();
    for _ in 0..40 {
        let (next, step) = trainer
            .step(model, &method, 1, |model, _, _| {
                Ok((
                    (model.forward(x.clone()) - y.clone()).powi_scalar(2).mean(),
                    1.0,
                ))
            })
            .unwrap();
        model = next;
        losses.push(step.loss);
    }
    assert!(losses[39] < 0.8 * losses[0], "{losses:?}");
    assert_eq!(
        trainer.optimizer().state_len(),
        2 * report.trainable_parameters()
    );
    // What is frozen has not moved.
    let frozen = |model: &Own| values(model.first.weight.base());
    assert_eq!(frozen(&model), frozen(&base));

    let mut builder = AdapterConfig::builder("LORA").target(&TargetSpec {
        modules_to_save: saved.to_vec(),
        ..targets
    });
    for (key, value) in peft_train::core::Method::config(&method) {
        builder = builder.field(&key, value);
    }
    let adapter_config = builder.build().unwrap();
    let out = tempfile::tempdir().unwrap();
    save_adapter(&model, out.path(), &adapter_config, &method, &names).unwrap();

    let config = AdapterConfig::read(out.path()).unwrap();
    let loaded = read_adapter(out.path(), config, &method).unwrap();
    assert!(
        loaded.saved.contains_key("encoder.norm.weight"),
        "{:?}",
        loaded.saved.keys()
    );
    let (again, _) = load_adapter(base, &loaded, &method, &names, &device).unwrap();
    assert_close(
        "reloaded",
        &values(again.forward(x.clone())),
        &values(model.forward(x.clone())),
        0.0,
    );
    let merged = again.valid().materialize();
    assert_close(
        "merged",
        &values(merged.forward(x.clone().inner())),
        &values(model.forward(x)),
        1e-5,
    );
}

#[test]
fn adapting_twice_is_refused() {
    let device = cpu().autodiff();
    let method = LoraMethod::new(LoraConfig::new(3, 6.0)).unwrap();
    let targets = TargetSpec::new(Targets::AllLinear);
    let names = NameMap::identity();
    let options = AttachOptions {
        targets: &targets,
        names: &names,
        modules_to_save: &[],
        heads: &[],
        seed: 3,
        gradients: None,
    };
    let (model, _) = attach(Own::new(&device), &method, &options).unwrap();
    let error = attach(model, &method, &options).unwrap_err().to_string();
    assert!(error.contains("carries an adapter already"), "{error}");
}

#[test]
fn a_target_without_a_match_lists_near_misses() {
    let device = cpu().autodiff();
    let method = LoraMethod::new(LoraConfig::new(3, 6.0)).unwrap();
    let names = names();
    for targets in [
        vec!["dens".to_owned()],
        vec!["dense".to_owned(), "heads".to_owned()],
    ] {
        let targets = TargetSpec::new(Targets::List(targets));
        let options = AttachOptions {
            targets: &targets,
            names: &names,
            modules_to_save: &[],
            heads: &[],
            seed: 3,
            gradients: None,
        };
        let error = attach(Own::new(&device), &method, &options)
            .unwrap_err()
            .to_string();
        assert!(error.contains("did you mean"), "{error}");
    }
}
