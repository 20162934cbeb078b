//! Predictions and how good they are.

use burn::tensor::Device;
use peft_core::{AdapterChoice, AdapterContext, AdapterRoster};
use peft_data::{BatchPlan, DataError, Dataset};
use peft_models::{Network, PackedBatch};
use peft_train::{Evaluation, Objective, Prediction, Tally};

use crate::{
    RunError, batch::pack, features::FeaturesOf, objective::truth, report::worst::Evaluated,
};

/// Rows whose truth is held in memory at a time beside their predictions.
const COMPARED: usize = 4096;

/// Predict every row, in the data set's order.
///
/// # Errors
/// If a row does not fit the model; [`RunError::NotFinite`] if the output for a row is no number.
pub fn predict(
    model: &impl Network,
    data: &Dataset,
    objective: &dyn Objective,
    batch_size: usize,
    device: &Device,
) -> Result<Vec<Prediction>, RunError> {
    predict_each(
        model,
        data,
        objective,
        batch_size,
        device,
        Passes::default(),
        &mut |_| (),
    )
}

/// As [`predict`] or, with a roster, as [`predict_by_rows`]; `done` is told after every batch how many rows are
/// predicted.
///
/// # Errors
/// As these.
pub fn predict_watched(
    model: &impl Network,
    roster: Option<&AdapterRoster>,
    data: &Dataset,
    objective: &dyn Objective,
    batch_size: usize,
    device: &Device,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Prediction>, RunError> {
    let chosen = roster.map(|roster| Chosen::of(roster, data)).transpose()?;
    predict_each(
        model,
        data,
        objective,
        batch_size,
        device,
        Passes {
            chosen: chosen.as_ref(),
            features: None,
        },
        done,
    )
}

/// Predict every row by the adapters that it [chooses](Dataset::choices) among the
/// [choices](AdapterRoster::choices) of the model's roster, in the data set's order: rows of all adapters
/// share the batches.
///
/// # Errors
/// If rows do not choose, choose what the model cannot do, or do not fit the model.
pub fn predict_by_rows(
    model: &impl Network,
    roster: &AdapterRoster,
    data: &Dataset,
    objective: &dyn Objective,
    batch_size: usize,
    device: &Device,
) -> Result<Vec<Prediction>, RunError> {
    let roster = Some(roster);
    predict_watched(
        model,
        roster,
        data,
        objective,
        batch_size,
        device,
        &mut |_| (),
    )
}

/// What the rows of a data set choose.
struct Chosen<'a> {
    roster: &'a AdapterRoster,
    /// What may be chosen.
    choices: Vec<AdapterChoice>,
    /// Which of it each row does.
    of_rows: Vec<u32>,
}

impl<'a> Chosen<'a> {
    fn of(roster: &'a AdapterRoster, data: &Dataset) -> Result<Self, RunError> {
        let of_rows = data.choices().ok_or_else(|| {
            RunError::setting(
                "`data`",
                "its rows choose no adapters",
                "name the column with `adapter_column`",
            )
        })?;
        let names = roster.choices();
        if of_rows.iter().any(|id| *id as usize >= names.len()) {
            return Err(RunError::setting(
                "`data`",
                "its rows choose among other adapters than the model's",
                "load it with AdapterRoster::choices as the names",
            ));
        }
        Ok(Self {
            roster,
            choices: names.iter().map(|name| AdapterChoice::one(name)).collect(),
            of_rows,
        })
    }

    /// A batch of these rows, with what they choose.
    fn on(&self, batch: PackedBatch, rows: &[usize]) -> Result<PackedBatch, RunError> {
        let choice = |row: &usize| self.choices[self.of_rows[*row] as usize].clone();
        let choices: Vec<AdapterChoice> = rows.iter().map(choice).collect();
        Ok(batch.with_adapters(self.roster, &choices)?)
    }
}

/// How rows pass through the model.
#[derive(Clone, Copy, Default)]
struct Passes<'a> {
    /// By what they choose, if they do.
    chosen: Option<&'a Chosen<'a>>,
    /// From the first adapted block on, where what it reads is kept.
    features: Option<FeaturesOf<'a>>,
}

