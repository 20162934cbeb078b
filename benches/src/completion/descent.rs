use std::time::{Duration, Instant};

use crate::problem::Problem;

/// A product of matrices that descends the loss.
pub trait Network {
    /// One step of gradient descent on all factors at once; tells the loss before it.
    fn step(&mut self, problem: &Problem, rate: f64) -> f64;

    /// `1/(2d²) · Σ (f − Φ)²` over the entries that are not observed.
    fn error(&self, problem: &Problem) -> f64;

    /// Trained values.
    fn parameters(&self) -> usize;
}

/// Step size and end of a descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompletionSettings {
    /// Step size `η`. The paper's 5e3 for `d = 1000` is `5e-3 d²`, for the loss is a mean.
    pub rate: f64,
    /// Most steps.
    pub iterations: u64,
    /// The error at which the matrix counts as found.
    pub tolerance: f64,
    /// Steps between two looks at the error.
    pub every: u64,
}

impl Default for CompletionSettings {
    fn default() -> Self {
        Self {
            rate: 5e3,
            iterations: 30_000,
            tolerance: 1e-12,
            every: 50,
        }
    }
}

/// A look at a descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Steps done.
    pub iteration: u64,
    /// Loss on the observed entries before the last of them; before the first, infinite.
    pub loss: f64,
    /// Error on the others after it.
    pub error: f64,
}

/// What a descent came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The looks at it, by ascending steps.
    pub points: Vec<Point>,
    /// Steps until the error was below the tolerance, to a multiple of those between two looks.
    pub found_after: Option<u64>,
    /// Time of all steps, without that of the looks.
    pub steps_took: Duration,
}

/// Descend until the error is below the tolerance, or for all iterations; `watch` sees every look as it is
/// taken.
pub fn complete(
    network: &mut (impl Network + ?Sized),
    problem: &Problem,
    settings: &CompletionSettings,
    watch: &mut dyn FnMut(&Point),
) -> Curve {
    let start = Point {
        iteration: 0,
        loss: f64::INFINITY,
        error: network.error(problem),
    };
    watch(&start);
    let mut curve = Curve {
        points: vec![start],
        found_after: None,
        steps_took: Duration::ZERO,
    };
    let mut done = 0;
    while done < settings.iterations {
        let (start, mut loss) = (Instant::now(), 0.0);
        let turn = settings.every.clamp(1, settings.iterations - done);
        for _ in 0..turn {
            loss = network.step(problem, settings.rate);
        }
        curve.steps_took += start.elapsed();
        done += turn;
        let error = network.error(problem);
        let point = Point {
            iteration: done,
            loss,
            error,
        };
        watch(&point);
        curve.points.push(point);
        if error <= settings.tolerance {
            curve.found_after = Some(done);
            break;
        }
        if !error.is_finite() {
            break;
        }
    }
    curve
}
