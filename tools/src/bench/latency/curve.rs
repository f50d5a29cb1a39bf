//! Percentile curves as plain SVG: the share of events that take longer on a logarithmic axis, so that each nine has its room.
//!
//! ```text
//!   µs, log │                    ╭──
//!           │             ╭──────╯
//!           │  ───────────╯
//!           └──────┬──────┬──────┬──
//!            p50  p90    p99   p99.9
//! ```

use crate::report::{COLOURS, Svg};

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 50.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 50.0;

/// A curve: its name, and points of (share that takes longer, µs).
pub(super) type Curve = (String, Vec<(f64, f64)>);

/// The text of an SVG file.
pub(super) fn curves(title: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|(_, points)| points.iter().copied());
    let rarest = points().map(|point| point.0).fold(0.1, f64::min);
    // Whole decades; what takes no time at all is drawn on the axis.
    let nines = (-rarest.log10()).ceil().max(1.0);
    let longest = points().map(|point| point.1).fold(1.0, f64::max);
    let shortest = points().map(|point| point.1).fold(longest, f64::min).max(0.01);
    let (low, high) =
        (shortest.log10().floor(), (longest.log10().ceil()).max(shortest.log10().floor() + 1.0));
    let x = |longer: f64| LEFT + -longer.log10() / nines * (WIDTH - LEFT - RIGHT);
    let y = |us: f64| {
        let share = ((us.max(1e-3).log10() - low) / (high - low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    };

    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.text(LEFT, 28.0, "start", "font-size=\"17\" font-weight=\"600\"", title);
    for decade in low as i32..=high as i32 {
        let us = 10f64.powi(decade);
        svg.line(LEFT, y(us), WIDTH - RIGHT, y(us));
        svg.text(LEFT - 8.0, y(us) + 4.0, "end", "fill=\"#666\"", &time(us));
    }
    for nine in 0..=nines as i32 {
        let longer = 10f64.powi(-nine);
        svg.line(x(longer), TOP, x(longer), HEIGHT - BOTTOM);
        svg.text(x(longer), HEIGHT - BOTTOM + 18.0, "middle", "fill=\"#666\"", &percentile(nine));
    }
    let what = "percentile of events, by the time since they were due";
    svg.text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0, "middle", "fill=\"#666\"", what);
    let mut legend = LEFT;
    for (i, (name, points)) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let line: Vec<(f64, f64)> = points.iter().map(|&(longer, us)| (x(longer), y(us))).collect();
        svg.polyline(&line, colour);
        svg.rect(legend, 45.0, 11.0, 11.0, colour);
        svg.text(legend + 17.0, 55.0, "start", "", name);
        legend += 33.0 + 7.0 * name.chars().count() as f64; // About 7 for a character.
    }
    svg.finish()
}

/// A power of ten of µs, in the unit that makes it short.
fn time(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", us / 1e6),
        us if us >= 1e3 => format!("{} ms", us / 1e3),
        us => format!("{us} µs"),
    }
}

/// 0, 90, 99, 99.9 and so on.
fn percentile(nines: i32) -> String {
    match nines {
        0 => "p0".into(),
        1 => "p90".into(),
        2 => "p99".into(),
        n => format!("p99.{}", "9".repeat(n as usize - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_a_line_for_each_curve_and_takes_any_points() {
        let points = vec![(1.0, 1.0), (0.1, 5.0), (0.001, 200.0)];
        let svg = curves("a<b", &[("run".into(), points), ("noise".into(), vec![(1.0, 0.0)])]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("p99.9<") && svg.contains("1 ms") && svg.contains("a&lt;b"));
        assert_eq!([0.1, 100.0, 1e3, 1e7].map(time), ["0.1 µs", "100 µs", "1 ms", "10 s"]);
        for odd in [vec![], vec![(1.0, 0.0), (1e-9, 1e9)]] {
            let svg = curves("t", &[("x".into(), odd)]);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
