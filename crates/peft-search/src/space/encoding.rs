//! How models see configurations: rows of numbers of order one.

use super::{Configuration, Domain, Space};

/// Columns of numbers for the configurations of a space, and which of them share one length scale.
///
/// * Binary: 0 or 1. Integer, ordinal and real parameters: the place of the level in the range, 0 to 1, of
///   logarithms where the scale is logarithmic.
/// * Categorical: a one-hot row of `1/√2`, all columns with one length scale, so that two different choices are at
///   the distance of a full range, whichever they are: the kernel sees the Hamming distance.
/// * An ordinal parameter with an absent level has one column more, 1 where the thing is there.
/// * A conditional parameter has one column more, 1 where it is active; its other columns are ½ (0 of a categorical
///   parameter) where it is not.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoding {
    groups: Vec<usize>,
    owners: Vec<usize>,
}

impl Encoding {
    /// The encoding of a space's configurations.
    pub fn new(space: &Space) -> Self {
        let (mut groups, mut owners) = (Vec::new(), Vec::new());
        for (index, parameter) in space.parameters().iter().enumerate() {
            let width = match &parameter.domain {
                Domain::Categorical { choices } => choices.len(),
                _ => 1,
            };
            groups.extend(std::iter::repeat_n(owners.len(), width));
            owners.push(index);
            let present = matches!(
                parameter.domain,
                Domain::Ordinal {
                    absent: Some(_),
                    ..
                }
            );
            for _ in 0..usize::from(present) + usize::from(parameter.condition.is_some()) {
                groups.push(owners.len());
                owners.push(index);
            }
        }
        Self { groups, owners }
    }

    /// How many columns there are.
    pub fn width(&self) -> usize {
        self.groups.len()
    }

    /// Of each column the length scale it belongs to.
    pub fn groups(&self) -> &[usize] {
        &self.groups
    }

    /// Of each length scale the parameter it belongs to.
    pub fn owners(&self) -> &[usize] {
        &self.owners
    }

    /// Appends the row of a configuration.
    pub fn row(&self, space: &Space, configuration: &Configuration, row: &mut Vec<f64>) {
        for (index, (parameter, &level)) in
            space.parameters().iter().zip(&configuration.0).enumerate()
        {
            let active = space.is_active(configuration, index);
            match &parameter.domain {
                Domain::Categorical { choices } => {
                    row.extend((0..choices.len() as u32).map(|choice| {
                        if active && choice == level {
                            std::f64::consts::FRAC_1_SQRT_2
                        } else {
                            0.0
                        }
                    }));
                }
                _ => row.push(if active { parameter.place(level) } else { 0.5 }),
            }
            if let Domain::Ordinal {
                absent: Some(absent),
                ..
            } = parameter.domain
            {
                row.push(f64::from(u8::from(active && level != absent)));
            }
            if parameter.condition.is_some() {
                row.push(f64::from(u8::from(active)));
            }
        }
    }
}
