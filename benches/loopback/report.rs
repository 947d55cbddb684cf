//! Figures to a table: medians, ratios, and whether they keep their bounds.

use crate::proc::Kind;

/// The results of one figure for two parties, one per round.
#[derive(Clone, Default)]
pub struct Versus {
    /// Whom the figure is about: ours, or the near end.
    subject: Vec<f64>,
    /// With whom it is compared: the copier, or the far end.
    yardstick: Vec<f64>,
}

impl Versus {
    pub fn push(&mut self, kind: Kind, value: f64) {
        match kind {
            Kind::Ours => self.subject.push(value),
            Kind::Copier => self.yardstick.push(value),
        }
    }

    /// Two parts of a row of proxies taken together, round by round.
    pub fn plus(&self, other: &Self) -> Self {
        let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect();
        Self {
            subject: sum(&self.subject, &other.subject),
            yardstick: sum(&self.yardstick, &other.yardstick),
        }
    }

    /// From both programs at each end to both ends of each program.
    pub fn transposed([near, far]: [Self; 2]) -> [Self; 2] {
        [
            Self { subject: near.subject, yardstick: far.subject },
            Self { subject: near.yardstick, yardstick: far.yardstick },
        ]
    }

    /// Subject to yardstick; `None` where one of them is nothing, or less.
    fn ratio(&self) -> Option<f64> {
        let (subject, yardstick) = (median(&self.subject)?, median(&self.yardstick)?);
        (subject > 0.0 && yardstick > 0.0).then(|| subject / yardstick)
    }
}

/// What a figure must stay under, and should.
#[derive(Clone, Copy)]
pub enum Bound {
    Below(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Below(limit) => value < limit,
            Self::AtMost(limit) => value <= limit,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Below(limit) => format!("< {}", grouped(limit)),
            Self::AtMost(limit) => format!("<= {}", grouped(limit)),
        }
    }
}

/// Which number the bounds are about.
#[derive(Clone, Copy)]
pub enum Judged {
    Ratio,
    /// Ours alone, shown and compared with so many decimals.
    Ours(usize),
}

/// Whose figures are side by side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Between {
    Programs,
    /// Of a tunnel.
    Ends,
}

impl Between {
    fn heads(self) -> [&'static str; 2] {
        match self {
            Self::Programs => ["ours", "copier"],
            Self::Ends => ["near end", "far end"],
        }
    }
}

/// One line of a table.
pub struct Line {
    pub title: String,
    /// The figures, or why there are none.
    pub versus: Result<Versus, String>,
    pub between: Between,
    pub judged: Judged,
    pub must: Option<Bound>,
    pub aim: Option<Bound>,
}

impl Line {
    fn cells(&self) -> [String; 7] {
        let bound = |bound: Option<Bound>| bound.map_or("-".into(), Bound::text);
        let (must, aim) = (bound(self.must), bound(self.aim));
        let title = self.title.clone();
        let versus = match &self.versus {
            Ok(versus) => versus,
            Err(why) => {
                let (none, why) = (String::from("-"), format!("n/a ({why})"));
                return [title, why, none.clone(), none.clone(), must, aim, none];
            }
        };
        let decimals = match self.judged {
            Judged::Ratio => None,
            Judged::Ours(decimals) => Some(decimals),
        };
        let ratio = versus.ratio().map_or("-".into(), |r| format!("{r:.2}"));
        [
            title,
            spread(&versus.subject, decimals),
            spread(&versus.yardstick, decimals),
            ratio,
            must,
            aim,
            self.verdict(versus).into(),
        ]
    }

