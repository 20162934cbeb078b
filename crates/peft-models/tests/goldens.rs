//! Logits, loss and gradients of small checkpoints against transformers, with and without recomputation.

mod common;

use std::{collections::BTreeMap, path::PathBuf};

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, FloatDType, Gradients, Int},
};
use peft_core::{
    AdapterContext, ParamPath,
    format::{Checkpoint, Dtype, SafetensorsWriter, TensorSpec},
};
use peft_models::{
    Disentangled, HeadKind, Model, ModelFolder, Network, Output, PartKind, RelativePositions,
};
use serde_json::Value;

use common::batch;

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens")
}

/// Adds up the gradients of all passes, by path.
struct Collect<'a> {
    path: ParamPath,
    passes: &'a mut [Gradients],
    sums: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        for pass in self.passes.iter() {
            let Some(gradient) = param.val().grad(pass) else {
                continue;
            };
            let gradient: Vec<f64> = gradient.into_data().iter::<f64>().collect();
            let sum = self.sums.entry(self.path.text());
            let sum = sum.or_insert_with(|| vec![0.0; gradient.len()]);
            sum.iter_mut()
                .zip(gradient)
                .for_each(|(sum, new)| *sum += new);
        }
    }
}

/// Gradients by the checkpoint's names, in its layout.
fn gradients(model: &Model, passes: &mut [Gradients]) -> BTreeMap<String, Vec<f64>> {
    let mut collect = Collect {
        path: ParamPath::default(),
        passes,
        sums: BTreeMap::new(),
    };
    model.visit(&mut collect);
    let names = model.description().names();
    let widths: BTreeMap<String, [usize; 2]> = model
        .description()
        .parts()
        .filter(|(_, part)| part.kind == PartKind::Linear)
        .filter_map(|(_, part)| Some((format!("{}.weight", part.name), part.widths()?)))
        .collect();
    let sums = collect.sums.into_iter();
    sums.map(|(path, values)| {
        let name = names.to_hf(&path);
        let values = match widths.get(&name) {
            Some([inputs, outputs]) => (0..inputs * outputs)
                .map(|i| values[(i % inputs) * outputs + i / inputs])
                .collect(),
            None => values,
        };
        (name, values)
    })
    .collect()
}

fn check(name: &str, kind: &str, sequences: &[Vec<u32>], trained: &[bool], expected: f64) {
    let device = Device::flex().autodiff();
    let mut folder = ModelFolder::open(&goldens().join(name)).unwrap();
    folder.set_dtype(FloatDType::F64);
    let (model, _) = Model::load(&folder, HeadKind::Language, 0, &device).unwrap();
    let reference = goldens().join(kind).join(format!("{name}.safetensors"));
    let reference = Checkpoint::open(&reference).unwrap();
    let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    let batch = batch(&model, &sequences, &device);
    let ids = sequences.concat();
    let targets: Vec<usize> = (0..ids.len()).filter(|i| trained[*i]).collect();
    let rows: Vec<i64> = targets.iter().map(|i| *i as i64 - 1).collect();
    let rows = Tensor::<1, Int>::from_ints(rows.as_slice(), &device);
    let next: Vec<i64> = targets.iter().map(|i| i64::from(ids[*i])).collect();
    let next = Tensor::<1, Int>::from_ints(next.as_slice(), &device);
    let context = AdapterContext::inference();

    let Output::Tokens { hidden, head } = model.run(&batch, &context) else {
        panic!("no logits");
    };
    let logits = head.logits(hidden.clone()).into_data();
    let stored = reference.to_f32("logits_f64").unwrap();
    assert_eq!(stored.len(), logits.num_elements());
    for (found, expected) in logits.iter::<f64>().zip(stored) {
        assert!(
            (found - f64::from(expected)).abs() < 1e-6,
            "{name}: {found} for {expected}"
        );
    }

    let loss = |output: Output| {
        let Output::Tokens { hidden, head } = output else {
            panic!("no logits");
        };
        head.cross_entropy(hidden.select(0, rows.clone()), next.clone())
    };
    let plain = loss(Output::Tokens { hidden, head });
    let mut passes = [plain.backward()];
    let plain_gradients = gradients(&model, &mut passes);
    let (recomputed, mut passes) = model.backward_recomputing(&batch, &context, loss);
    let recomputed_gradients = gradients(&model, &mut passes);
    for (loss, found) in [(plain, plain_gradients), (recomputed, recomputed_gradients)] {
        let loss = loss.into_scalar::<f64>();
        assert!(
            (loss - expected).abs() < 1e-6,
            "{name}: {loss} for {expected}"
        );
        let stored = reference
            .names()
            .filter_map(|name| name.strip_prefix("gradient_f64."));
        let mut count = 0;
        for parameter in stored {
            let expected = reference
                .to_f32(&format!("gradient_f64.{parameter}"))
                .unwrap();
            let found = found.get(parameter);
            let found = found.unwrap_or_else(|| panic!("{name}: no gradient of {parameter}"));
            assert_eq!(found.len(), expected.len(), "{parameter}");
            let most = expected.iter().fold(0.0_f32, |most, g| most.max(g.abs()));
            for (found, expected) in found.iter().zip(expected) {
                let tolerance = 1e-5 * f64::from(most) + 1e-9;
                let difference = (found - f64::from(expected)).abs();
                assert!(
                    difference < tolerance,
                    "{name}: {parameter}: {found} for {expected}"
                );
            }
            count += 1;
        }
        assert_eq!(count, found.len(), "{name}: a gradient for every parameter");
    }
    assert_eq!(model.first_not_finite(&batch, &context), None);
}

