//! What a study of runs is about: its space, its objectives and their worst values.

use std::{path::Path, sync::Arc};

use peft_run::{Metric, Prepared, RunConfig};

use super::{
    AutoPeftSpace, Cost, FileSpace, RunSpace, RunsError, SpaceChoice, View, Workspace,
    cost::{KnownCost, slowest_step},
};
use crate::{Goal, Objective, Problem, Scale};

/// The space that was asked for, of this model; says what does not fit it.
pub fn space(
    choice: &SpaceChoice,
    prepared: &Prepared,
    shared: &RunConfig,
    view: &mut dyn View,
) -> Result<Arc<dyn RunSpace>, RunsError> {
    Ok(match choice {
        SpaceChoice::Workspace { methods } => {
            let space = Workspace::new(prepared, shared, methods)?;
            let names: Vec<&str> = space.left_out().iter().map(|one| one.method).collect();
            if !names.is_empty() {
                view.notice(&format!(
                    "not searched, for they do not fit this model: {} (named in `methods`, each tells why)",
                    names.join(", ")
                ));
            }
            Arc::new(space)
        }
        SpaceChoice::Autopeft => Arc::new(AutoPeftSpace::new(prepared, shared)?),
        SpaceChoice::File { given } => Arc::new(FileSpace::new(given, prepared, shared)?),
    })
}

/// The objectives of a space: trained values, the metric, and a cost if there is one.
pub fn problem(
    space: &Arc<dyn RunSpace>,
    metric: &Metric,
    worst: f64,
    cost: Option<Cost>,
    shared: &RunConfig,
    prepared: &Prepared,
) -> Result<Problem, RunsError> {
    let goal = match metric.less_is_better {
        true => Goal::Minimise,
        false => Goal::Maximise,
    };
    let mut objectives = vec![
        Objective::known("values", Goal::Minimise, Scale::Log10),
        Objective::measured(&metric.name, goal),
    ];
    objectives.extend(cost.map(Cost::objective));
    let known_cost = cost
        .filter(|cost| !cost.is_measured())
        .map(|cost| KnownCost::new(cost, space, shared, prepared))
        .transpose()?;
    let mut reference = vec![space.most(), worst];
    reference.extend(match (&known_cost, cost) {
        (Some(known), _) => Some(known.most()),
        (None, Some(_)) => Some(slowest_step(space, shared, prepared)?),
        (None, None) => None,
    });
    let space = space.clone();
    Ok(Problem::new(
        space.space().clone(),
        objectives,
        Some(reference),
        move |configuration| {
            let mut known = vec![space.values(configuration)];
            known.extend(known_cost.as_ref().map(|cost| cost.of(configuration)));
            known
        },
    )?)
}

/// The worst value of a metric that counts for anything.
pub fn reference(prepared: &Prepared, metric: &Metric) -> Result<f64, RunsError> {
    if metric.less_is_better {
        return Ok(metric.of(&prepared.unadapted()?));
    }
    Ok(match metric.name.as_str() {
        "accuracy" => prepared.majority().unwrap_or(0.0),
        _ => 0.0,
    })
}

/// A given worst value, where a metric can have it.
pub fn within_metric(worst: f64, metric: &Metric) -> Result<f64, RunsError> {
    let range = match metric.name.as_str() {
        "loss" => 0.0..=f64::MAX,
        "matthews" | "pearson" | "spearman" => -1.0..=1.0,
        "accuracy" | "f1" => 0.0..=1.0,
        _ => f64::MIN..=f64::MAX,
    };
    if range.contains(&worst) {
        return Ok(worst);
    }
    let (name, low, high) = (&metric.name, range.start(), range.end());
    Err(RunsError::setting(
        "`reference`",
        format!("{worst} is no value of the metric {name}"),
        match name.as_str() {
            "loss" => "give 0 or more".to_owned(),
            _ if *high > 1.0 => "give a finite number".to_owned(),
            _ => format!("give one from {low} to {high}"),
        },
    ))
}

/// What reports call a study.
pub fn name(shared: &RunConfig, space: &SpaceChoice) -> String {
    let file = |path: &Path| {
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    };
    format!(
        "Search of the space {} on {} with {}",
        space.name(),
        file(&shared.model),
        file(&shared.data)
    )
}
