//! The same files on a user's own Burn model.

use burn::{
    module::Module,
    nn,
    tensor::{Device, Distribution, Tensor, activation::relu},
};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_train::{
    AdamW, AdamWConfig, ParameterStep, Schedule, ScheduleKind, TrainError, Trainer, TrainerConfig,
    TrainerState,
    core::{
        AdapterConfigExt, AdapterContext, AttachOptions, NameMap, attach,
        format::{AdapterConfig, TargetModules, TargetSpec},
        load_adapter, read_adapter, save_adapter,
    },
    gradients,
};

use crate::common::{assert_close, cpu, values};

// ANCHOR: model
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
// ANCHOR_END: model

#[test]
fn attach_train_save_and_load_on_a_model_of_ones_own() {
    let device = cpu().autodiff();
    let base = Own::new(&device);
    // ANCHOR: attach
    let method = LoraMethod::new(LoraConfig::new(3, 6.0)).unwrap();
    let targets = TargetSpec::new(TargetModules::List(vec!["dense".into()]));
    let saved = ["head".to_owned(), "norm".to_owned()];
    let names = names();
    let options = AttachOptions {
        targets: &targets,
        names: &names,
        modules_to_save: &saved,
        seed: 3,
        ..AttachOptions::default()
    };
    let (mut model, report) = attach(base.clone(), &method, &options).unwrap();
    // ANCHOR_END: attach
    assert_eq!(report.adapter_parameters, 3 * (7 + 13));
    assert_eq!(report.saved_parameters, 13 * 5 + 5 + 2 * 13);

    let x = Tensor::<2>::random([32, 7], Distribution::Default, &device);
    let y = Tensor::<2>::random([32, 5], Distribution::Default, &device);
    // ANCHOR: train
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
    // ANCHOR_END: train
    assert!(losses[39] < 0.8 * losses[0], "{losses:?}");
    assert_eq!(
        trainer.optimizer().state_len(),
        2 * report.trainable_parameters()
    );
    // What is frozen has not moved.
    let frozen = |model: &Own| values(model.first.weight.base());
    assert_eq!(frozen(&model), frozen(&base));

    // ANCHOR: files
    let targets = TargetSpec {
        modules_to_save: saved.to_vec(),
        ..targets
    };
    let adapter_config = AdapterConfig::of(&method, &targets).unwrap();
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
    // ANCHOR_END: files
    assert_close(
        "merged",
        &values(merged.forward(x.clone().inner())),
        &values(model.forward(x)),
        1e-5,
    );
}

#[test]
fn a_loop_of_ones_own_takes_the_steps_of_the_trainer() {
    let device = cpu().autodiff();
    let method = LoraMethod::new(LoraConfig::new(3, 6.0)).unwrap();
    let (model, _) = attach(Own::new(&device), &method, &AttachOptions::default()).unwrap();
    let x = Tensor::<2>::random([32, 7], Distribution::Default, &device);
    let y = Tensor::<2>::random([32, 5], Distribution::Default, &device);
    let config = TrainerConfig {
        learning_rate: 1e-2,
        head_learning_rate: 1e-2,
        clip_norm: None,
        optimizer: AdamWConfig::default(),
        seed: 0,
    };
    let mut trainer = Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, 5));
    let mut theirs = model.clone();
    for _ in 0..5 {
        let loss = |model: &Own, _: usize, _: &AdapterContext| {
            Ok((
                (model.forward(x.clone()) - y.clone()).powi_scalar(2).mean(),
                1.0,
            ))
        };
        theirs = trainer.step(theirs, &method, 1, loss).unwrap().0;
    }
    let mut model = model;
    // ANCHOR: own-loop
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let how = ParameterStep {
        rate: 1e-2,
        decays: true,
    };
    for _ in 0..5 {
        let loss = (model.forward(x.clone()) - y.clone()).powi_scalar(2).mean();
        let gradients = gradients(&model, &mut loss.backward());
        model = optimizer.step(model, &gradients, 1.0, &|_| Some(how));
    }
    // ANCHOR_END: own-loop
    let output = |model: &Own| values(model.forward(x.clone()));
    assert_eq!(output(&model), output(&theirs));
}