    /// Judges the number as it is shown, so that nobody is told that 1.00 is more than 1.00.
    fn verdict(&self, versus: &Versus) -> &'static str {
        let shown = match self.judged {
            Judged::Ratio => versus.ratio().map(|ratio| round(ratio, 2)),
            Judged::Ours(decimals) => median(&versus.subject).map(|value| round(value, decimals)),
        };
        let misses = |bound: Option<Bound>, value| bound.is_some_and(|b: Bound| !b.holds(value));
        match shown {
            None => "-",
            Some(_) if self.must.is_none() && self.aim.is_none() => "-",
            Some(value) if misses(self.must, value) => "MUST MISSED",
            Some(value) if misses(self.aim, value) => "aim missed",
            Some(_) => "ok",
        }
    }
}

/// A line that is judged by the ratio of both.
pub fn by_ratio(title: &str, versus: Versus, must: Bound, aim: Bound) -> Line {
    Line {
        title: title.into(),
        versus: Ok(versus),
        between: Between::Programs,
        judged: Judged::Ratio,
        must: Some(must),
        aim: Some(aim),
    }
}

/// A line that is judged by our own figure.
pub fn by_ours(
    title: String,
    versus: Result<Versus, String>,
    decimals: usize,
    must: Option<Bound>,
    aim: Option<Bound>,
) -> Line {
    let judged = Judged::Ours(decimals);
    Line { title, versus, between: Between::Programs, judged, must, aim }
}

/// Prints the lines as Markdown tables, one for each pair of parties.
pub fn print(lines: &[Line]) {
    for between in [Between::Programs, Between::Ends] {
        let lines: Vec<&Line> = lines.iter().filter(|line| line.between == between).collect();
        if !lines.is_empty() {
            println!();
            print_table(between, &lines);
        }
    }
}

/// Prints a table whose source is aligned too.
fn print_table(between: Between, lines: &[&Line]) {
    let [subject, yardstick] = between.heads();
    let head = ["figure", subject, yardstick, "ratio", "must", "aim", "verdict"].map(String::from);
    let rows: Vec<[String; 7]> =
        std::iter::once(head).chain(lines.iter().map(|line| line.cells())).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    for (index, row) in rows.iter().enumerate() {
        println!("{}", table_row(row, &widths));
        if index == 0 {
            println!("{}", rule(&widths));
        }
    }
}

/// The first and the last column hold words, the others numbers.
fn is_words(column: usize) -> bool {
    column == 0 || column == 6
}

fn table_row(row: &[String; 7], widths: &[usize; 7]) -> String {
    let cell = |(column, text): (usize, &String)| {
        let width = widths[column];
        if is_words(column) {
            format!(" {text:<width$} |")
        } else {
            format!(" {text:>width$} |")
        }
    };
    let cells: String = row.iter().enumerate().map(cell).collect();
    format!("|{cells}")
}

fn rule(widths: &[usize; 7]) -> String {
    let cell = |(column, &width): (usize, &usize)| {
        let dashes = "-".repeat(width + 1);
        let end = if is_words(column) { '-' } else { ':' };
        format!("{dashes}{end}|")
    };
    let cells: String = widths.iter().enumerate().map(cell).collect();
    format!("|{cells}")
}

/// Median and, if there was more than one round, the least and the greatest.
fn spread(values: &[f64], decimals: Option<usize>) -> String {
    let Some(median) = median(values) else {
        return "-".into();
    };
    let text = |value| match decimals {
        Some(decimals) => format!("{value:.decimals$}"),
        None => three_digits(value),
    };
    if values.len() == 1 {
        return text(median);
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({}..{})", text(median), text(least), text(greatest))
}

/// Enough digits to tell two results apart.
pub fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn grouped(limit: f64) -> String {
    let plain = format!("{limit}");
    match plain.len() {
        4 if !plain.contains('.') => format!("{},{}", &plain[..1], &plain[1..]),
        _ => plain,
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (middle, is_odd) = (sorted.len() / 2, sorted.len() % 2 == 1);
    match sorted.as_slice() {
        [] => None,
        sorted if is_odd => Some(sorted[middle]),
        sorted => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn round(value: f64, decimals: usize) -> f64 {
    let scale = 10f64.powi(decimals as i32);
    (value * scale).round() / scale
}
