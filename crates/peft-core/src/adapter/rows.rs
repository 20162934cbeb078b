use std::{ops::Range, sync::Arc};

use burn::{
    Tensor,
    tensor::{Device, Int, TensorData},
};

use super::AdapterChoice;

/// The rows of a batch, by the adapters that they pass through.
///
/// Groups come in the order in which their first rows do. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct RowGroups {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rows: usize,
    /// The group of each of the lengths.
    of: Vec<usize>,
    groups: Vec<Group>,
    /// For each row its place among the groups laid end to end; none where that is its own.
    order: Option<Tensor<1, Int>>,
}

#[derive(Debug)]
struct Group {
    choice: AdapterChoice,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    /// Rows that lie together are a view.
    Together(Range<usize>),
    Listed(Box<Tensor<1, Int>>),
}

impl RowGroups {
    /// Rows of which `lengths[i]` at a time take `choices[i]`.
    ///
    /// # Panics
    /// If there are not as many lengths as choices, or no rows.
    pub fn new(choices: &[AdapterChoice], lengths: &[usize], device: &Device) -> Self {
        assert_eq!(choices.len(), lengths.len(), "a choice for every length");
        let mut members: Vec<(&AdapterChoice, Vec<usize>)> = Vec::new();
        let mut rows = 0;
        for (choice, length) in choices.iter().zip(lengths) {
            let at = members.iter().position(|(known, _)| *known == choice);
            let at = at.unwrap_or_else(|| {
                members.push((choice, Vec::new()));
                members.len() - 1
            });
            members[at].1.extend(rows..rows + length);
            rows += length;
        }
        members.retain(|(_, rows)| !rows.is_empty());
        assert!(rows > 0, "a batch has rows");
        let group = |choice| {
            let known = members.iter().position(|(known, _)| *known == choice);
            known.unwrap_or(0)
        };
        let of = choices.iter().map(group).collect();

        // Places are constants: no gradient passes them.
        let device = device.clone().without_autodiff();
        let laid = members.iter().flat_map(|(_, rows)| rows.iter().copied());
        let mut order = vec![0; rows];
        for (place, row) in laid.enumerate() {
            order[row] = place;
        }
        let in_order = order.is_sorted();
        let groups = members
            .into_iter()
            .map(|(choice, rows)| Group {
                choice: choice.clone(),
                rows: Rows::new(&rows, &device),
            })
            .collect();
        Self {
            shared: Arc::new(Shared {
                rows,
                of,
                groups,
                order: (!in_order).then(|| places(&order, &device)),
            }),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.shared.rows
    }

    /// The group of each of the lengths that the groups were made of, by the place of its choice among the
    /// [choices](Self::choices); 0 for one without rows.
    pub fn groups_of(&self) -> &[usize] {
        &self.shared.of
    }

    /// What the rows choose, each choice once.
    pub fn choices(&self) -> impl ExactSizeIterator<Item = &AdapterChoice> {
        self.shared.groups.iter().map(|group| &group.choice)
    }

    /// Run every group of the rows of `x` through what it chooses, and lay the results in the order of
    /// the rows. A batch of one group is neither gathered nor scattered.
    ///
    /// # Panics
    /// If `x` has another number of rows, or results are of different widths.
    pub fn through(
        &self,
        x: Tensor<2>,
        mut run: impl FnMut(Tensor<2>, &AdapterChoice) -> Tensor<2>,
    ) -> Tensor<2> {
        let (found, rows) = (x.dims()[0], self.shared.rows);
        assert_eq!(found, rows, "adapters were chosen for {rows} rows");
        if let [group] = self.shared.groups.as_slice() {
            return run(x, &group.choice);
        }
        let parts = self.shared.groups.iter().map(|group| {
            let x = match &group.rows {
                Rows::Together(range) => x.clone().slice([range.clone()]),
                Rows::Listed(rows) => x.clone().select(0, rows.as_ref().clone()),
            };
            run(x, &group.choice)
        });
        let laid = Tensor::cat(parts.collect(), 0);
        match &self.shared.order {
            Some(order) => laid.select(0, order.clone()),
            None => laid,
        }
    }
}

impl Rows {
    fn new(rows: &[usize], device: &Device) -> Self {
        let (first, last) = (rows[0], rows[rows.len() - 1]);
        match last - first + 1 == rows.len() {
            true => Self::Together(first..last + 1),
            false => Self::Listed(Box::new(places(rows, device))),
        }
    }
}

fn places(places: &[usize], device: &Device) -> Tensor<1, Int> {
    let places: Vec<i64> = places.iter().map(|place| *place as i64).collect();
    let shape = [places.len()];
    Tensor::from_data(TensorData::new(places, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(letters: &str, lengths: &[usize]) -> (Vec<String>, Vec<i64>) {
        let device = Device::default();
        let choice = |letter: char| match letter {
            '-' => AdapterChoice::base(),
            letter => AdapterChoice::one(&letter.to_string()),
        };
        let choices: Vec<AdapterChoice> = letters.chars().map(choice).collect();
        let groups = RowGroups::new(&choices, lengths, &device);
        let rows = groups.rows();
        let x = Tensor::<1, Int>::arange(0..rows as i64, &device).float();
        let mut seen = Vec::new();
        let y = groups.through(x.reshape([rows, 1]), |x, choice| {
            let values: Vec<i64> = x.clone().into_data().iter::<i64>().collect();
            seen.push(format!("{choice}{values:?}"));
            x.mul_scalar(10)
        });
        (seen, y.into_data().iter::<i64>().collect())
    }

    #[test]
    fn rows_come_back_in_their_places() {
        let (seen, y) = split("a-ab", &[2, 1, 1, 2]);
        assert_eq!(seen, ["a[0, 1, 3]", "__base__[2]", "b[4, 5]"]);
        assert_eq!(y, [0, 10, 20, 30, 40, 50]);
    }

    #[test]
    fn one_choice_is_one_group_and_a_choice_without_rows_is_none() {
        assert_eq!(split("aa", &[2, 1]).0, ["a[0, 1, 2]"]);
        assert_eq!(split("aba", &[2, 0, 1]).0, ["a[0, 1, 2]"]);
        assert_eq!(split("bba", &[1, 1, 1]).0, ["b[0, 1]", "a[2]"]);
    }
}