fn cases(kind: &str) -> Value {
    let path = goldens().join(kind).join("cases.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn llama_trains_as_in_transformers() {
    let cases = cases("causal");
    let rows = cases["sequences"].as_array().unwrap();
    let list = |key: &'static str| rows.iter().map(move |row| row[key].clone());
    let ids: Vec<Vec<u32>> = list("ids")
        .map(|v| serde_json::from_value(v).unwrap())
        .collect();
    let trained: Vec<Vec<bool>> = list("trained")
        .map(|v| serde_json::from_value(v).unwrap())
        .collect();
    for name in ["llama_tiny", "llama_tiny_tied"] {
        let loss = cases["models"][name]["loss_f64"].as_f64().unwrap();
        check(name, "causal", &ids, &trained.concat(), loss);
    }
}

#[test]
fn mamba_trains_as_in_transformers() {
    let cases = cases("ssm");
    let ids: Vec<Vec<u32>> = serde_json::from_value(cases["sequences"].clone()).unwrap();
    let trained: Vec<bool> = ids
        .iter()
        .flat_map(|ids| (0..ids.len()).map(|i| i > 0))
        .collect();
    let loss = cases["mamba_tiny"]["loss_f64"].as_f64().unwrap();
    check("mamba_tiny", "ssm", &ids, &trained, loss);
}

/// One sequence is longer than the chunks of either implementation of Mamba-2.
#[test]
fn mamba2_falcon_mamba_and_jamba_train_as_in_transformers() {
    let path = goldens().join("ssm/families.json");
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let ids: Vec<Vec<u32>> = serde_json::from_value(cases["sequences"].clone()).unwrap();
    let trained: Vec<bool> = ids
        .iter()
        .flat_map(|ids| (0..ids.len()).map(|i| i > 0))
        .collect();
    for name in [
        "mamba2_tiny",
        "mamba2_plain",
        "falcon_mamba_tiny",
        "jamba_tiny",
    ] {
        let loss = cases[name]["loss_f64"].as_f64().unwrap();
        check(name, "ssm", &ids, &trained, loss);
    }
}

#[test]
fn jamba_scores_sequences_as_in_transformers() {
    let cases: Value =
        serde_json::from_slice(&std::fs::read(goldens().join("ssm/families.json")).unwrap())
            .unwrap();
    let ids: Vec<Vec<u32>> = serde_json::from_value(cases["sequences"].clone()).unwrap();
    let reference = Checkpoint::open(&goldens().join("ssm/jamba_tiny.safetensors")).unwrap();
    let base = Checkpoint::open(&goldens().join("jamba_tiny")).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let config = goldens().join("jamba_tiny/config.json");
    std::fs::copy(config, temp.path().join("config.json")).unwrap();
    let of = |name: &str| match name {
        "score.weight" => &reference,
        _ => &base,
    };
    let names = base.names().filter(|name| *name != "lm_head.weight");
    let names: Vec<String> = names.chain(["score.weight"]).map(str::to_owned).collect();
    let spec =
        |name: &String| TensorSpec::new(name, Dtype::F32, of(name).info(name).unwrap().shape);
    let file = temp.path().join("model.safetensors");
    let specs = names.iter().map(spec).collect();
    let mut writer = SafetensorsWriter::create(&file, specs, &Default::default()).unwrap();
    let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
    for name in order {
        let values = of(&name).to_f32(&name).unwrap();
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        writer.write(&name, &bytes).unwrap();
    }
    writer.finish().unwrap();

    let device = Device::flex();
    let mut folder = ModelFolder::open(temp.path()).unwrap();
    folder.set_dtype(FloatDType::F64);
    let head = HeadKind::Sequence { outputs: 3 };
    let (model, report) = Model::load(&folder, head, 0, &device).unwrap();
    assert!(
        report.created.is_empty() && report.unused.is_empty(),
        "{report:?}"
    );
    let sequences: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let batch = batch(&model, &sequences, &device);
    let scores = model.run(&batch, &AdapterContext::inference());
    let scores = scores.scores().unwrap().into_data();
    let expected = reference.to_f32("scores_f64").unwrap();
    assert_eq!(scores.num_elements(), expected.len());
    for (found, expected) in scores.iter::<f64>().zip(expected) {
        assert!(
            (found - f64::from(expected)).abs() < 1e-6,
            "{found} for {expected}"
        );
    }
}

/// Rows of the tables of distances, whose logarithms are taken in single precision.
#[test]
fn distances_fall_into_the_buckets_of_transformers() {
    let path = goldens().join("distances.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let first = golden["first"].as_i64().unwrap();
    let deberta = RelativePositions::Disentangled(Disentangled {
        span: 256,
        buckets: Some(256),
        max_distance: 512,
        content_to_position: true,
        position_to_content: true,
        normed: true,
    });
    for (name, kind) in [("mpnet", RelativePositions::Bias), ("deberta_v3", deberta)] {
        let rows: Vec<usize> = serde_json::from_value(golden[name].clone()).unwrap();
        for (distance, row) in (first..).zip(rows) {
            assert_eq!(kind.bucket(distance), row, "{name}: distance {distance}");
        }
        let most = kind.entries();
        assert!(kind.bucket(i64::MAX) < most && kind.bucket(i64::MIN) < most);
    }
}
