//! Rates as a bar chart on a logarithmic axis: stores can be a hundred times apart, and loads too.
//!
//! ```text
//!   rmw update    ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆ 24 M
//!                 ▆▆▆▆▆▆▆▆▆▆ 290 k
//!   append scan   ▆▆▆▆▆▆▆▆▆▆▆▆ 1.1 M
//!                 │         │         │
//!                10 k      1 M      100 M  operations per second
//! ```

use super::outcome::Outcome;
use crate::report::{COLOURS, Svg, distinct};

const WIDTH: f64 = 820.0;
const LEFT: f64 = 140.0;
const RIGHT: f64 = 80.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 48.0;
const BAR: f64 = 14.0;
const GROUP_GAP: f64 = 12.0;

/// The text of an SVG file.
pub(super) fn rates(title: &str, outcomes: &[Outcome]) -> String {
    let backends = distinct(outcomes.iter().map(|outcome| outcome.backend.to_owned()));
    let groups = distinct(outcomes.iter().map(Outcome::name));
    let logs = || outcomes.iter().map(|outcome| outcome.ops_per_s().log10()).filter(|log| log.is_finite());
    let low = logs().fold(f64::INFINITY, f64::min).floor().min(3.0);
    let high = logs().fold(f64::NEG_INFINITY, f64::max).ceil().max(low + 1.0);
    let x = |log: f64| LEFT + (log.max(low) - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let floor = TOP + outcomes.len() as f64 * BAR + groups.len() as f64 * GROUP_GAP;

    let mut svg = Svg::new(WIDTH, floor + BOTTOM);
    svg.text(LEFT, 28.0, "start", "font-size=\"17\" font-weight=\"600\"", title);
    let mut legend = LEFT;
    for (i, backend) in backends.iter().enumerate() {
        svg.rect(legend, 45.0, 11.0, 11.0, COLOURS[i % COLOURS.len()]);
        svg.text(legend + 17.0, 55.0, "start", "", backend);
        legend += 33.0 + 7.0 * backend.chars().count() as f64; // About 7 for a character.
    }
    for decade in low as i32..=high as i32 {
        let at = x(f64::from(decade));
        svg.line(at, TOP - 6.0, at, floor);
        svg.text(at, floor + 18.0, "middle", "fill=\"#666\"", &short(10f64.powi(decade)));
    }
    svg.text((LEFT + WIDTH - RIGHT) / 2.0, floor + 37.0, "middle", "fill=\"#666\"", "operations per second");

    let mut y = TOP;
    for group in &groups {
        svg.text(LEFT - 10.0, y + BAR - 3.0, "end", "font-weight=\"600\"", group);
        for outcome in outcomes.iter().filter(|outcome| outcome.name() == *group) {
            let colour = backends.iter().position(|backend| backend == outcome.backend).unwrap_or(0);
            let end = x(outcome.ops_per_s().log10());
            svg.rect(LEFT, y, end - LEFT, BAR - 2.0, COLOURS[colour % COLOURS.len()]);
            svg.text(end + 6.0, y + BAR - 4.0, "start", "", &short(outcome.ops_per_s()));
            y += BAR;
        }
        y += GROUP_GAP;
    }
    svg.finish()
}

/// Two digits, in thousands or millions.
fn short(rate: f64) -> String {
    let (number, unit) = match rate {
        rate if rate >= 1e6 => (rate / 1e6, " M"),
        rate if rate >= 1e3 => (rate / 1e3, " k"),
        rate => (rate, ""),
    };
    if number < 9.95 && number.fract() > 0.0 {
        format!("{number:.1}{unit}")
    } else {
        format!("{number:.0}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::state::outcome::tests::outcome;

    #[test]
    fn a_bar_for_each_outcome_and_ten_times_as_much_is_a_decade_longer() {
        let outcomes = [("heap", "update", 2e6), ("fjall", "update", 2e5), ("heap", "create", 2e4)]
            .map(|(a, b, c)| outcome(a, b, c));
        let svg = rates("t", &outcomes);
        assert_eq!(svg.matches("<rect").count(), 1 + 2 + 3, "background, legend, bars: {svg}");
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("height=\"12.0\""))
            .map(|line| {
                line.split("width=\"")
                    .nth(1)
                    .and_then(|rest| rest.split('"').next())
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        let [update, fjall, create] = widths[..] else { panic!("three bars: {svg}") };
        assert!((update - fjall - (fjall - create)).abs() < 0.2 && create > 0.0, "{widths:?}");
        assert!(svg.contains(">2.0 M<") || svg.contains(">2 M<"), "{svg}");
        assert!(!rates("nothing", &[]).contains("NaN"));
    }

    #[test]
    fn rates_are_short() {
        assert_eq!([950.0, 1_500.0, 24_000_000.0].map(short), ["950", "1.5 k", "24 M"]);
    }
}
