//! Setting rows aside, the same ones for the same seed on every machine.

use crate::error::DataError;
use crate::rng::CounterRng;
use std::collections::BTreeMap;

/// Splits `n` rows into `(fit, select)`, the second a `fraction` of them; both in ascending order.
///
/// At least one row lands on each side.
///
/// # Errors
/// [`DataError::Split`] if `n < 2` or the fraction is not between 0 and 1.
pub fn split(n: usize, fraction: f64, seed: u64) -> Result<(Vec<usize>, Vec<usize>), DataError> {
    split_groups(vec![(0..n).collect()], n, fraction, seed)
}

/// As [`split`], drawing from every class in proportion (largest remainder), and keeping at least
/// one row of every class to fit on where the numbers allow.
///
/// # Errors
/// As [`split`].
pub fn split_stratified(
    classes: &[u32],
    fraction: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), DataError> {
    let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (row, &class) in classes.iter().enumerate() {
        groups.entry(class).or_default().push(row);
    }
    split_groups(
        groups.into_values().collect(),
        classes.len(),
        fraction,
        seed,
    )
}

/// Rows up to which a split is drawn as lists.
pub(crate) const LISTED_ROWS: usize = 1 << 20;

/// Decides row by row, without a list of them: `put` gets each row and whether it is selected.
///
/// A row is selected by its own random number; one row at least is, and one row at least of every
/// class is not.
pub(crate) fn choose(
    n: usize,
    class: &dyn Fn(usize) -> u32,
    fraction: f64,
    seed: u64,
    mut put: impl FnMut(usize, bool) -> Result<(), DataError>,
) -> Result<(), DataError> {
    if n < 2 || !(fraction > 0.0 && fraction < 1.0) {
        return Err(DataError::Split { rows: n, fraction });
    }
    let rng = CounterRng::new(seed, "split", 0);
    // Of every class the row that is the last to be selected stays, so that something does.
    let mut stays: BTreeMap<u32, (f64, usize)> = BTreeMap::new();
    let mut first = (f64::MAX, 0);
    for row in 0..n {
        let drawn = rng.unit(row as u64);
        let kept = stays.entry(class(row)).or_insert((drawn, row));
        if drawn > kept.0 {
            *kept = (drawn, row);
        }
        if drawn < first.0 {
            first = (drawn, row);
        }
    }
    for row in 0..n {
        let selected = row == first.1 || rng.unit(row as u64) < fraction;
        put(
            row,
            selected && stays.get(&class(row)).map(|s| s.1) != Some(row),
        )?;
    }
    Ok(())
}

fn split_groups(
    groups: Vec<Vec<usize>>,
    n: usize,
    fraction: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), DataError> {
    if n < 2 || !(fraction > 0.0 && fraction < 1.0) {
        return Err(DataError::Split { rows: n, fraction });
    }
    let wanted = ((n as f64 * fraction).round() as usize).clamp(1, n - 1);
    let quotas = quotas(&groups, wanted, n);
    let rng = CounterRng::new(seed, "split", 0);
    let (mut fit, mut select) = (Vec::with_capacity(n - wanted), Vec::with_capacity(wanted));
    for (rows, quota) in groups.into_iter().zip(quotas) {
        let rows = rng.shuffle(rows);
        let (chosen, rest) = rows.split_at(quota);
        select.extend_from_slice(chosen);
        fit.extend_from_slice(rest);
    }
    fit.sort_unstable();
    select.sort_unstable();
    Ok((fit, select))
}

/// Rows to take of each group, `wanted` in all, in integers so that no rounding differs between
/// machines.
fn quotas(groups: &[Vec<usize>], wanted: usize, n: usize) -> Vec<usize> {
    let share = |g: &Vec<usize>| g.len() as u128 * wanted as u128;
    let mut quotas: Vec<usize> = groups
        .iter()
        .map(|g| (share(g) / n as u128) as usize)
        .collect();
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&g| (std::cmp::Reverse(share(&groups[g]) % n as u128), g));
    let mut missing = wanted - quotas.iter().sum::<usize>();
    // First leave one row of every class behind; only then take last rows.
    for spare in [1, 0] {
        while missing > 0 {
            let before = missing;
            for &g in &order {
                if missing > 0 && quotas[g] + spare < groups[g].len() {
                    quotas[g] += 1;
                    missing -= 1;
                }
            }
            if missing == before {
                break;
            }
        }
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_keep_their_shares() {
        let classes: Vec<u32> = (0..1000).map(|i| u32::from(i % 10 == 0)).collect();
        let (fit, select) = split_stratified(&classes, 0.1, 3).unwrap();
        let ones = |rows: &[usize]| rows.iter().filter(|&&r| classes[r] == 1).count();
        assert_eq!((fit.len(), select.len()), (900, 100));
        assert_eq!((ones(&fit), ones(&select)), (90, 10));
        // A class of one row stays where it can be learned.
        let (fit, select) = split_stratified(&[0, 0, 0, 0, 7], 0.4, 1).unwrap();
        assert!(fit.contains(&4), "{fit:?} {select:?}");
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        assert!(split(1, 0.5, 0).is_err() && split(0, 0.5, 0).is_err());
        for fraction in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(split(10, fraction, 0).is_err());
        }
        assert_eq!(split(2, 0.01, 0).unwrap().1.len(), 1);
        assert_ne!(split(100, 0.1, 0).unwrap(), split(100, 0.1, 1).unwrap());
    }

    #[test]
    fn rows_drawn_one_by_one_keep_shares_and_classes() {
        let class = |row: usize| u32::from(row % 1000 == 7);
        let mut selected = [0usize; 2];
        let mut fit = [0usize; 2];
        let put = |row: usize, side: bool| {
            let counts = if side { &mut selected } else { &mut fit };
            counts[class(row) as usize] += 1;
            Ok(())
        };
        choose(20_000, &class, 0.1, 4, put).unwrap();
        assert!(fit[1] >= 1 && fit.iter().chain(&selected).sum::<usize>() == 20_000);
        assert!(
            (selected[0] as f64 / 20_000.0 - 0.1).abs() < 0.01,
            "{selected:?}"
        );
        let mut chosen = 0;
        choose(10, &|_| 0, 1e-9, 4, |_, side| {
            chosen += usize::from(side);
            Ok(())
        })
        .unwrap();
        assert_eq!(chosen, 1);
        assert!(choose(1, &|_| 0, 0.5, 4, |_, _| Ok(())).is_err());
    }

    proptest! {
        #[test]
        fn every_row_lands_on_exactly_one_side(
            classes in prop::collection::vec(0u32..5, 2..200), f in 0.01f64..0.99, seed: u64
        ) {
            for (fit, select) in [
                split_stratified(&classes, f, seed).unwrap(),
                split(classes.len(), f, seed).unwrap(),
            ] {
                prop_assert!(!fit.is_empty() && !select.is_empty());
                let mut all = [fit, select].concat();
                all.sort_unstable();
                prop_assert_eq!(all, (0..classes.len()).collect::<Vec<_>>());
            }
            prop_assert_eq!(
                split_stratified(&classes, f, seed).unwrap(),
                split_stratified(&classes, f, seed).unwrap()
            );
        }
    }
}
