use super::*;
use crate::{Configuration, Domain, Event, Goal, Objective, Origin, Parameter, Scale, Space};

/// A single integer, whose value is the known cost.
fn problem() -> Problem {
    let domain = Domain::Integer {
        low: 1,
        high: 1000,
        log: false,
    };
    let space = Space::new(vec![Parameter::new("size", domain)], vec![]).unwrap();
    let objectives = vec![
        Objective::known("cost", Goal::Minimise, Scale::Log10),
        Objective::measured("accuracy", Goal::Maximise),
    ];
    Problem::new(space, objectives, None, |c| vec![f64::from(c.0[0] + 1)]).unwrap()
}

fn history(problem: &Problem, results: &[(u32, f64)]) -> History {
    let mut history = History::default();
    for (trial, (size, accuracy)) in (0..).zip(results) {
        let configuration = Configuration(vec![size - 1]);
        let asked = Event::Asked {
            trial,
            known: problem.known(&configuration).unwrap(),
            configuration,
            origin: Origin::Random,
        };
        history.apply(problem, asked).unwrap();
        let reported = Event::Reported {
            trial,
            resource: 3,
            measured: vec![*accuracy],
        };
        history.apply(problem, reported).unwrap();
    }
    history
}

#[test]
fn rungs_are_powers() {
    let asha = Asha {
        grace: 2,
        reduction: 3,
        most: 60,
        ..Asha::default()
    };
    assert_eq!(asha.rungs(), [2, 6, 18, 54]);
    assert!(asha.check().is_ok());
    assert!(
        Asha {
            reduction: 1,
            ..asha
        }
        .check()
        .is_err()
    );
    assert!(Asha { grace: 0, ..asha }.check().is_err());
}

#[test]
fn small_ones_are_compared_with_small_ones() {
    let problem = problem();
    let near = Asha {
        grace: 3,
        ..Asha::default()
    };
    let all = Asha {
        comparison: Comparison::All,
        ..near
    };
    // Large ones are better throughout; the last small one is second of four of its size, and dominated.
    let results = [
        (900, 0.9),
        (910, 0.91),
        (920, 0.92),
        (10, 0.70),
        (11, 0.50),
        (12, 0.51),
        (13, 0.69),
    ];
    let history = history(&problem, &results);
    let decide = |asha: &Asha, trial: u64| asha.decide(&problem, &history, trial, 1).unwrap();
    assert_eq!(decide(&near, 4), Decision::Stop);
    assert_eq!(decide(&near, 0), Decision::Continue, "on the front");
    assert_eq!(decide(&near, 3), Decision::Continue, "best of its size");
    assert_eq!(decide(&all, 4), Decision::Stop);
    // The same results without its own size are no reason to stop it.
    let wide = Asha {
        reduction: 2,
        ..near
    };
    assert_eq!(
        wide.decide(&problem, &history, 6, 1).unwrap(),
        Decision::Continue
    );
}

#[test]
fn first_comers_and_other_resources_go_on_and_diverged_ones_stop() {
    let problem = problem();
    let asha = Asha {
        grace: 3,
        ..Asha::default()
    };
    let alone = history(&problem, &[(10, 0.1)]);
    assert_eq!(
        asha.decide(&problem, &alone, 0, 1).unwrap(),
        Decision::Continue
    );
    let off = Asha { grace: 2, ..asha };
    let two = history(&problem, &[(10, 0.9), (11, 0.1)]);
    assert_eq!(
        off.decide(&problem, &two, 1, 1).unwrap(),
        Decision::Continue
    );
    let diverged = history(&problem, &[(10, 0.9), (11, f64::NAN)]);
    assert_eq!(
        asha.decide(&problem, &diverged, 1, 1).unwrap(),
        Decision::Stop
    );
    assert!(asha.decide(&problem, &two, 9, 1).is_err());
}
