//! Plans against what is then made.

use std::path::Path;

use burn::tensor::FloatDType;
use peft_run::{
    BaseDtype, RunConfig,
    core::{
        AttachOptions, attach,
        format::{TargetModules, TargetSpec},
    },
    data::Task,
    methods::by_name,
    models::{HeadKind, HeadSpec, SequenceModel},
    plan,
};
use proptest::prelude::*;
use serde_json::json;

use crate::common::*;

fn config(model: &str) -> RunConfig {
    let nothing = Path::new("");
    let mut config = RunConfig::new(
        &goldens().join("models").join(model),
        nothing,
        Task::Classify,
        "lora",
        nothing,
    );
    config.max_length = 32;
    config
}

#[test]
fn a_plan_counts_what_is_attached() {
    let device = cpu();
    let targets = |text: &str| TargetModules::parse_cli(text).unwrap();
    for model in [
        "bert",
        "bert_base",
        "roberta",
        "distilbert",
        "albert",
        "xlm_roberta",
        "mpnet",
        "deberta_v3",
        "deberta_plain",
        "modernbert",
        "modernbert_mean",
    ] {
        for chosen in [
            TargetModules::Unspecified,
            targets("all-linear"),
            targets(".*(query|q_lin|up|lin1|q|query_proj|Wqkv)"),
        ] {
            let mut config = config(model);
            config.method_config = json!({ "r": 3 }).as_object().unwrap().clone();
            config.target_modules = chosen.clone();
            let planned = plan(&config).unwrap();

            let folder = folder(model, FloatDType::F32);
            let head = HeadSpec {
                outputs: planned.outputs,
                seed: 0,
            };
            let (built, loaded) =
                SequenceModel::load(&folder, &head, &device.clone().autodiff()).unwrap();
            assert_eq!(planned.created, loaded.created, "{model}");
            let mut settings = (by_name("lora").unwrap().defaults)();
            settings.extend(config.method_config.clone());
            let method = (by_name("lora").unwrap().build)(&settings).unwrap();
            let mut spec = TargetSpec::new(match &chosen {
                TargetModules::Unspecified => {
                    let names = planned.modules.iter().map(|m| m.name.rsplit('.').next());
                    TargetModules::List(names.map(|name| name.unwrap().to_owned()).collect())
                }
                given => given.clone(),
            });
            let heads = built.head_modules();
            spec.modules_to_save = heads.iter().map(|head| (*head).to_owned()).collect();
            spec.modules_to_save.extend(loaded.created);
            let names = built.names();
            let options = AttachOptions {
                targets: &spec,
                names: &names,
                modules_to_save: &spec.modules_to_save,
                heads,
                seed: 0,
                gradients: None,
            };
            let (_, report) = attach(built, method.as_ref(), &options).unwrap();
            let counts = (
                planned.targets,
                planned.trainable_parameters,
                planned.head_parameters,
                planned.total_parameters,
            );
            let attached = (
                report.targets.len(),
                report.adapter_parameters,
                report.saved_parameters,
                report.total_parameters,
            );
            assert_eq!(counts, attached, "{model} {chosen:?}");
            let grouped =
                |groups: &[peft_run::ModuleGroup]| groups.iter().map(|g| g.count).sum::<usize>();
            assert_eq!(grouped(&planned.modules), planned.targets);
            let linears = folder
                .layout(HeadKind::Sequence {
                    outputs: planned.outputs,
                })
                .unwrap()
                .linears
                .len();
            assert_eq!(grouped(&planned.left_alone), linears - planned.targets);
        }
    }
}

#[test]
fn half_precision_and_recomputing_save_memory() {
    let whole = plan(&config("bert_base")).unwrap().memory;
    let mut half = config("bert_base");
    half.base_dtype = Some(BaseDtype::Bf16);
    let half = plan(&half).unwrap().memory;
    assert!(half.weights < whole.weights && 2 * half.weights > whole.weights);
    assert_eq!(half.activations, whole.activations);
    let mut twice = config("bert_base");
    twice.recompute = true;
    let twice = plan(&twice).unwrap().memory;
    assert!(twice.activations < whole.activations, "{twice:?} {whole:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// More rows, longer rows or a higher rank never take less, and adapters on more weights neither.
    #[test]
    fn memory_is_monotone(
        batch in 1..200usize, length in 3..32usize, rank in 1..40usize,
        more in (0..50usize, 0..8usize, 0..20usize),
        recompute: bool, half: bool, wide: bool,
    ) {
        let peak = |batch: usize, length: usize, rank: usize, all: bool| {
            let mut config = config("bert_base");
            config.batch_size = batch;
            config.max_length = length;
            config.recompute = recompute;
            config.base_dtype = half.then_some(BaseDtype::Bf16);
            config.method_config = json!({ "r": rank }).as_object().unwrap().clone();
            if all {
                config.target_modules = TargetModules::AllLinear;
            }
            let plan = plan(&config).unwrap();
            (plan.memory.peak, plan.memory.step, plan.adapter_bytes)
        };
        let small = peak(batch, length, rank, wide);
        for larger in [
            peak(batch + more.0, length, rank, wide),
            peak(batch, length + more.1, rank, wide),
            peak(batch, length, rank + more.2, wide),
            peak(batch, length, rank, true),
        ] {
            prop_assert!(larger.0 >= small.0 && larger.1 >= small.1 && larger.2 >= small.2);
        }
    }
}
