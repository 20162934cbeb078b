//! T4 and T5: what a state space can be told by, and how few of its numbers make it another, of layers of S4.

use super::{Space, farthest, layers::outputs, numbers};

/// The order of the states and the scale of each are nobody's business.
#[test]
fn t4_order_and_scale_of_states_do_not_show() {
    let space = Space {
        a: vec![0.9, 0.4, -0.7, 0.2],
        b: numbers(1, 4),
        c: numbers(2, 4),
    };
    let (order, scale) = ([2, 0, 3, 1], [0.5, -2.0, 3.0, 0.1]);
    let other = Space {
        a: order.map(|n| space.a[n]).to_vec(),
        b: order.map(|n| space.b[n] * scale[n]).to_vec(),
        c: order.map(|n| space.c[n] / scale[n]).to_vec(),
    };
    let x = numbers(3, 40);
    let [one, two] = [&space, &other].map(|space| outputs(space, &x));
    assert!(farthest(&one, &two) < 1e-13);
    // What shows is the modes and the products.
    let mut third = other.clone();
    third.c[1] *= 1.1;
    let moved = outputs(&third, &x);
    assert!(farthest(&one, &moved) > 1e-3);
}

/// All orders of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let shorter = orders(last);
    shorter
        .iter()
        .flat_map(|order| {
            (0..count).map(|place| {
                let mut order = order.clone();
                order.insert(place, last);
                order
            })
        })
        .collect()
}

/// Differences that count as none.
const SAME: f64 = 1e-12;

/// The least number of parameters by which a state space becomes a smaller target whose modes all show:
/// `min_P ‖(a ∘ b ∘ c)_{N*+1:N}‖₀ + ‖a_{1:N*} − a*‖₀ + ‖(b ∘ c)_{1:N*} − (b* ∘ c*)‖₀`.
fn least(space: &Space, target: &Space) -> (usize, Vec<usize>) {
    let few = target.a.len();
    let cost = |order: &Vec<usize>| {
        let kept = (0..few).map(|i| {
            let n = order[i];
            let decay = (space.a[n] - target.a[i]).abs() > SAME;
            let product = space.b[n] * space.c[n] - target.b[i] * target.c[i];
            usize::from(decay) + usize::from(product.abs() > SAME)
        });
        let silent = order[few..]
            .iter()
            .map(|n| usize::from((space.a[*n] * space.b[*n] * space.c[*n]).abs() > SAME));
        kept.chain(silent).sum::<usize>()
    };
    let all = orders(space.a.len());
    let best = all.into_iter().min_by_key(cost).unwrap();
    (cost(&best), best)
}

/// Change what the order says, and nothing of `b`: the count of what was changed.
fn changed(space: &Space, target: &Space, order: &[usize]) -> (Space, usize) {
    let mut other = space.clone();
    for (i, n) in order.iter().enumerate() {
        match i < target.a.len() {
            true => {
                other.a[*n] = target.a[i];
                other.c[*n] = target.b[i] * target.c[i] / space.b[*n];
            }
            false => other.c[*n] = 0.0,
        }
    }
    let moved = |old: &[f64], new: &[f64]| {
        let pairs = old.iter().zip(new);
        pairs.filter(|(a, b)| (*a - *b).abs() > SAME).count()
    };
    let count = moved(&space.a, &other.a) + moved(&space.c, &other.c);
    (other, count)
}

#[test]
fn t5_the_least_adjustment_is_enough_and_leaves_b_alone() {
    let space = Space {
        a: vec![0.9, 0.4, -0.7, 0.2],
        b: vec![1.0, -0.5, 0.7, 0.4],
        c: vec![0.3, 1.2, -0.8, 0.6],
    };
    let unlike = Space {
        a: vec![0.5, -0.2],
        b: vec![0.7, 1.1],
        c: vec![-0.9, 0.4],
    };
    // One of its modes is the first's, decay and product.
    let alike = Space {
        a: vec![0.4, -0.2],
        b: vec![2.0, 1.1],
        c: vec![-0.3, 0.4],
    };
    // Only the decay is.
    let half = Space {
        c: vec![0.9, 0.4],
        ..alike.clone()
    };
    let x = numbers(4, 50);
    for (target, count) in [(&unlike, 6), (&alike, 4), (&half, 5)] {
        let (few, order) = least(&space, target);
        assert_eq!(few, count);
        let (other, made) = changed(&space, target, &order);
        assert_eq!(made, count);
        assert!(farthest(&outputs(target, &x), &outputs(&other, &x)) < 1e-13);
    }
}
