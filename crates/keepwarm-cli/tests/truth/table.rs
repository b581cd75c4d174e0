//! The table of a run: situation, side, view, expected, said, counts, grade.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::grade::{Cell, Verdict};

pub(crate) fn render(cells: &[Cell]) -> String {
    let mut text = String::from(
        "\nCounts are said/packets; closed: our FIN, their FIN, our RST, their RST. \"?\": may be \
         unsure.\n\nM  situation               side   view expected        said                 \
         grade\n",
    );
    for cell in cells {
        let said = said(cell);
        let grade = match cell.verdict {
            Verdict::Right => "right",
            Verdict::Unsure => "unsure",
            Verdict::Wrong => "WRONG",
            Verdict::SureAndWrong => "SURE+WRONG",
            Verdict::Free => "-",
        };
        let differ = cell.wrong.iter().filter(|(aspect, _)| *aspect != "verdict");
        let differ: Vec<_> = differ.map(|(aspect, why)| format!("; {aspect}: {why}")).collect();
        let counted = if differ.is_empty() && !cell.counted.starts_with("level") {
            String::new()
        } else {
            cell.counted.clone()
        };
        let one = cell.situation;
        let (side, view) = (cell.side.name(), cell.view.to_string());
        let line = format!(
            "{:<2} {:<23} {side:<6} {view:<4} {:<15} {said:<20} {grade:<10} {counted}{}",
            one.mechanism,
            one.name,
            cell.expected,
            differ.concat(),
        );
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    let count = |verdict| cells.iter().filter(|cell| cell.verdict == verdict).count();
    let wrong = |aspect: &str| {
        cells.iter().filter(|cell| cell.wrong.iter().any(|(one, _)| *one == aspect)).count()
    };
    writeln!(
        text,
        "{} cells: {} right, {} unsure, {} wrong, {} sure and wrong; wrong counts {}, requests {}, words {}",
        cells.len(),
        count(Verdict::Right),
        count(Verdict::Unsure),
        count(Verdict::Wrong),
        count(Verdict::SureAndWrong),
        wrong("counts"),
        wrong("requests"),
        wrong("words"),
    )
    .unwrap();
    text
}

/// Returns each code once, at its highest confidence.
fn said(cell: &Cell) -> String {
    let mut codes = BTreeMap::<&str, (f64, u32)>::new();
    for (code, confidence) in &cell.said {
        let (most, times) = codes.entry(code).or_default();
        *most = most.max(*confidence);
        *times += 1;
    }
    let texts = codes.iter().map(|(code, (confidence, times))| {
        let times = if *times > 1 { format!(" x{times}") } else { String::new() };
        format!("{code} {:.0}{times}", confidence * 100.0)
    });
    let said = texts.collect::<Vec<_>>().join(", ");
    if said.is_empty() { "-".to_owned() } else { said }
}
