//! Properties that hold for all sets of points and all histories.

use peft_search::hypervolume::{Cells, hypervolume, improvement};
use peft_search::pareto::{crowding, dominates, front, ranks};
use peft_search::*;
use proptest::prelude::*;

fn rows(objectives: usize, most: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
    prop::collection::vec(prop::collection::vec(-1.0..1.0f64, objectives), 0..most)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

/// Inclusion and exclusion over all subsets: what the fast ways are checked against.
fn by_inclusion(rows: &[Vec<f64>], reference: &[f64]) -> f64 {
    let mut sum = 0.0;
    for subset in 1u32..1 << rows.len() {
        let mut product = 1.0;
        for (objective, low) in reference.iter().enumerate() {
            let members = (0..rows.len()).filter(|row| subset >> row & 1 == 1);
            let least = members
                .map(|row| rows[row][objective])
                .fold(f64::INFINITY, f64::min);
            product *= (least - low).max(0.0);
        }
        sum += if subset.count_ones() % 2 == 1 {
            product
        } else {
            -product
        };
    }
    sum
}

proptest! {
    #[test]
    fn volume_is_that_of_inclusion_and_exclusion(
        (rows, reference) in (1usize..5).prop_flat_map(|m| {
            (rows(m, 8), prop::collection::vec(-1.2..0.0f64, m))
        }),
    ) {
        let expected = by_inclusion(&rows, &reference);
        prop_assert!(close(hypervolume(&rows, &reference), expected));
    }

    #[test]
    fn volume_is_indifferent_to_order_copies_and_dominated_rows(
        rows in rows(3, 9), shift in -2.0..2.0f64, scale in 0.1..3.0f64,
    ) {
        let reference = [-0.8; 3];
        let whole = hypervolume(&rows, &reference);
        let mut other: Vec<Vec<f64>> = rows.iter().rev().cloned().collect();
        other.extend(rows.iter().take(2).map(|row| row.iter().map(|v| v - 0.1).collect()));
        other.extend(rows.first().cloned());
        prop_assert!(close(hypervolume(&other, &reference), whole));
        let kept: Vec<Vec<f64>> = front(&rows).into_iter().map(|i| rows[i].clone()).collect();
        prop_assert!(close(hypervolume(&kept, &reference), whole));
        let moved: Vec<Vec<f64>> =
            rows.iter().map(|r| r.iter().map(|v| v * scale + shift).collect()).collect();
        let low = reference.map(|v| v * scale + shift);
        prop_assert!(close(hypervolume(&moved, &low), whole * scale.powi(3)));
    }

    #[test]
    fn improvement_is_the_difference_and_never_negative(
        rows in rows(3, 8), point in prop::collection::vec(-1.0..1.0f64, 3),
    ) {
        let reference = [-0.9; 3];
        let mut more = rows.clone();
        more.push(point.clone());
        let difference = hypervolume(&more, &reference) - hypervolume(&rows, &reference);
        let gain = improvement(&rows, &reference, &point);
        prop_assert!(gain >= 0.0 && close(gain, difference));
        // Submodular: what comes after adds less.
        if let Some(other) = rows.first() {
            prop_assert!(gain <= improvement(&rows[1..], &reference, &point) + 1e-12);
            prop_assert!(improvement(&rows, &reference, other) < 1e-12);
        }
    }

    #[test]
    fn cells_are_the_complement(
        pairs in prop::collection::vec([-1.0..1.0f64, -1.0..1.0f64], 0..9),
        y in [-1.0..1.5f64, -1.0..1.5f64],
    ) {
        let reference = [-0.7, -0.6];
        let cells = Cells::new(&pairs, reference);
        let rows: Vec<Vec<f64>> = pairs.iter().map(|row| row.to_vec()).collect();
        prop_assert!(close(cells.improvement(y), improvement(&rows, &reference, &y)));
        // All of a large box: what is not dominated.
        let all = 2.7 * 2.6 - hypervolume(&rows, &reference);
        prop_assert!(close(cells.improvement([2.0, 2.0]), all));
        // Expected improvements: never negative, and their logarithms agree.
        let (mean, deviation) = (y, [0.3, 0.4]);
        let value = cells.expected(mean, deviation);
        prop_assert!(value > 0.0 && close(cells.ln_expected(mean, deviation), value.ln()));
        let known = cells.expected_known(y[0], y[1], 0.4);
        if y[0] > reference[0] {
            prop_assert!(close(cells.ln_expected_known(y[0], y[1], 0.4), known.ln()));
            prop_assert!(close(cells.expected([y[0], y[1]], [1e-13, 0.4]), known));
        }
        // A sharp prediction has the improvement of its mean.
        prop_assert!(close(cells.expected(y, [1e-13; 2]), cells.improvement(y)));
        // Far away the logarithm still falls.
        let far = |away: f64| cells.ln_expected([y[0] - away, y[1] - away], [0.1; 2]);
        prop_assert!(far(50.0).is_finite() && far(60.0) < far(50.0));
    }

    #[test]
    fn front_ranks_and_crowding_agree_with_their_definitions(rows in rows(3, 12)) {
        let kept = front(&rows);
        let ranks = ranks(&rows);
        for row in 0..rows.len() {
            let free = !rows.iter().any(|other| dominates(other, &rows[row]));
            prop_assert_eq!(kept.contains(&row), free);
            prop_assert_eq!(ranks[row] == 0, free);
            for other in 0..rows.len() {
                if dominates(&rows[other], &rows[row]) {
                    prop_assert!(ranks[other] < ranks[row]);
                }
            }
        }
        prop_assert!(crowding(&rows).iter().all(|distance| *distance >= 0.0));
    }
}

/// A space with every kind of parameter.
fn space() -> Space {
    let choices = ["q", "v", "all"].map(str::to_owned).to_vec();
    let sizes = Domain::Ordinal {
        values: vec![16.0, 8.0, 4.0, 1.0, 0.0],
        absent: Some(4),
    };
    let rate = Domain::Real {
        low: 1e-5,
        high: 1e-2,
        log: true,
        levels: 1001,
    };
    let parameters = vec![
        Parameter::new("adapter", Domain::Binary),
        Parameter::new("bottleneck", sizes.clone()).when("adapter", vec![1]),
        Parameter::new("rank", sizes),
        Parameter::new("targets", Domain::Categorical { choices }).when("rank", vec![0, 1, 2, 3]),
        Parameter::new("rate", rate),
        Parameter::new(
            "first",
            Domain::Integer {
                low: 1,
                high: 12,
                log: true,
            },
        ),
    ];
    let nothing = Forbidden(vec![("adapter".into(), 0), ("rank".into(), 4)]);
    Space::new(parameters, vec![nothing]).unwrap()
}

fn problem() -> Problem {
    let objectives = vec![
        Objective::known("cost", Goal::Minimise, Scale::Log10),
        Objective::measured("accuracy", Goal::Maximise),
    ];
    let cost = |c: &Configuration| {
        let size = if c.0[0] == 1 {
            20.0 - 4.0 * f64::from(c.0[1])
        } else {
            0.0
        };
        vec![size + 10.0 * (4.0 - f64::from(c.0[2])) * (1.0 + f64::from(c.0[3])) + 1.0]
    };
    Problem::new(space(), objectives, Some(vec![200.0, 0.0]), cost).unwrap()
}

fn accuracy(c: &Configuration) -> f64 {
    let rate = (f64::from(c.0[4]) / 1000.0 - 0.6).powi(2);
    let size = f64::from(c.0[0]) * 0.2 + 0.1 * (4.0 - f64::from(c.0[2])) + 0.05 * f64::from(c.0[3]);
    0.3 + 0.6 * size - 0.5 * rate - 0.01 * f64::from(c.0[5])
}

fn samplers() -> impl Iterator<Item = impl Fn() -> Box<dyn Sampler>> {
    (0..5).map(|kind| {
        move || -> Box<dyn Sampler> {
            match kind {
                0 => Box::new(Random),
                1 => Box::new(Nsga2 {
                    population: 5,
                    ..Nsga2::default()
                }),
                2 => Box::new(Motpe {
                    initial: 5,
                    ..Motpe::default()
                }),
                3 => Box::new(Bayes {
                    initial: 5,
                    samples: 4,
                    ..Bayes::default()
                }),
                _ => Box::new(Bayes {
                    initial: 5,
                    samples: 4,
                    ..Bayes::autopeft()
                }),
            }
        }
    })
}

/// Asks and tells by a script: each step asks for some trials and tells some that are running.
fn drive(search: &mut Search, script: &[(usize, usize, u8)]) -> Vec<Proposal> {
    let (mut all, mut running) = (Vec::new(), Vec::<Proposal>::new());
    for (ask, tell, how) in script {
        let proposals = search.ask(*ask).unwrap();
        all.extend(proposals.iter().cloned());
        running.extend(proposals);
        for _ in 0..*tell {
            if running.is_empty() {
                break;
            }
            let done = running.remove(usize::from(*how) % running.len());
            let measured = vec![accuracy(&done.configuration)];
            let outcome = match how % 7 {
                0 => Outcome::Failed {
                    reason: "out of memory".into(),
                },
                1 => Outcome::Complete {
                    measured: vec![f64::NAN],
                },
                2 => {
                    search
                        .report(done.trial, 2, vec![measured[0] - 0.1])
                        .unwrap();
                    Outcome::Pruned
                }
                _ => Outcome::Complete { measured },
            };
            search.tell(done.trial, outcome).unwrap();
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn proposals_are_valid_new_and_a_function_of_the_history(
        script in prop::collection::vec((1usize..3, 0usize..3, 0u8..7), 8..11),
        seed in 0u64..1000,
        cut in 0usize..8,
    ) {
        for sampler in samplers() {
            let mut search = Search::new(problem(), sampler(), seed);
            let proposals = drive(&mut search, &script);
            for (index, proposal) in proposals.iter().enumerate() {
                prop_assert_eq!(proposal.trial, index as u64);
                prop_assert!(search.problem().space().check(&proposal.configuration).is_ok());
                let twice = proposals[..index].iter().any(|p| p.configuration == proposal.configuration);
                prop_assert!(!twice);
            }
            // Through a journal of JSON lines, cut anywhere, the same run goes on.
            let cut = search.events().len() * cut / 8;
            let lines: Vec<String> =
                search.events().iter().map(|event| serde_json::to_string(event).unwrap()).collect();
            let read = |line: &String| serde_json::from_str::<Event>(line).unwrap();
            let events: Vec<Event> = lines.iter().map(read).collect();
            let mut again = Search::replay(problem(), sampler(), seed, events[..cut].to_vec()).unwrap();
            prop_assert_eq!(again.events(), &search.events()[..cut]);
            let whole = Search::replay(problem(), sampler(), seed, events).unwrap();
            prop_assert_eq!(whole.history(), search.history());
            prop_assert!(again.ask(1).is_ok());
        }
    }

    #[test]
    fn the_order_in_which_workers_finish_does_not_matter(seed in 0u64..1000, turn in 1usize..5) {
        for sampler in samplers() {
            let finish = |rotate: usize| {
                let mut search = Search::new(problem(), sampler(), seed);
                let mut proposals = search.ask(6).unwrap();
                proposals.rotate_left(rotate);
                for proposal in proposals {
                    let measured = vec![accuracy(&proposal.configuration)];
                    search.tell(proposal.trial, Outcome::Complete { measured }).unwrap();
                }
                search.ask(2).unwrap()
            };
            prop_assert_eq!(finish(0), finish(turn));
        }
    }
}

#[test]
fn known_configurations_come_first_and_once() {
    let mut search = Search::new(problem(), Random, 1);
    let warm = search
        .problem()
        .space()
        .random(&mut Counter::new(1, 0, 0))
        .unwrap();
    search.enqueue(warm.clone()).unwrap();
    assert!(search.enqueue(warm.clone()).is_err());
    let proposals = search.ask(3).unwrap();
    assert_eq!(
        (proposals[0].configuration.clone(), proposals[0].origin),
        (warm, Origin::Enqueued)
    );
    assert!(proposals[1..].iter().all(|p| p.origin == Origin::Random));
    assert!(search.tell(9, Outcome::Pruned).is_err());
    assert!(
        search
            .tell(0, Outcome::Complete { measured: vec![] })
            .is_err()
    );
    search
        .tell(
            0,
            Outcome::Complete {
                measured: vec![0.5],
            },
        )
        .unwrap();
    assert!(search.tell(0, Outcome::Pruned).is_err());
}

#[test]
fn a_space_is_searched_to_its_end_and_no_further() {
    for sampler in samplers() {
        let domain = Domain::Integer {
            low: 1,
            high: 9,
            log: false,
        };
        let space = Space::new(vec![Parameter::new("n", domain)], vec![]).unwrap();
        let objectives = vec![Objective::measured("loss", Goal::Minimise)];
        let problem = Problem::new(space, objectives, None, |_| vec![]).unwrap();
        let mut search = Search::new(problem, sampler(), 3);
        for _ in 0..9 {
            for proposal in search.ask(1).unwrap() {
                let measured = vec![(f64::from(proposal.configuration.0[0]) - 4.0).powi(2)];
                search
                    .tell(proposal.trial, Outcome::Complete { measured })
                    .unwrap();
            }
        }
        assert!(matches!(
            search.ask(1),
            Err(SearchError::Exhausted { tried: 9 })
        ));
        assert_eq!(
            search.history().front(search.problem())[0]
                .0
                .configuration
                .0,
            [4]
        );
    }
}
