//! Short searches with known answers: what the gates of `examples/gates.rs` measure at length.

use peft_search::problems::{Continuous, SynthPeft};
use peft_search::*;

/// Share of SynthPEFT's largest logarithmic hypervolume after 60 trials, four at a time, with noise.
fn share(sampler: impl Sampler + 'static, seed: u64) -> f64 {
    let problem = SynthPeft::SPACE
        .problem(Scale::Log10, [40.0, SynthPeft::ACCURACY])
        .unwrap();
    let mut search = Search::new(problem, sampler, seed);
    let synth = SynthPeft::default();
    let mut tried = Vec::new();
    while tried.len() < 60 {
        for proposal in search.ask(4).unwrap() {
            let noise = 0.004 * Counter::new(seed, 1001, proposal.trial).normal();
            let measured = vec![synth.accuracy(&proposal.configuration) + noise];
            search
                .tell(proposal.trial, Outcome::Complete { measured })
                .unwrap();
            tried.push(proposal.configuration);
        }
    }
    synth.volumes(&tried)[1] / SynthPeft::BEST_LOG
}

#[test]
fn the_model_beats_random_and_evolution_on_an_enumerable_space() {
    let own = share(
        Bayes {
            samples: 4,
            ..Bayes::default()
        },
        1,
    );
    let evolution = share(
        Nsga2 {
            population: 20,
            ..Nsga2::default()
        },
        1,
    );
    let parzen = share(Motpe::default(), 1);
    let random = share(Random, 1);
    assert!(own > 0.88, "{own}");
    assert!(
        own > evolution + 0.02 && own > random + 0.02,
        "{own} {evolution} {parzen} {random}"
    );
    assert!(parzen > 0.5 && random > 0.5, "{parzen} {random}");
}

#[test]
fn published_configurations_are_never_beaten_by_what_follows_them() {
    let problem = SynthPeft::SPACE
        .problem(Scale::Log10, [40.0, SynthPeft::ACCURACY])
        .unwrap();
    let mut search = Search::new(problem, Bayes::default(), 2);
    let warm = SynthPeft::SPACE.published();
    for configuration in &warm {
        search.enqueue(configuration.clone()).unwrap();
    }
    let synth = SynthPeft::default();
    let proposals = search.ask(8).unwrap();
    let first: Vec<&Configuration> = proposals.iter().take(5).map(|p| &p.configuration).collect();
    assert_eq!(first, warm.iter().collect::<Vec<_>>());
    let tried: Vec<Configuration> = proposals.into_iter().map(|p| p.configuration).collect();
    assert!(synth.volumes(&tried)[1] >= synth.volumes(&warm)[1]);
}

#[test]
fn a_continuous_front_is_approached() {
    let problem = Continuous::Zdt2;
    let bayes = Bayes {
        initial: 10,
        noisy: false,
        ..Bayes::default()
    };
    let mut search = Search::new(problem.problem().unwrap(), bayes, 1);
    let mut rows = Vec::new();
    for _ in 0..20 {
        for proposal in search.ask(1).unwrap() {
            let x = problem.point(search.problem().space(), &proposal.configuration);
            let measured = problem.evaluate(&x);
            rows.push(measured.clone());
            search
                .tell(proposal.trial, Outcome::Complete { measured })
                .unwrap();
        }
    }
    let gap = (problem.best() - problem.volume(&rows)).log10();
    assert!(gap < -0.5, "{gap}");
}

#[test]
fn three_objectives_of_which_two_are_known() {
    let space = AutoPeft::BERT_BASE.space().unwrap();
    let objectives = vec![
        Objective::known("cost", Goal::Minimise, Scale::Log10),
        Objective::measured("accuracy", Goal::Maximise),
        Objective::known("layers", Goal::Minimise, Scale::Linear),
    ];
    let known = |c: &Configuration| {
        let layers = c.0[3..].iter().filter(|level| **level == 0).count();
        vec![AutoPeft::BERT_BASE.cost(c), layers as f64]
    };
    let problem = Problem::new(space, objectives, Some(vec![40.0, 0.6, 13.0]), known).unwrap();
    let volume = |sampler: Box<dyn Fn() -> Search>| {
        let mut search = sampler();
        for _ in 0..32 {
            for proposal in search.ask(1).unwrap() {
                let measured = vec![SynthPeft::default().accuracy(&proposal.configuration)];
                search
                    .tell(proposal.trial, Outcome::Complete { measured })
                    .unwrap();
            }
        }
        let front = search.history().front(search.problem());
        let rows: Vec<Vec<f64>> = front.into_iter().map(|(_, scores)| scores).collect();
        peft_search::hypervolume::hypervolume(&rows, &[-40f64.log10(), 0.6, -13.0])
    };
    let (a, b) = (problem.clone(), problem);
    let model = Bayes {
        initial: 16,
        noisy: false,
        ..Bayes::default()
    };
    let own = volume(Box::new(move || Search::new(a.clone(), model.clone(), 1)));
    let random = volume(Box::new(move || Search::new(b.clone(), Random, 1)));
    assert!(own > 1.05 * random, "{own} {random}");
}

/// Two searches of SynthPEFT with drawn surrogates, of which the first 8 trials are uniform.
#[cfg(feature = "nuts")]
#[test]
fn drawn_surrogates_choose_and_choose_the_same_again() {
    for knowledge in [Knowledge::Exact, Knowledge::Modelled] {
        let run = || {
            let problem = SynthPeft::SPACE
                .problem(Scale::Log10, [40.0, SynthPeft::ACCURACY])
                .unwrap();
            let bayes = Bayes {
                initial: 8,
                samples: 2,
                knowledge,
                ..Bayes::autopeft_nuts()
            };
            let mut search = Search::new(problem, bayes, 3);
            let mut tried = Vec::new();
            for _ in 0..3 {
                for proposal in search.ask(4).unwrap() {
                    let measured = vec![SynthPeft::default().accuracy(&proposal.configuration)];
                    search
                        .tell(proposal.trial, Outcome::Complete { measured })
                        .unwrap();
                    tried.push((proposal.configuration, proposal.origin));
                }
            }
            tried
        };
        let first = run();
        let modelled = first.iter().filter(|(_, origin)| *origin == Origin::Model);
        assert_eq!(modelled.count(), 4);
        assert_eq!(first, run());
    }
}

#[cfg(not(feature = "nuts"))]
#[test]
fn drawn_surrogates_are_refused_before_the_first_trial_where_there_are_none() {
    use peft_search::study::{Description, Study};

    let problem = SynthPeft::SPACE
        .problem(Scale::Log10, [40.0, SynthPeft::ACCURACY])
        .unwrap();
    let bayes = Bayes::autopeft_nuts();
    let mut search = Search::new(problem.clone(), bayes.clone(), 1);
    let error = search.ask(1).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("saas-nuts") && text.contains("feature `nuts`"),
        "{text}"
    );

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("study");
    let description = Description::new("synth", &problem, Settings::Bayes(bayes), 1).unwrap();
    assert_eq!(
        Study::begin(&folder, description, problem).err(),
        Some(error)
    );
    assert!(!folder.exists());
}
