//! How much of the loss's gradient lies where a method of the cosine transform trains.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor};
use peft_run::{
    core::{
        AttachOptions, Method, SiteKind, WeightGradients, adapter_tensors, attach,
        format::TargetSpec, matched_modules,
    },
    data::{BatchPlan, Dataset, LoadOptions, Task, TextTokenizer},
    labelled_batch, methods,
    models::{HeadSpec, ModelFolder, SequenceModel},
    weight_gradients,
};
use peft_spectral::{Basis, transform::spectrum};
use serde_json::{Map, Value, json};

use crate::{adapter::named, protocol::Energy, training::objective};

/// Shares of one rule and number of coefficients, over the modules.
fn shares(
    model: &SequenceModel,
    gradients: &WeightGradients,
    spectra: &BTreeMap<String, (Vec<f64>, usize)>,
    spec: &TargetSpec,
    [rule, count]: [Value; 2],
) -> Result<Value> {
    let mut settings = Map::new();
    settings.insert("select".into(), rule.clone());
    settings.insert("n_frequency".into(), count.clone());
    if rule == "product" {
        // About half of the crossings.
        let side = (2.0 * count.as_f64().unwrap_or_default()).sqrt().ceil() as u64;
        settings.insert("max_rows".into(), side.into());
        settings.insert("max_cols".into(), side.into());
    }
    let method: Box<dyn Method> = (methods::by_name("sdctft")?.build)(&settings)?;
    let names = model.names();
    let options = AttachOptions {
        targets: spec,
        names: &names,
        modules_to_save: &[],
        heads: model.head_modules(),
        seed: 0,
        gradients: Some(gradients),
    };
    let (adapted, _) = attach(model.clone(), method.as_ref(), &options)?;
    let tensors = adapter_tensors(&adapted, method.as_ref(), &names, &[])?;
    let places = method.suffixes()[1];
    let mut found = Vec::new();
    for (name, tensor) in &tensors {
        let Some(module) = name.strip_suffix(&format!(".{places}")) else {
            continue;
        };
        let module = spectra
            .keys()
            .find(|known| module.ends_with(known.as_str()));
        let module = module.with_context(|| format!("no gradient of {name}"))?;
        let (values, columns) = &spectra[module];
        let list: Vec<usize> = tensor
            .bytes
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
            .collect();
        let (rows, cols) = list.split_at(list.len() / 2);
        let inside: f64 = rows
            .iter()
            .zip(cols)
            .map(|(u, v)| values[u * columns + v].powi(2))
            .sum();
        found.push(inside / values.iter().map(|v| v * v).sum::<f64>());
    }
    ensure!(!found.is_empty(), "no module was adapted");
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    let least = found.iter().copied().fold(f64::INFINITY, f64::min);
    let most = found.iter().copied().fold(0.0, f64::max);
    Ok(json!({ "select": rule, "count": count, "mean": mean, "least": least, "most": most }))
}

/// A model, rows for it, and the linear layers that are looked at.
pub struct Loaded {
    model: SequenceModel,
    data: Dataset,
    spec: TargetSpec,
    modules: BTreeSet<String>,
    plan: BatchPlan,
    device: Device,
}

impl Loaded {
    /// What a command names, with enough rows for it.
    pub fn open(command: &Energy, device: &Device) -> Result<Self> {
        let device = device.clone().autodiff();
        let folder = ModelFolder::open(&command.model)?;
        let tokenizer = TextTokenizer::from_dir(&command.model)?;
        let options = LoadOptions::new(Task::Classify, command.max_length);
        let (data, _) = Dataset::load(&command.data, &options, &tokenizer)?;
        let head = HeadSpec {
            outputs: data.label_map().map_or(1, |labels| labels.len()),
            seed: 0,
        };
        let (model, _) = SequenceModel::load(&folder, &head, &device)?;
        let spec = TargetSpec::new(named(&command.targets));
        let modules = matched_modules(
            &model,
            &spec,
            SiteKind::LINEAR,
            &model.names(),
            model.head_modules(),
        )?;
        let plan = BatchPlan::new(&data.lengths(), command.batch, 0, 0)?;
        let (found, wanted) = (plan.iter_from(0).count(), command.probe + command.held_out);
        ensure!(found >= wanted, "{found} batches are fewer than {wanted}");
        Ok(Self {
            model,
            data,
            spec,
            modules,
            plan,
            device,
        })
    }

    /// The gradients of `count` batches from `first` on, one after the other.
    pub fn gradients(
        &self,
        first: usize,
        count: usize,
        take: impl FnMut(Vec<(String, Tensor<2>)>),
    ) -> Result<()> {
        let batches = self.plan.iter_from(first).take(count);
        let objective = objective();
        let batches = batches
            .map(|rows| labelled_batch(&self.model, &self.data, rows, &objective, &self.device));
        let names = self.model.names();
        Ok(weight_gradients(
            &self.model,
            &names,
            &self.modules,
            &objective,
            false,
            batches,
            take,
        )?)
    }
}

pub fn energy(command: &Energy, device: &Device) -> Result<Value> {
    let loaded = Loaded::open(command, device)?;
    let entry = methods::by_name("sdctft")?;
    let plain = (entry.build)(&(entry.defaults)())?;
    let summed = |first, count| -> Result<WeightGradients> {
        let mut all = WeightGradients::new();
        loaded.gradients(first, count, |one| all.add(one, plain.as_ref()))?;
        Ok(all)
    };
    let probe = summed(0, command.probe)?;
    let held_out = summed(command.probe, command.held_out)?;
    let spectra: BTreeMap<String, (Vec<f64>, usize)> = (held_out.sums)
        .into_iter()
        .map(|(module, gradient)| {
            let [inner, out] = gradient.dims();
            let values: Vec<f64> = gradient.transpose().into_data().iter::<f64>().collect();
            (module, (spectrum(Basis::Dct, &values, out, inner), inner))
        })
        .collect();

    let mut rows = Vec::new();
    for rule in ["hier", "energy", "random", "lowblock", "product", "grad"] {
        for &count in &command.counts {
            let pair = [rule.into(), count.into()];
            let Loaded { model, spec, .. } = &loaded;
            rows.push(shares(model, &probe, &spectra, spec, pair)?);
        }
    }
    // The most that any support of so many entries could hold.
    for &count in &command.counts {
        let best = spectra
            .values()
            .map(|(values, _)| strongest(values, &[count])[0]);
        let best: Vec<f64> = best.collect();
        let mean = best.iter().sum::<f64>() / best.len() as f64;
        rows.push(json!({ "select": "best", "count": count, "mean": mean }));
    }
    Ok(json!({ "ok": true, "modules": spectra.len(), "shares": rows }))
}

/// The shares of the energy that the strongest values hold, so many of them.
pub fn strongest(values: &[f64], counts: &[usize]) -> Vec<f64> {
    let mut squares: Vec<f64> = values.iter().map(|v| v * v).collect();
    squares.sort_unstable_by(|a, b| b.total_cmp(a));
    let all: f64 = squares.iter().sum();
    let share = |&count: &usize| squares[..count].iter().sum::<f64>() / all;
    counts.iter().map(share).collect()
}
