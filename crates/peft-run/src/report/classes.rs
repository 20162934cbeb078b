//! Each class by itself, and what is taken for what.

use peft_report::{Block, Cell, Column, Section, Table};
use peft_train::Confusion;

use super::text::{count, figure};

/// Most classes of which all rows are shown as a matrix, and most pairs that are listed of more.
const MATRIX: usize = 20;
const PAIRS: usize = 30;
/// Most classes that are listed one by one.
const LISTED: usize = 500;

/// What is told of classes; `rows` says of which rows.
pub fn section(confusion: &Confusion, labels: &[String], rows: &str) -> Section {
    let name = |class: usize| {
        labels
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    };
    let mut blocks = vec![Block::Text(format!(
        "Of the {rows} rows, with the adapter that is kept."
    ))];
    if let Some(only) = confusion.only_prediction() {
        let only = name(only);
        blocks.push(Block::Warning(format!(
            "Every row is predicted to be “{only}”: the other classes are not learned."
        )));
    }
    if confusion.classes <= LISTED {
        blocks.push(Block::Table(by_class(confusion, &name)));
    }
    blocks.push(Block::Table(match confusion.classes <= MATRIX {
        true => matrix(confusion, &name),
        false => mistakes(confusion, &name),
    }));
    Section::new("Class by class", blocks)
}

fn by_class(confusion: &Confusion, name: &dyn Fn(usize) -> String) -> Table {
    let row = |(class, of): (usize, peft_train::ClassFigures)| {
        vec![
            Cell::new(name(class)),
            count(of.support).into(),
            figure(of.precision).into(),
            figure(of.recall).into(),
            Cell::new(figure(of.f1)).shaded(of.f1),
        ]
    };
    Table {
        caption: String::new(),
        columns: vec![
            Column::text("class"),
            Column::number("rows"),
            Column::number("precision"),
            Column::number("recall"),
            Column::number("F1"),
        ],
        rows: confusion
            .by_class()
            .into_iter()
            .enumerate()
            .map(row)
            .collect(),
    }
}

fn matrix(confusion: &Confusion, name: &dyn Fn(usize) -> String) -> Table {
    let mut columns = vec![Column::text("true ↓  predicted →")];
    columns.extend((0..confusion.classes).map(|class| Column::number(name(class))));
    let row = |(class, counts): (usize, Vec<u64>)| {
        let all = counts.iter().sum::<u64>().max(1) as f64;
        let cells = counts.into_iter().enumerate().map(|(predicted, rows)| {
            Cell::new(count(rows))
                .shaded(rows as f64 / all)
                .strong_if(predicted == class)
        });
        std::iter::once(Cell::new(name(class)))
            .chain(cells)
            .collect()
    };
    Table {
        caption: "Rows by true class (down) and predicted class (across); the shade is the share of the true class."
            .into(),
        columns,
        rows: confusion.matrix().into_iter().enumerate().map(row).collect(),
    }
}

fn mistakes(confusion: &Confusion, name: &dyn Fn(usize) -> String) -> Table {
    let mut wrong: Vec<[u64; 3]> = (confusion.counts.iter().copied())
        .filter(|[actual, predicted, _]| actual != predicted)
        .collect();
    wrong.sort_by_key(|[.., rows]| std::cmp::Reverse(*rows));
    let row = |[actual, predicted, rows]: &[u64; 3]| {
        vec![
            Cell::new(name(*actual as usize)),
            name(*predicted as usize).into(),
            count(*rows).into(),
        ]
    };
    Table {
        caption: "The most frequent mistakes.".into(),
        columns: vec![
            Column::text("true class"),
            Column::text("predicted class"),
            Column::number("rows"),
        ],
        rows: wrong.iter().take(PAIRS).map(row).collect(),
    }
}
