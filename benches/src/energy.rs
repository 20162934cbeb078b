//! How much of the loss's gradient lies where a method of the cosine transform trains.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor};
use peft_spectral::{Basis, transform::spectrum};
use peft_train::{
    core::{
        AdapterContext, AttachOptions, Method, NameMap, WeightGradients, adapter_tensors, attach,
        format::TargetSpec, linear_sites, matched_modules, train_weights,
    },
    data::{BatchPlan, Dataset, LoadOptions, Task, TextTokenizer},
    differentiate, loss, methods,
    models::{HeadSpec, ModelFolder, PackedBatch, SequenceModel},
    targets,
};
use serde_json::{Map, Value, json};

use crate::{adapter::named, protocol::Energy};

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

pub fn energy(command: &Energy, device: &Device) -> Result<Value> {
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
    let names = model.names();
    let modules = matched_modules(&model, &spec, &names, model.head_modules())?;

    let plan = BatchPlan::new(&data.lengths(), command.batch, 0, 0)?;
    let batches: Vec<&[usize]> = plan.iter_from(0).collect();
    let wanted = command.probe + command.held_out;
    ensure!(
        batches.len() >= wanted,
        "{} batches are fewer than {wanted}",
        batches.len()
    );
    let gradient = |rows: &[&[usize]]| summed(&model, &names, &modules, &data, rows, &device);
    let probe = WeightGradients {
        sums: gradient(&batches[..command.probe])?,
        ..WeightGradients::new()
    };
    let held_out = gradient(&batches[command.probe..wanted])?;
    let spectra: BTreeMap<String, (Vec<f64>, usize)> = held_out
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
            rows.push(shares(&model, &probe, &spectra, &spec, pair)?);
        }
    }
    // The most that any support of so many entries could hold.
    for &count in &command.counts {
        let best = spectra.values().map(|(values, _)| {
            let mut squares: Vec<f64> = values.iter().map(|v| v * v).collect();
            squares.sort_unstable_by(|a, b| b.total_cmp(a));
            squares[..count].iter().sum::<f64>() / squares.iter().sum::<f64>()
        });
        let best: Vec<f64> = best.collect();
        let mean = best.iter().sum::<f64>() / best.len() as f64;
        rows.push(json!({ "select": "best", "count": count, "mean": mean }));
    }
    Ok(json!({ "ok": true, "modules": spectra.len(), "shares": rows }))
}

/// The gradients of the mean losses of batches to the weights of modules, `[in, out]`, summed.
fn summed(
    model: &SequenceModel,
    names: &NameMap,
    modules: &BTreeSet<String>,
    data: &Dataset,
    batches: &[&[usize]],
    device: &Device,
) -> Result<BTreeMap<String, Tensor<2>>> {
    let model = train_weights(model.clone(), names, modules);
    let context = AdapterContext::inference();
    let mut sums: BTreeMap<String, Tensor<2>> = BTreeMap::new();
    for rows in batches {
        let batch = data.batch(rows)?;
        let packed = PackedBatch::new(
            model.config(),
            &batch.ids,
            &batch.type_ids,
            &batch.row_starts,
            device,
        )?;
        let wanted = targets(&batch.labels, device)?;
        let mean = |outputs| loss(outputs, wanted);
        let found = differentiate(&model, &packed, &context, false, mean).1;
        for site in linear_sites(&model) {
            let Some(gradient) = found.get(&format!("{}.weight", site.path)) else {
                continue;
            };
            let gradient = gradient
                .clone()
                .reshape([site.in_features, site.out_features]);
            let name = names.to_hf(&site.path);
            let sum = match sums.remove(&name) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            sums.insert(name, sum);
        }
    }
    Ok(sums)
}
