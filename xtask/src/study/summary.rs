//! From results to figures: one summary an arm, one finding a claim.

use anyhow::{Result, ensure};

use super::definition::{Checkpoint, Claim, ClaimKind, Study};
use super::outcome::{Outcome, ReportMarks};
use super::runner::Progress;
use super::statistics::{Interval, Resampled, bootstrap, deviation, mean, median};
use super::verdict;

/// Half the width that "equal" allows, as a share: one point.
pub const EQUAL_WITHIN: f64 = 0.01;

pub struct ArmSummary {
    pub name: String,
    pub engine: &'static str,
    pub method: String,
    pub rate: f64,
    pub runs: usize,
    pub trained: u64,
    pub bytes: u64,
    pub selection: f64,
    pub last: Accuracy,
    pub kept: Accuracy,
    pub step_time_s: f64,
    pub tokens_per_s: f64,
    pub peak_anonymous: Option<u64>,
    pub peak_resident: Option<u64>,
    pub optimizer: Option<u64>,
    pub contended: bool,
}

pub struct Accuracy {
    pub interval: Interval,
    /// Standard deviation over the seeds.
    pub deviation: Option<f64>,
}

impl Accuracy {
    /// In per cent: the mean over the seeds ± their standard deviation.
    pub fn words(&self) -> String {
        let mean = self.interval.mean * 100.0;
        match self.deviation {
            Some(deviation) => format!("{mean:.2} ± {:.2}", deviation * 100.0),
            None => format!("{mean:.2}"),
        }
    }
}

impl ArmSummary {
    /// `None` until a run at the chosen rate is there.
    pub fn of(progress: &Progress) -> Option<Self> {
        let (rate, first) = (progress.rate?, progress.outcomes.first()?);
        let runs = &progress.outcomes;
        let reports: Vec<&ReportMarks> =
            runs.iter().filter_map(|run| run.report.as_ref()).collect();
        let all = |figure: fn(&Outcome) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
        let accuracy = |checkpoint| Accuracy {
            interval: bootstrap(
                &reports
                    .iter()
                    .map(|run| answers(run, checkpoint))
                    .collect::<Vec<_>>(),
            ),
            deviation: deviation(
                &reports
                    .iter()
                    .map(|run| run.accuracy(checkpoint))
                    .collect::<Vec<_>>(),
            ),
        };
        Some(Self {
            name: progress.arm.name.clone(),
            engine: progress.arm.engine.name(),
            method: progress.arm.method.clone(),
            rate,
            runs: runs.len(),
            trained: first.trainable_parameters,
            bytes: first.adapter_bytes,
            selection: mean(&all(Outcome::selection_accuracy)),
            last: accuracy(Checkpoint::Last),
            kept: accuracy(Checkpoint::Kept),
            step_time_s: median(&all(|run| run.step_time_s)),
            tokens_per_s: median(&all(|run| run.real_tokens_per_s)),
            peak_anonymous: runs.iter().filter_map(|run| run.peak_rss_anon_bytes).max(),
            peak_resident: runs.iter().filter_map(|run| run.peak_rss_bytes).max(),
            optimizer: runs.iter().filter_map(|run| run.optimizer_bytes).max(),
            contended: runs.iter().any(|run| run.contended),
        })
    }
}

fn answers(report: &ReportMarks, checkpoint: Checkpoint) -> Vec<i8> {
    report
        .correct(checkpoint)
        .bytes()
        .map(|mark| i8::from(mark == b'1'))
        .collect()
}

/// What the runs say about a claim.
pub struct Finding {
    /// Difference of accuracy, arm minus the one it is held against.
    pub difference: Interval,
    /// Probabilities that the claim, and that its contrary, were concluded by chance.
    pub chances: [f64; 2],
}

/// `None` while runs of either arm are missing.
pub fn find(study: &Study, arms: &[Progress], claim: &Claim) -> Result<Option<Finding>> {
    let find = |name: &str| arms.iter().find(|progress| progress.arm.name == name);
    let (Some(arm), Some(against)) = (find(&claim.arm), find(&claim.against)) else {
        return Ok(None);
    };
    if arm.outcomes.len() < study.seeds.len() || against.outcomes.len() < study.seeds.len() {
        return Ok(None);
    }
    let judge = |means: &[f64]| match claim.kind {
        ClaimKind::Equal => verdict::within(means, [-EQUAL_WITHIN, EQUAL_WITHIN]),
        ClaimKind::Better => verdict::above(means, 0.0),
    };
    found_between(arm, against, claim.checkpoint, judge).map(Some)
}

/// The difference between two arms with runs on the same seeds, with what `judge` makes of its resampled means.
pub fn found_between(
    arm: &Progress,
    against: &Progress,
    checkpoint: Checkpoint,
    judge: impl Fn(&[f64]) -> [f64; 2],
) -> Result<Finding> {
    let mut differences = Vec::new();
    let reports = |progress: &'_ Progress| -> Vec<ReportMarks> {
        let reports = progress
            .outcomes
            .iter()
            .filter_map(|run| run.report.clone());
        reports.collect()
    };
    for (left, right) in reports(arm).iter().zip(&reports(against)) {
        let (left, right) = (answers(left, checkpoint), answers(right, checkpoint));
        ensure!(
            left.len() == right.len(),
            "{} and {} were scored on different numbers of rows",
            arm.arm.name,
            against.arm.name
        );
        differences.push(left.iter().zip(&right).map(|(a, b)| a - b).collect());
    }
    let Resampled { interval, means } = Resampled::new(&differences);
    Ok(Finding {
        difference: interval,
        chances: judge(&means),
    })
}
