//! Continuous problems of the literature, minimised, on the unit cube.

use crate::hypervolume::hypervolume;
use crate::{
    Configuration, Counter, Domain, Goal, Objective, Parameter, Problem, SearchError, Space, Value,
};

/// A problem with a known largest hypervolume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuous {
    /// Branin, `[15x₀ − 5, 15x₁]`, and Currin's exponential, `(1 − exp(−1/2x₁))(2300x₀³ + 1900x₀² + 2092x₀ + 60)/
    /// (100x₀³ + 500x₀² + 4x₀ + 20)`; d = 2, reference (18, 6).
    BraninCurrin,
    /// ZDT1 (Zitzler, Deb and Thiele 2000): `x₀`, `g (1 − √(x₀/g))`, `g = 1 + 9 mean(x₁ …)`; d = 4, reference (11, 11).
    Zdt1,
    /// ZDT2: `x₀`, `g (1 − (x₀/g)²)`; d = 4, reference (11, 11).
    Zdt2,
    /// DTLZ2 with two objectives: `(1 + g) (cos, sin)(πx₀/2)`, `g = Σ (x_i − ½)²` over x₁ …; d = 6, reference (1.1, 1.1).
    Dtlz2,
    /// DTLZ2 with three objectives; d = 6, reference 1.1 in each.
    Dtlz2Three,
}

impl Continuous {
    /// How many inputs there are.
    pub fn inputs(self) -> usize {
        match self {
            Self::BraninCurrin => 2,
            Self::Zdt1 | Self::Zdt2 => 4,
            Self::Dtlz2 | Self::Dtlz2Three => 6,
        }
    }

    /// The reference point.
    pub fn reference(self) -> Vec<f64> {
        match self {
            Self::BraninCurrin => vec![18.0, 6.0],
            Self::Zdt1 | Self::Zdt2 => vec![11.0, 11.0],
            Self::Dtlz2 => vec![1.1, 1.1],
            Self::Dtlz2Three => vec![1.1; 3],
        }
    }

    /// The largest hypervolume: exact, and of Branin-Currin a bound a little above what dense sampling reaches
    /// (59.4053; BoTorch's 59.36 is too small).
    pub fn best(self) -> f64 {
        use std::f64::consts::PI;
        match self {
            Self::BraninCurrin => 59.4055,
            Self::Zdt1 => 120.0 + 2.0 / 3.0,
            Self::Zdt2 => 120.0 + 1.0 / 3.0,
            Self::Dtlz2 => 1.21 - PI / 4.0,
            Self::Dtlz2Three => 1.331 - PI / 6.0,
        }
    }

    /// The objectives at a point of the unit cube.
    pub fn evaluate(self, x: &[f64]) -> Vec<f64> {
        use std::f64::consts::{FRAC_PI_2, PI};
        match self {
            Self::BraninCurrin => {
                let (u, v) = (15.0 * x[0] - 5.0, 15.0 * x[1]);
                let bowl = v - 5.1 / (4.0 * PI * PI) * u * u + 5.0 / PI * u - 6.0;
                let branin = bowl * bowl + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * u.cos() + 10.0;
                let damped = if x[1] > 0.0 {
                    1.0 - (-0.5 / x[1]).exp()
                } else {
                    1.0
                };
                let a = x[0];
                let upper = ((2300.0 * a + 1900.0) * a + 2092.0) * a + 60.0;
                let lower = ((100.0 * a + 500.0) * a + 4.0) * a + 20.0;
                vec![branin, damped * upper / lower]
            }
            Self::Zdt1 | Self::Zdt2 => {
                let rest = &x[1..];
                let g = 1.0 + 9.0 * rest.iter().sum::<f64>() / rest.len() as f64;
                let share = x[0] / g;
                let shape = if self == Self::Zdt1 {
                    share.sqrt()
                } else {
                    share * share
                };
                vec![x[0], g * (1.0 - shape)]
            }
            Self::Dtlz2 | Self::Dtlz2Three => {
                let objectives = self.reference().len();
                let tail = &x[objectives - 1..];
                let g: f64 = tail.iter().map(|x| (x - 0.5) * (x - 0.5)).sum();
                (0..objectives)
                    .map(|index| {
                        let cosines = &x[..objectives - 1 - index];
                        let mut value = 1.0 + g;
                        cosines.iter().for_each(|x| value *= (x * FRAC_PI_2).cos());
                        if index > 0 {
                            value *= (x[objectives - 1 - index] * FRAC_PI_2).sin();
                        }
                        value
                    })
                    .collect()
            }
        }
    }

