//! Two adapters on one model, trained on rows of two data sets at once. The guide quotes this file.

use burn::{module::Module, tensor::FloatDType};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_run::{
    ScheduleKind,
    core::{
        AdapterChoice, AdapterContext, AdapterRoster, AttachOptions, Method, NamedMethods,
        attach_as,
        format::{AdapterConfig, TargetModules, TargetSpec},
        load_adapter_as, read_adapter, save_adapter_as, set_active,
    },
    methods,
};
use peft_train::{
    AdamWConfig, Classification, Objective, Output, Schedule, Trainer, TrainerConfig, Truth,
};

use crate::common::{assert_close, cpu, json, model, pack, rows, values};

#[test]
fn two_adapters_learn_from_one_stream_of_batches() {
    let device = cpu().autodiff();
    let base = model("bert", FloatDType::F32, &device);
    let specification = TargetSpec {
        modules_to_save: vec!["classifier".into()],
        ..TargetSpec::new(TargetModules::List(vec!["query".into(), "value".into()]))
    };
    // ANCHOR: names
    let low = LoraMethod::new(LoraConfig::new(4, 8.0)).unwrap();
    let spectral = methods::by_name("fourierft").unwrap();
    let spectral = (spectral.build)(&(spectral.defaults)()).unwrap();
    let names = base.names();
    let options = AttachOptions {
        targets: &specification,
        names: &names,
        modules_to_save: &specification.modules_to_save,
        heads: base.head_modules(),
        seed: 3,
        gradients: None,
    };
    let (model, _) = attach_as(base.clone(), "news", &low, &options).unwrap();
    let (mut model, _) = attach_as(model, "films", spectral.as_ref(), &options).unwrap();
    let roster = AdapterRoster::of(&model);
    // ANCHOR_END: names
    assert_eq!(roster.names(), ["films", "news"]);
    let start = model.clone();

    let sequences = rows(&json("cases.json"), "bert");
    let sources = ["news", "films", "films", "news", "news"];
    let labels = [0, 2, 1, 1, 2];
    // ANCHOR: train
    let methods = NamedMethods::new()
        .with("news", &low, 1.0)
        // Ten times the trainer's rate for adapters.
        .with("films", spectral.as_ref(), 10.0);
    let config = TrainerConfig {
        learning_rate: 2e-3,
        head_learning_rate: 2e-3,
        clip_norm: Some(1.0),
        optimizer: AdamWConfig::default(),
        seed: 0,
    };
    let mut trainer = Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, 20));
    let choices = sources.map(AdapterChoice::one);
    let objective = Classification::new(3);
    let mut losses = Vec::new();
    for _ in 0..20 {
        let (next, step) = trainer
            .step(model, &methods, 1, |model, _, context| {
                let batch = pack(model.config(), &sequences, &device);
                let batch = batch.with_adapters(&roster, &choices)?;
                let output = Output::Scores(model.forward(&batch, context));
                let targets = objective.targets(&Truth::Classes(&labels), &device)?;
                Ok((objective.loss(output, targets), 1.0))
            })
            .unwrap();
        model = next;
        losses.push(step.loss);
    }
    // ANCHOR_END: train
    assert!(losses[19] < 0.7 * losses[0], "{losses:?}");
    let predicted = |model: &peft_run::models::SequenceModel, name: &str| {
        let active = set_active(model.clone(), &AdapterChoice::one(name)).unwrap();
        let batch = pack(active.config(), &sequences, &device);
        values(active.forward(&batch, &AdapterContext::inference()))
    };
    for name in ["news", "films"] {
        assert_ne!(predicted(&model, name), predicted(&start, name));
    }
    assert_ne!(predicted(&model, "news"), predicted(&model, "films"));

    let out = tempfile::tempdir().unwrap();
    let mut builder = AdapterConfig::builder(low.peft_type()).target(&specification);
    for (key, value) in low.config() {
        builder = builder.field(&key, value);
    }
    let adapter_config = builder.build().unwrap();
    // ANCHOR: files
    save_adapter_as(&model, "news", out.path(), &adapter_config, &low, &names).unwrap();

    let config = AdapterConfig::read(out.path()).unwrap();
    let loaded = read_adapter(out.path(), config, &low).unwrap();
    let (again, _) = load_adapter_as(base, "again", &loaded, &low, &names, &device).unwrap();
    let merged = set_active(model.valid(), &AdapterChoice::one("news"))
        .unwrap()
        .materialize();
    // ANCHOR_END: files
    let wanted = predicted(&model, "news");
    assert_close("loaded", &predicted(&again, "again"), &wanted, 0.0);
    let device = device.inner();
    let batch = pack(merged.config(), &sequences, &device);
    let merged = values(merged.forward(&batch, &AdapterContext::inference()));
    assert_close("merged", &merged, &wanted, 1e-5);
}
