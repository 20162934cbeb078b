//! What is concluded of the claims of a study, corrected for their number.

/// Largest probability of a claim that is shown or refuted by chance, over all claims of a study together.
const LEVEL: f64 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Shown,
    Refuted,
    Undecided,
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Self::Shown => "**shown**",
            Self::Refuted => "**refuted**",
            Self::Undecided => "undecided",
        }
    }
}

/// Share of resampled values that speak against a conclusion, never 0.
fn share(drawn: &[f64], against: impl Fn(f64) -> bool) -> f64 {
    let count = drawn.iter().filter(|value| against(**value)).count();
    (count + 1) as f64 / (drawn.len() + 1) as f64
}

/// Of the claim that a value lies below a bound: the probabilities that it, and that its contrary, were concluded
/// by chance.
pub fn below(drawn: &[f64], bound: f64) -> [f64; 2] {
    [
        share(drawn, |value| value >= bound),
        share(drawn, |value| value <= bound),
    ]
}

/// The same of the claim that it lies above.
pub fn above(drawn: &[f64], bound: f64) -> [f64; 2] {
    let [below, above] = below(drawn, bound);
    [above, below]
}

/// The same of the claim that it lies between two bounds.
pub fn within(drawn: &[f64], [low, high]: [f64; 2]) -> [f64; 2] {
    let shown = share(drawn, |value| value >= high).max(share(drawn, |value| value <= low));
    let above = share(drawn, |value| value <= high);
    let below = share(drawn, |value| value >= low);
    [shown, above.min(below)]
}

/// Holm's step-down procedure over claims, each with the chances of either conclusion: a claim is decided for the
/// likelier side where twice its chance is below 5 % over the number of claims that are not decided yet.
pub fn holm(chances: &[Option<[f64; 2]>]) -> Vec<Option<Verdict>> {
    let mut order: Vec<(usize, [f64; 2])> = chances
        .iter()
        .enumerate()
        .filter_map(|(claim, chances)| Some((claim, (*chances)?)))
        .collect();
    let smaller = |chances: &[f64; 2]| chances[0].min(chances[1]);
    order.sort_by(|(_, left), (_, right)| smaller(left).total_cmp(&smaller(right)));
    let mut verdicts: Vec<Option<Verdict>> = chances
        .iter()
        .map(|chances| chances.map(|_| Verdict::Undecided))
        .collect();
    // Claims that wait for runs count, so that no verdict changes when they come in.
    let mut left = chances.len();
    for (claim, chances) in order {
        if 2.0 * smaller(&chances) > LEVEL / left as f64 {
            break;
        }
        verdicts[claim] = Some(match chances[0] <= chances[1] {
            true => Verdict::Shown,
            false => Verdict::Refuted,
        });
        left -= 1;
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_stops_at_the_first_claim_that_is_not_decided() {
        let verdicts = holm(&[
            Some([0.004, 0.9]),
            Some([0.9, 0.001]),
            None,
            Some([0.03, 0.9]),
        ]);
        assert_eq!(
            verdicts,
            [
                Some(Verdict::Shown),
                Some(Verdict::Refuted),
                None,
                Some(Verdict::Undecided)
            ]
        );
        // The smallest of three must be below 0.05 / 3 / 2.
        assert_eq!(
            holm(&[Some([0.01, 0.9]), Some([0.9, 0.9]), Some([0.9, 0.9])]),
            [Some(Verdict::Undecided); 3]
        );
    }

    #[test]
    fn chances_are_shares_of_what_was_drawn() {
        let drawn: Vec<f64> = (0..99).map(f64::from).collect();
        // 90 to 98 speak against being below 90, 0 to 90 against being above.
        assert_eq!(below(&drawn, 90.0), [0.1, 0.92]);
        assert_eq!(above(&drawn, 90.0), [0.92, 0.1]);
        assert_eq!(within(&drawn, [-1.0, 99.0]), [0.01, 1.0]);
        assert_eq!(within(&drawn, [200.0, 300.0]), [1.0, 0.01]);
    }
}
