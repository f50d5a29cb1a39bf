//! Results as a bar chart: plain SVG, which needs no library and scales.
//!
//! ```text
//!   title
//!        ■ thalweg, P = 1   ■ thalweg, P = 2
//!   q0   ▆▆▆▆▆▆▆▆▆▆▆▆▆▆ 31.2
//!        ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆ 60.1
//!   q1   ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆ 48.7
//!        │         │         │         │
//!        0        20        40        60 M events/s
//! ```
//!
//! A series is an engine at a parallelism; a group of bars is a query. Both keep the order in which the results come. Where
//! a query was run several times, the best run is shown.

use std::fmt::Write;

use super::QueryResult;

/// Colours of the series in turn, told apart by people with colour-blindness too (Okabe and Ito).
pub(crate) const COLOURS: [&str; 7] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#666666"];

const WIDTH: f64 = 820.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 70.0;
/// With one line of legend.
const TOP: f64 = 76.0;
const BOTTOM: f64 = 48.0;
const BAR: f64 = 16.0;
const BAR_GAP: f64 = 2.0;
const GROUP_GAP: f64 = 14.0;

/// A chart of the rates, in million events per second, as the text of an SVG file.
///
/// ```
/// # let line = r#"{"engine":"thalweg","version":"0.1.0","query":"q0","parallelism":1,"events":100,"seconds":0.5,"events_per_s":2e6,"steady_events_per_s":2e6,"out_count":92,"net_count":92,"digest":"00000000000000ff","cpu_seconds":0.4,"peak_rss_bytes":4096}"#;
/// # let result = serde_json::from_str(line)?;
/// let svg = thalweg_tools::report::plot("NEXMark, 10 M events", &[result]);
/// assert!(svg.starts_with("<svg ") && svg.contains(">2.00</text>"));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn plot(title: &str, results: &[QueryResult]) -> String {
    let queries = distinct(results.iter().map(|result| result.query.clone()));
    let series = distinct(results.iter().map(series_of));
    let rate = |query: &String, name: &String| {
        let runs = results.iter().filter(|result| result.query == *query && series_of(result) == *name);
        runs.map(|result| result.events_per_s / 1e6).filter(|rate| rate.is_finite()).reduce(f64::max)
    };
    // Bars by query; a series that lacks the query leaves no hole.
    let groups: Vec<(&String, Vec<(usize, f64)>)> = queries
        .iter()
        .map(|query| {
            let bars = series.iter().enumerate();
            (query, bars.filter_map(|(i, name)| Some((i, rate(query, name)?))).collect())
        })
        .collect();

    let fastest = groups.iter().flat_map(|(_, bars)| bars).map(|bar| bar.1).fold(0.0, f64::max);
    let step = tick_step(fastest);
    let ticks = (fastest / step).ceil().max(1.0);
    let x = |rate: f64| LEFT + rate / (ticks * step) * (WIDTH - LEFT - RIGHT);
    let bars: usize = groups.iter().map(|(_, bars)| bars.len()).sum();
    let legend = legend(&series);
    let top = TOP + legend.last().map_or(0.0, |place| place.1);
    let floor = top + bars as f64 * (BAR + BAR_GAP) + groups.len() as f64 * GROUP_GAP;
    let height = floor + BOTTOM;

    let mut svg = Svg::new(WIDTH, height);
    svg.text(LEFT, 28.0, "start", "font-size=\"17\" font-weight=\"600\"", title);
    for (i, (name, (x, y))) in series.iter().zip(legend).enumerate() {
        svg.rect(x, 45.0 + y, 11.0, 11.0, COLOURS[i % COLOURS.len()]);
        svg.text(x + 17.0, 55.0 + y, "start", "", name);
    }
    for tick in 0..=ticks as u32 {
        let value = f64::from(tick) * step;
        svg.line(x(value), top - 6.0, x(value), floor);
        svg.text(x(value), floor + 18.0, "middle", "fill=\"#666\"", &short(value, step));
    }
    svg.text(x(ticks * step / 2.0), floor + 37.0, "middle", "fill=\"#666\"", "million events per second");

    let mut y = top;
    for (query, bars) in groups {
        let middle = y + bars.len() as f64 * (BAR + BAR_GAP) / 2.0;
        svg.text(LEFT - 10.0, middle + 4.0, "end", "font-weight=\"600\"", query);
        for (series, rate) in bars {
            svg.rect(LEFT, y, x(rate) - LEFT, BAR, COLOURS[series % COLOURS.len()]);
            svg.text(x(rate) + 6.0, y + BAR - 4.0, "start", "", &format!("{rate:.2}"));
            y += BAR + BAR_GAP;
        }
        y += GROUP_GAP;
    }
    svg.finish()
}