/// Predict every row.
fn predict_each(
    model: &impl Network,
    data: &Dataset,
    objective: &dyn Objective,
    batch_size: usize,
    device: &Device,
    passes: Passes<'_>,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Prediction>, RunError> {
    let mut count = 0;
    let mut predictions = vec![Prediction::Number(f32::NAN); data.len()];
    let plan = BatchPlan::sequential(&data.lengths(), batch_size)?;
    for rows in plan.iter_from(0) {
        let batch = data.batch(rows)?;
        let packed = pack(model, &batch, device)?;
        let packed = match passes.chosen {
            Some(chosen) => chosen.on(packed, &batch.indices)?,
            None => packed,
        };
        let context = AdapterContext::inference();
        let kept = passes.features;
        let kept = kept.and_then(|features| features.hidden(model, &batch, &packed));
        let output = match kept {
            Some((depth, hidden)) => model.run_from(depth, hidden, &packed, &context),
            None => model.run(&packed, &context),
        };
        let found = objective.predict(output, truth(&batch).as_ref())?;
        let broken = found.iter().position(|prediction| !prediction.is_finite());
        if let Some(at) = broken {
            return Err(RunError::NotFinite {
                row: batch.indices.get(at).map_or(0, |row| row + 1),
                module: model.first_not_finite(&packed, &context),
            });
        }
        for (row, prediction) in batch.indices.iter().zip(found) {
            predictions[*row] = prediction;
        }
        count += batch.indices.len();
        done(count);
    }
    Ok(predictions)
}

/// Predict labelled rows and compare.
///
/// # Errors
/// If the rows have no labels, or do not fit the model.
pub fn evaluate(
    model: &impl Network,
    data: &Dataset,
    objective: &dyn Objective,
    batch_size: usize,
    device: &Device,
) -> Result<Evaluation, RunError> {
    Ok(evaluate_rows(model, data, objective, batch_size, device, None)?.0)
}

/// As [`evaluate`], with the prediction of every row, from what is kept of the rows if something is.
pub(crate) fn evaluate_rows(
    model: &impl Network,
    data: &Dataset,
    objective: &dyn Objective,
    batch_size: usize,
    device: &Device,
    features: Option<FeaturesOf<'_>>,
) -> Result<Evaluated, RunError> {
    let passes = Passes {
        chosen: None,
        features,
    };
    let predictions = predict_each(
        model,
        data,
        objective,
        batch_size,
        device,
        passes,
        &mut |_| (),
    )?;
    let mut tally = objective.tally();
    compare(tally.as_mut(), data, &predictions)?;
    Ok((tally.finish()?, predictions))
}

/// As [`evaluate`], of rows that come in parts: memory does not grow with their number, but for the
/// predictions of a regression, whose ranks are of all rows.
///
/// # Errors
/// As [`evaluate`], and those of the parts.
pub fn evaluate_parts(
    model: &impl Network,
    parts: impl Iterator<Item = Result<Dataset, DataError>>,
    objective: &dyn Objective,
    batch_size: usize,
    device: &Device,
) -> Result<Evaluation, RunError> {
    let predict = |part: &Dataset| predict(model, part, objective, batch_size, device);
    evaluate_with(parts, objective, predict, &mut |_, _| ())
}

/// As [`evaluate_parts`], with predictions of the caller's own making, one a row of each part; `each` is told them, with the number
/// of the part's first row.
///
/// # Errors
/// Those of the parts and of `predict`, and if the rows have no labels.
pub fn evaluate_with(
    parts: impl Iterator<Item = Result<Dataset, DataError>>,
    objective: &dyn Objective,
    mut predict: impl FnMut(&Dataset) -> Result<Vec<Prediction>, RunError>,
    each: &mut dyn FnMut(usize, &[Prediction]),
) -> Result<Evaluation, RunError> {
    let mut tally = objective.tally();
    let mut rows = 0;
    for part in parts {
        let part = part?;
        let predictions = predict(&part).map_err(|error| error.after(rows))?;
        compare(tally.as_mut(), &part, &predictions)?;
        each(rows, &predictions);
        rows += part.len();
    }
    Ok(tally.finish()?)
}

/// Compare predictions of all rows of a data set, in its order.
fn compare(
    tally: &mut dyn Tally,
    data: &Dataset,
    predictions: &[Prediction],
) -> Result<(), RunError> {
    for (chunk, predictions) in predictions.chunks(COMPARED).enumerate() {
        let first = chunk * COMPARED;
        let rows: Vec<usize> = (first..first + predictions.len()).collect();
        let batch = data.batch(&rows)?;
        tally.add(predictions, &truth(&batch).ok_or_else(unlabelled)?)?;
    }
    Ok(())
}

fn unlabelled() -> RunError {
    RunError::setting(
        "`data`",
        "the rows have no labels to compare with",
        "name the column with `label_column`, or use `peft predict`",
    )
}
