//! Which parameters matter, and what the configurations on the front have in common.

use peft_plot::{Anchor, COLOURS, Drawing, FAINT};

use super::axes::WIDTH;
use super::rows::text;
use super::{Figure, short};
use crate::Domain;
use crate::study::Study;

/// Most bars, and most rows and columns of the map.
const MOST: usize = 40;

/// Bars of each parameter's importance to each measured objective.
pub fn importance(study: &Study, shares: &[Vec<f64>]) -> Option<Figure> {
    let problem = study.problem();
    let parameters = problem.space().parameters();
    let measured = problem.measured();
    let total = |index: usize| shares.iter().map(|share| share[index]).sum::<f64>();
    let mut order: Vec<usize> = (0..parameters.len()).collect();
    order.sort_by(|&a, &b| total(b).total_cmp(&total(a)).then(a.cmp(&b)));
    order.truncate(MOST);
    let top = order
        .iter()
        .flat_map(|&index| shares.iter().map(move |share| share[index]));
    let top = top.fold(0.0, f64::max);
    if !(top > 0.0 && top.is_finite()) {
        return None;
    }
    let (left, right, bar) = (190.0, WIDTH - 70.0, 12.0);
    let row = bar * shares.len() as f64 + 8.0;
    let legend = if shares.len() > 1 { 26.0 } else { 6.0 };
    let mut drawing = Drawing::new(WIDTH, legend + row * order.len() as f64 + 10.0);
    if shares.len() > 1 {
        let mut x = left;
        for (number, &objective) in measured.iter().enumerate() {
            let name = &problem.objectives()[objective].name;
            drawing.area(
                (x, 6.0),
                (x + 12.0, 18.0),
                COLOURS[number % COLOURS.len()],
                1.0,
            );
            drawing.text((x + 18.0, 16.0), name, Anchor::Start, 12.0);
            x += 44.0 + 6.6 * name.chars().count() as f64;
        }
    }
    for (place, &index) in order.iter().enumerate() {
        let y = legend + row * place as f64;
        let middle = y + bar * shares.len() as f64 / 2.0 + 4.0;
        drawing.text(
            (left - 10.0, middle),
            &parameters[index].name,
            Anchor::End,
            12.0,
        );
        for (number, share) in shares.iter().enumerate() {
            let y = y + bar * number as f64;
            let x = left + (right - left) * share[index] / top;
            drawing.area(
                (left, y),
                (x.max(left + 0.5), y + bar - 1.0),
                COLOURS[number % COLOURS.len()],
                1.0,
            );
            let percent = format!("{} %", short((1000.0 * share[index]).round() / 10.0));
            drawing.text((x + 6.0, y + bar - 2.0), &percent, Anchor::Start, 11.0);
        }
    }
    Some(Figure {
        title: "Which parameters matter".into(),
        words: "By the model's length scales, 1/ℓ², in parts of the whole: how fast the objective changes along each. \
                A guess from few trials."
            .into(),
        svg: drawing.finish(),
    })
}

/// The levels of the configurations on the front: a row a trial, a column a parameter.
pub fn levels(study: &Study) -> Option<Figure> {
    let problem = study.problem();
    let space = problem.space();
    let objectives = problem.objectives();
    let first = objectives
        .iter()
        .position(|objective| objective.known)
        .unwrap_or(0);
    let mut front = study.history().front(problem);
    front.sort_by(|a, b| {
        b.1[first]
            .total_cmp(&a.1[first])
            .then(a.0.number.cmp(&b.0.number))
    });
    front.truncate(MOST);
    if front.is_empty() {
        return None;
    }
    let columns: Vec<usize> = (0..space.parameters().len()).take(MOST).collect();
    let longest = columns
        .iter()
        .map(|&c| space.parameters()[c].name.chars().count())
        .max()?;
    let (left, height) = (190.0, 22.0);
    let top = 16.0 + 6.6 * longest as f64;
    let width = ((WIDTH - 12.0 - left) / columns.len() as f64).min(72.0);
    let mut drawing = Drawing::new(WIDTH, top + height * (front.len() + 1) as f64 + 20.0);
    for (place, &column) in columns.iter().enumerate() {
        let name = &space.parameters()[column].name;
        let x = left + width * (place as f64 + 0.5) + 4.0;
        let half = 3.1 * name.chars().count() as f64;
        drawing.upwards((x, top - 8.0 - half), name);
    }
    for (line, (trial, scores)) in front.iter().enumerate() {
        let y = top + height * line as f64;
        let values: Vec<String> = objectives
            .iter()
            .zip(scores)
            .map(|(objective, score)| short(objective.value(*score)))
            .collect();
        let label = format!("{} · {}", trial.number, values.join(" · "));
        drawing.text((left - 10.0, y + 15.0), &label, Anchor::End, 12.0);
        for (place, &column) in columns.iter().enumerate() {
            let x = left + width * place as f64;
            let (from, to) = ((x + 1.0, y + 1.0), (x + width - 1.0, y + height - 1.0));
            let parameter = &space.parameters()[column];
            let level = trial.configuration.0[column];
            if !space.is_active(&trial.configuration, column) {
                drawing.line((from.0, to.1), (to.0, from.1), FAINT, 1.0);
                continue;
            }
            let share = match parameter.domain {
                Domain::Categorical { .. } => 0.25,
                _ => parameter.place(level),
            };
            drawing.area(from, to, COLOURS[0], 0.06 + 0.74 * share.clamp(0.0, 1.0));
            if parameter.domain != Domain::Binary {
                let words = text(&parameter.value(level));
                let most = ((width - 4.0) / 6.0).max(1.0) as usize;
                let words: String = words.chars().take(most).collect();
                drawing.text((x + width / 2.0, y + 15.0), &words, Anchor::Middle, 11.0);
            }
        }
    }
    // Of flags the share of the front that has them.
    let y = top + height * front.len() as f64 + 4.0;
    let flags: Vec<usize> = (0..columns.len())
        .filter(|&place| space.parameters()[columns[place]].domain == Domain::Binary)
        .collect();
    if !flags.is_empty() {
        drawing.text(
            (left - 10.0, y + 15.0),
            "on, of the front",
            Anchor::End,
            12.0,
        );
    }
    for place in flags {
        let on = front
            .iter()
            .filter(|(trial, _)| trial.configuration.0[columns[place]] == 1)
            .count();
        let x = left + width * (place as f64 + 0.5);
        let percent = format!("{:.0} %", 100.0 * on as f64 / front.len() as f64);
        drawing.text((x, y + 15.0), &percent, Anchor::Middle, 11.0);
    }
    let names: Vec<&str> = objectives
        .iter()
        .map(|objective| objective.name.as_str())
        .collect();
    Some(Figure {
        title: "What the front is made of".into(),
        words: format!(
            "A row a configuration (trial · {}), a column a parameter: the darker the higher, flags are dark where they \
             are on, struck out is what does not count.",
            names.join(" · ")
        ),
        svg: drawing.finish(),
    })
}