    /// The problem on a lattice of 2¹⁶ levels an input, every objective measured.
    ///
    /// # Errors
    ///
    /// None for these problems; the type is that of [`Problem::new`].
    pub fn problem(self) -> Result<Problem, SearchError> {
        let domain = Domain::Real {
            low: 0.0,
            high: 1.0,
            log: false,
            levels: (1 << 16) + 1,
        };
        let inputs = 0..self.inputs();
        let parameters = inputs
            .map(|i| Parameter::new(format!("x{i}"), domain.clone()))
            .collect();
        let count = self.reference().len();
        let objective = |i: usize| Objective::measured(format!("f{i}"), Goal::Minimise);
        let objectives = (0..count).map(objective).collect();
        let space = Space::new(parameters, vec![])?;
        Problem::new(space, objectives, Some(self.reference()), |_| Vec::new())
    }

    /// The point of a configuration of [`problem`](Self::problem)'s space.
    pub fn point(self, space: &Space, configuration: &Configuration) -> Vec<f64> {
        let values = space.values(configuration).into_iter();
        values
            .map(|(_, value)| if let Value::Number(x) = value { x } else { 0.0 })
            .collect()
    }

    /// Hypervolume of objectives that [`evaluate`](Self::evaluate) gave.
    pub fn volume(self, rows: &[Vec<f64>]) -> f64 {
        let negative = |row: &Vec<f64>| row.iter().map(|v| -v).collect::<Vec<f64>>();
        let rows: Vec<Vec<f64>> = rows.iter().map(negative).collect();
        hypervolume(&rows, &negative(&self.reference()))
    }

    /// Standard deviations of the noise with which BoTorch's tutorial measures Branin-Currin.
    pub const BRANIN_CURRIN_NOISE: [f64; 2] = [15.19, 0.63];

    /// Objectives with noise.
    pub fn noisy(self, x: &[f64], deviation: &[f64], counter: &mut Counter) -> Vec<f64> {
        let exact = self.evaluate(x).into_iter().zip(deviation);
        exact
            .map(|(value, deviation)| value + deviation * counter.normal())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_sampled_fronts_approach_the_best() {
        // Front of ZDT: all but the first input 0; of DTLZ2: all but the first ½.
        for (problem, rest) in [
            (Continuous::Zdt1, 0.0),
            (Continuous::Zdt2, 0.0),
            (Continuous::Dtlz2, 0.5),
        ] {
            let rows: Vec<Vec<f64>> = (0..=2000)
                .map(|step| {
                    let mut x = vec![rest; problem.inputs()];
                    x[0] = f64::from(step) / 2000.0;
                    problem.evaluate(&x)
                })
                .collect();
            let volume = problem.volume(&rows);
            assert!(
                volume < problem.best() && volume > problem.best() - 2e-3,
                "{problem:?} {volume}"
            );
        }
        let rows: Vec<Vec<f64>> = (0..300)
            .flat_map(|i| (0..300).map(move |j| [f64::from(i) / 299.0, f64::from(j) / 299.0]))
            .map(|x| Continuous::BraninCurrin.evaluate(&x))
            .collect();
        let volume = Continuous::BraninCurrin.volume(&rows);
        assert!(volume > 58.4 && volume < 59.4055, "{volume}");
    }

    #[test]
    fn three_objectives_lie_on_the_sphere() {
        let value = Continuous::Dtlz2Three.evaluate(&[0.3, 0.8, 0.5, 0.5, 0.5, 0.5]);
        assert!((value.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