fn series_of(result: &QueryResult) -> String {
    format!("{}, P = {}", result.engine, result.parallelism)
}

/// Where each name of the legend goes: from left to right, in as many lines as it takes.
fn legend(series: &[String]) -> Vec<(f64, f64)> {
    const LINE: f64 = 19.0;
    let (mut x, mut y) = (LEFT, 0.0);
    let mut places = Vec::new();
    for name in series {
        let width = 17.0 + 7.0 * name.chars().count() as f64 + 16.0; // About 7 for a character.
        if x > LEFT && x + width > WIDTH {
            (x, y) = (LEFT, y + LINE);
        }
        places.push((x, y));
        x += width;
    }
    places
}

/// Each value once, in the order of first appearance.
pub(crate) fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// The distance of grid lines: 1, 2 or 5 times a power of ten, for about five of them.
fn tick_step(max: f64) -> f64 {
    if max <= 0.0 {
        return 1.0;
    }
    let rough = max / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
    factor * power
}

/// A multiple of `step` without digits that say nothing.
fn short(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.decimals$}")
}

/// The text of an SVG under construction.
pub(crate) struct Svg(String);

impl Svg {
    pub(crate) fn new(width: f64, height: f64) -> Svg {
        let mut svg = Svg(String::new());
        svg.push(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#222\">\n"
        ));
        svg.rect(0.0, 0.0, width, height, "#fff");
        svg
    }

    pub(crate) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str) {
        self.push(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>\n"
        ));
    }

    pub(crate) fn line(&mut self, x1: f64, y1: f64, x2: f64, y2: f64) {
        self.push(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>\n"
        ));
    }

    pub(crate) fn polyline(&mut self, points: &[(f64, f64)], stroke: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        self.push(format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"2\"/>\n"
        ));
    }

    pub(crate) fn text(&mut self, x: f64, y: f64, anchor: &str, attributes: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {attributes}>{text}</text>\n"
        ));
    }

    fn push(&mut self, part: std::fmt::Arguments<'_>) {
        self.0.write_fmt(part).expect("memory takes all");
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_lines_are_round_numbers() {
        for (max, step) in
            [(0.0, 1.0), (0.9, 0.2), (5.0, 1.0), (7.0, 2.0), (31.0, 10.0), (96.0, 20.0), (240.0, 50.0)]
        {
            assert!((tick_step(max) - step).abs() < 1e-9, "{max}: {} is not {step}", tick_step(max));
        }
    }

    #[test]
    fn a_plot_has_a_bar_for_each_query_and_series_and_takes_any_text() {
        let result = |query: &str, parallelism, events_per_s| QueryResult {
            engine: "a<b&c".into(),
            version: "1".into(),
            query: query.into(),
            parallelism,
            events: 1,
            seconds: 1.0,
            events_per_s,
            steady_events_per_s: events_per_s,
            out_count: 0,
            net_count: 0,
            digest: String::new(),
            cpu_seconds: 1.0,
            peak_rss_bytes: 0,
        };
        let runs = [result("q0", 1, 1e6), result("q0", 1, 3e6), result("q0", 2, 5e6), result("q1", 1, 2e6)];
        let svg = plot("t", &runs);
        assert!(svg.contains(">3.00<") && !svg.contains(">1.00<")); // The better of two runs.
        assert_eq!(svg.matches("<rect").count(), 1 + 2 + 3); // Background, legend, bars.
        assert!(svg.contains("a&lt;b&amp;c, P = 1"));
        assert!(plot("nothing", &[]).ends_with("</svg>\n"));
        assert!(!plot("slow", &[result("q0", 1, f64::NAN)]).contains("NaN"));
    }
}
