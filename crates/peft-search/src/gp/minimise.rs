//! Minimisation of a smooth function in a box.

use std::collections::VecDeque;

/// Where a minimisation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimum {
    /// The point.
    pub point: Vec<f64>,
    /// The function there.
    pub value: f64,
    /// How many times the function was called.
    pub calls: usize,
}

/// Pairs of steps and gradient changes kept.
const MEMORY: usize = 10;

/// Projected L-BFGS: limited-memory BFGS directions in the coordinates that are free to move, and a backtracking
/// search along the path projected into the box (after Bertsekas, "Projected Newton methods for optimization problems
/// with simple constraints", SIAM J. Control and Optimization 20, 1982).
///
/// `function` writes the gradient and returns the value, or none outside its domain (a step there is cut back). Ends
/// where the largest component of the projected gradient is at most `tolerance`, a step gains less than 10⁻¹⁰ of the
/// value, or after `calls` calls. None where the function has no value at the start.
pub fn minimise(
    mut function: impl FnMut(&[f64], &mut [f64]) -> Option<f64>,
    start: &[f64],
    bounds: &[(f64, f64)],
    tolerance: f64,
    calls: usize,
) -> Option<Minimum> {
    let clamp = |point: &mut Vec<f64>| {
        point
            .iter_mut()
            .zip(bounds)
            .for_each(|(x, (low, high))| *x = x.clamp(*low, *high));
    };
    let mut point = start.to_vec();
    clamp(&mut point);
    let mut gradient = vec![0.0; point.len()];
    let mut value = function(&point, &mut gradient)?;
    let mut used = 1;
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
    loop {
        let free: Vec<bool> = (0..point.len())
            .map(|i| {
                let (low, high) = bounds[i];
                !(point[i] <= low && gradient[i] >= 0.0 || point[i] >= high && gradient[i] <= 0.0)
            })
            .collect();
        let masked = |vector: &[f64]| -> Vec<f64> {
            vector
                .iter()
                .zip(&free)
                .map(|(v, free)| if *free { *v } else { 0.0 })
                .collect()
        };
        let steepest = masked(&gradient);
        let size = steepest.iter().fold(0.0, |top: f64, g| top.max(g.abs()));
        if size <= tolerance || used >= calls {
            return Some(Minimum {
                point,
                value,
                calls: used,
            });
        }
        let mut direction = masked(&two_loop(&steepest, &memory));
        if memory.is_empty() || dot(&direction, &gradient) >= 0.0 {
            memory.clear();
            direction = steepest.iter().map(|g| -g / size.max(1.0)).collect();
        }
        let mut length = 1.0;
        let mut next_gradient = vec![0.0; point.len()];
        let moved = loop {
            let mut next: Vec<f64> = point
                .iter()
                .zip(&direction)
                .map(|(x, d)| x + length * d)
                .collect();
            clamp(&mut next);
            let step: Vec<f64> = next.iter().zip(&point).map(|(a, b)| a - b).collect();
            if used >= calls || step.iter().all(|s| s.abs() < 1e-12) {
                break None;
            }
            used += 1;
            let found = function(&next, &mut next_gradient);
            match found {
                Some(found) if found <= value + 1e-4 * dot(&step, &gradient) => {
                    break Some((next, step, found));
                }
                _ => length *= if found.is_some() { 0.4 } else { 0.1 },
            }
        };
        let Some((next, step, found)) = moved else {
            if memory.is_empty() || used >= calls {
                return Some(Minimum {
                    point,
                    value,
                    calls: used,
                });
            }
            // The curvature kept was misleading: once more from the gradient alone.
            memory.clear();
            continue;
        };
        let change: Vec<f64> = next_gradient
            .iter()
            .zip(&gradient)
            .map(|(a, b)| a - b)
            .collect();
        let curvature = dot(&step, &change);
        if curvature > 1e-10 * dot(&change, &change).sqrt() * dot(&step, &step).sqrt() {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back((step, change));
        }
        let gain = value - found;
        (point, gradient, value) = (next, next_gradient, found);
        if gain <= 1e-10 * value.abs().max(1.0) {
            return Some(Minimum {
                point,
                value,
                calls: used,
            });
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `−H g` by the two loops of L-BFGS (Nocedal 1980).
fn two_loop(gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(memory.len());
    for (step, change) in memory.iter().rev() {
        let share = dot(step, &direction) / dot(step, change);
        direction
            .iter_mut()
            .zip(change)
            .for_each(|(d, y)| *d -= share * y);
        shares.push(share);
    }
    if let Some((step, change)) = memory.back() {
        let scale = dot(step, change) / dot(change, change);
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for ((step, change), share) in memory.iter().zip(shares.into_iter().rev()) {
        let back = dot(change, &direction) / dot(step, change);
        direction
            .iter_mut()
            .zip(step)
            .for_each(|(d, s)| *d += (share - back) * s);
    }
    direction
}