#[test]
fn a_device_without_autodiff_is_an_error() {
    let device = cpu();
    let method = LoraMethod::new(LoraConfig::new(3, 6.0)).unwrap();
    let (model, _) = attach(Own::new(&device), &method, &AttachOptions::default()).unwrap();
    let x = Tensor::<2>::random([4, 7], Distribution::Default, &device);
    let config = TrainerConfig {
        learning_rate: 1e-2,
        head_learning_rate: 1e-2,
        clip_norm: None,
        optimizer: AdamWConfig::default(),
        seed: 0,
    };
    let mut trainer = Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, 5));
    let loss =
        |model: &Own, _: usize, _: &AdapterContext| Ok((model.forward(x.clone()).mean(), 1.0));
    let error = trainer.step(model, &method, 1, loss).unwrap_err();
    assert!(error.to_string().contains("device.autodiff()"), "{error}");
}

#[test]
fn a_trainer_goes_on_from_its_state_to_the_same_bits() {
    let device = cpu().autodiff();
    let base = Own::new(&device);
    let method = LoraMethod::new(LoraConfig::new(3, 6.0)).unwrap();
    let names = names();
    let attached = |rank: usize, seed: u64| {
        let method = LoraMethod::new(LoraConfig::new(rank, 6.0)).unwrap();
        let options = AttachOptions {
            targets: &TargetSpec::new(TargetModules::List(vec!["dense".into()])),
            names: &names,
            modules_to_save: &["head".to_owned(), "norm".to_owned()],
            heads: &["head"],
            seed,
            gradients: None,
        };
        attach(base.clone(), &method, &options).unwrap().0
    };
    let trainer = || {
        let config = TrainerConfig {
            learning_rate: 1e-2,
            head_learning_rate: 1e-2,
            clip_norm: Some(1.0),
            optimizer: AdamWConfig {
                weight_decay: 0.1,
                ..AdamWConfig::default()
            },
            seed: 5,
        };
        Trainer::new(config, Schedule::new(ScheduleKind::Cosine, 0.2, 9))
    };
    let x = Tensor::<2>::random([32, 7], Distribution::Default, &device);
    let y = Tensor::<2>::random([32, 5], Distribution::Default, &device);
    let steps = |trainer: &mut Trainer, mut model: Own, count: usize| {
        for _ in 0..count {
            let (next, _) = trainer
                .step(model, &method, 1, |model, _, _| {
                    let difference = model.forward(x.clone()) - y.clone();
                    Ok((difference.powi_scalar(2).mean(), 1.0))
                })
                .unwrap();
            model = next;
        }
        model
    };
    let mut whole = trainer();
    let model = steps(&mut whole, attached(3, 1), 9);
    let expected = whole.state(&model).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.safetensors");
    let mut first = trainer();
    let model = steps(&mut first, attached(3, 1), 4);
    first.state(&model).unwrap().write(&path).unwrap();
    let state = TrainerState::read(&path).unwrap();
    assert_eq!(state.step, 4);
    let mut second = trainer();
    // Where the adapters started does not matter, only that they are the same ones.
    let model = second.restore(attached(3, 2), &state).unwrap();
    let model = steps(&mut second, model, 5);
    assert_eq!(second.state(&model).unwrap(), expected);

    let refused = |rank: usize, change: &dyn Fn(&mut TrainerState)| {
        let mut state = state.clone();
        change(&mut state);
        let error = trainer().restore(attached(rank, 1), &state).unwrap_err();
        assert!(matches!(error, TrainError::State { .. }), "{error}");
    };
    refused(4, &|_| {});
    refused(3, &|state| drop(state.parameters.pop_first()));
    refused(3, &|state| drop(state.optimizer.squares.pop_first()));
    refused(3, &|state| {
        let stray = state.parameters.first_key_value().unwrap().1.clone();
        state.parameters.insert("nowhere".into(), stray);
    });
    std::fs::write(&path, "no state").unwrap();
    assert!(TrainerState::read(&path).is_err());
}

#[test]
fn adapting_twice_is_refused() {
    let device = cpu().autodiff();
    let method = LoraMethod::new(LoraConfig::new(3, 6.0)).unwrap();
    let targets = TargetSpec::new(TargetModules::AllLinear);
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
        let targets = TargetSpec::new(TargetModules::List(targets));
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
