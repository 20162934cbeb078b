//! `cargo xtask bench kernels`: the operations of peft-kernels against what the machine can do.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::program;
use crate::workspace;

#[derive(clap::Args)]
pub struct Arguments {
    /// Small tensors, timed a few times, to see that it runs; the result goes to the build folder
    #[arg(long)]
    quick: bool,
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// The `ops` benchmark of peft-kernels, instead of building it
    #[arg(long, value_name = "PATH")]
    bench_binary: Option<PathBuf>,
    /// Folder for the result, instead of that of the processor's class in docs/benchmarks/kernels
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What the benchmark prints.
#[derive(Debug, Deserialize, Serialize)]
struct Figures {
    threads: u32,
    quick: bool,
    copy_gb_s: f64,
    product_gflop_s: f64,
    /// What multiplies numbers of two bytes; `None` if nothing of its own does.
    bf16_units: Option<String>,
    bf16_gflop_s: f64,
    kernels: Vec<Figure>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Figure {
    kernel: String,
    pass: String,
    ms: f64,
    /// The same composed of Burn's operations.
    burn_ms: Option<f64>,
    rate: f64,
    unit: String,
    of_limit: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    #[serde(flatten)]
    figures: Figures,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let machine = Machine::look();
    let figures: Figures = program::figures(
        "ops",
        arguments.bench_binary.as_deref(),
        arguments.threads,
        &[Some("--json"), arguments.quick.then_some("--quick")],
    )?;
    let report = Report { machine, figures };
    let out = match (&arguments.out, arguments.quick) {
        (None, false) => workspace::root()
            .join("docs/benchmarks/kernels")
            .join(report.machine.class()),
        (out, quick) => program::folder(out.as_deref(), quick),
    };
    let path = program::write(&out, "kernels", &report, &markdown(&report))?;
    println!("{}", path.display());
    Ok(())
}

/// What the products in bf16 reach of the units' rate.
fn shares(kernels: &[Figure]) -> String {
    let products = kernels.iter().filter(|f| f.unit.ends_with("in bf16"));
    let shares: Vec<f64> = products.map(|f| 100.0 * f.of_limit).collect();
    let least = shares.iter().copied().reduce(f64::min);
    let most = shares.iter().copied().reduce(f64::max);
    match (least, most) {
        (Some(least), Some(most)) => {
            format!(", of which products in bf16 reach {least:.0} to {most:.0} %")
        }
        _ => String::new(),
    }
}

fn markdown(report: &Report) -> String {
    let Report { machine, figures } = report;
    let mut text = format!(
        "# The kernels against the machine\n\n<!-- Written by `cargo xtask bench kernels`; changes by hand \
         are lost. -->\n\n{}\n\
         On all threads a copy moves {:.1} GB/s, a matrix product computes {:.1} GFLOP/s in f32, and {} {:.1} in bf16 of what is in \
         registers{}. Raw figures: [kernels.json](kernels.json).\n",
        machine.line(figures.threads),
        figures.copy_gb_s,
        figures.product_gflop_s,
        figures
            .bf16_units
            .as_deref()
            .unwrap_or("the processor, which has no units for it,"),
        figures.bf16_gflop_s,
        shares(&figures.kernels),
    );
    if figures.quick {
        text.push_str("\n**A quick run on small tensors: nothing to conclude from.**\n");
    }
    text.push_str(
        "\n| kernel | pass | ms | rate | of the limit | Burn's operations, ms | times as long |\n\
         |---|---|--:|--:|--:|--:|--:|\n",
    );
    for f in &figures.kernels {
        let ratio = |burn: f64| (format!("{burn:.3}"), format!("{:.1}", burn / f.ms));
        let (burn, ratio) = f.burn_ms.map(ratio).unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {:.1} {} | {:.0} % | {burn} | {ratio} |",
            f.kernel,
            f.pass,
            f.ms,
            f.rate,
            f.unit,
            100.0 * f.of_limit
        );
    }
    text.push_str(
        "\nEach figure is the least of many repetitions. Bytes count each tensor once, read or written; the \
         limit of a rate in GB/s is the copy, of one in GFLOP/s the product, of one in bf16 its units. A kernel whose tensors stay in \
         the cache can be faster than the copy. Backward passes compute all gradients of their inputs.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_figure() {
        let figure = |burn_ms| Figure {
            kernel: "softmax 4×8".into(),
            pass: "forward".into(),
            ms: 0.5,
            burn_ms,
            rate: 12.0,
            unit: "GB/s".into(),
            of_limit: 0.75,
        };
        let figures = Figures {
            threads: 2,
            quick: true,
            copy_gb_s: 16.0,
            product_gflop_s: 100.0,
            bf16_units: None,
            bf16_gflop_s: 90.0,
            kernels: vec![figure(Some(1.0)), figure(None)],
        };
        assert_eq!(shares(&figures.kernels), "");
        let of = |of_limit| Figure {
            unit: "GFLOP/s in bf16".into(),
            of_limit,
            ..figure(None)
        };
        assert_eq!(
            shares(&[of(0.8), figure(None), of(0.5)]),
            ", of which products in bf16 reach 50 to 80 %"
        );
        let machine = Machine::look();
        let text = markdown(&Report { machine, figures });
        assert!(
            text.contains("| softmax 4×8 | forward | 0.500 | 12.0 GB/s | 75 % | 1.000 | 2.0 |\n")
        );
        assert!(text.contains("| softmax 4×8 | forward | 0.500 | 12.0 GB/s | 75 % |  |  |\n"));
        assert!(text.contains("A quick run"));
    }
}
