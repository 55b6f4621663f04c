//! Plots: bars of medians with their smallest and largest values, and curves of what grows, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, IntoDrawingArea, IntoFont, IntoLogRange, LineSeries,
    PathElement, RGBColor, Rectangle, SVGBackend, SeriesLabelPosition, Text, WHITE,
};

use crate::sample::Spread;

const OURS: RGBColor = RGBColor(0x1b, 0x6c, 0xa8);
const THEIRS: RGBColor = RGBColor(0xa0, 0xa0, 0xa0);
const CURVES: [RGBColor; 4] =
    [OURS, RGBColor(0xd9, 0x5f, 0x02), RGBColor(0x1b, 0x9e, 0x77), RGBColor(0x75, 0x70, 0xb3)];

const WIDTH: u32 = 720;
const ROW: i32 = 28;
const LEFT: i32 = 150;
const RIGHT: i32 = 110;
const TOP: i32 = 40;

/// A bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// Whose.
    pub(crate) name: &'static str,
    /// Its length.
    pub(crate) spread: Spread,
    /// Whether it is one of ours.
    pub(crate) ours: bool,
}

/// Draws bars beside each other.
pub(crate) fn bars(path: &Path, title: &str, bars: &[Bar]) -> Result<()> {
    let rows = i32::try_from(bars.len())?;
    let height = u32::try_from(TOP + rows * ROW + 12)?;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE).map_err(not_drawn)?;
    let largest = bars.iter().map(|bar| bar.spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(i32::try_from(WIDTH)? - LEFT - RIGHT);
    let place = |value: f64| LEFT + whole(value / largest * room);
    let text = |size: i32| ("sans-serif", size).into_font().color(&BLACK);
    area.draw(&Text::new(title.to_owned(), (8, 8), text(18))).map_err(not_drawn)?;
    for (row, bar) in (0..).zip(bars) {
        let (top, color) = (TOP + row * ROW, if bar.ours { OURS } else { THEIRS });
        let Spread { median, min, max } = bar.spread;
        let body = [(LEFT, top), (place(median), top + ROW - 8)];
        area.draw(&Text::new(bar.name.to_owned(), (8, top + 3), text(14))).map_err(not_drawn)?;
        area.draw(&Rectangle::new(body, color.filled())).map_err(not_drawn)?;
        let middle = top + (ROW - 8) / 2;
        let range = PathElement::new([(place(min), middle), (place(max), middle)], BLACK);
        area.draw(&range).map_err(not_drawn)?;
        for end in [min, max] {
            let (x, tick) = (place(end), 4);
            let mark = PathElement::new([(x, middle - tick), (x, middle + tick)], BLACK);
            area.draw(&mark).map_err(not_drawn)?;
        }
        let label = Text::new(short(median), (place(max) + 8, top + 3), text(14));
        area.draw(&label).map_err(not_drawn)?;
    }
    area.present().map_err(not_drawn)
}

/// A curve: its name and its points.
pub(crate) type Curve = (String, Vec<(f64, f64)>);

/// Draws curves over sizes, which grow by factors.
pub(crate) fn curves(path: &Path, title: &str, unit: &str, curves: &[Curve]) -> Result<()> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let highest = points().map(|(_, y)| *y).fold(f64::MIN_POSITIVE, f64::max);
    let (least, most) =
        points().fold((f64::MAX, f64::MIN), |(least, most), (x, _)| (least.min(*x), most.max(*x)));
    let area = SVGBackend::new(path, (WIDTH, 320)).into_drawing_area();
    area.fill(&WHITE).map_err(not_drawn)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(56)
        .build_cartesian_2d((least..most).log_scale(), 0.0..highest * 1.2)
        .map_err(not_drawn)?;
    chart
        .configure_mesh()
        .y_desc(unit)
        .x_label_formatter(&|x| short(*x))
        .draw()
        .map_err(not_drawn)?;
    for ((name, points), color) in curves.iter().zip(CURVES.iter().cycle()) {
        let color = *color;
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))
            .map_err(not_drawn)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        chart
            .draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))
            .map_err(not_drawn)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(not_drawn)?;
    area.present().map_err(not_drawn)
}

fn not_drawn(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

#[expect(clippy::cast_possible_truncation, reason = "a place within the picture")]
fn whole(value: f64) -> i32 {
    value.round() as i32
}

/// A number for people, in three digits or so.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 999_500.0 {
        format!("{:.3} M", value / 1e6)
    } else if size >= 9_995.0 {
        format!("{:.1} k", value / 1e3)
    } else if size >= 99.95 {
        format!("{value:.0}")
    } else if size >= 9.995 || size == 0.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_digits() {
        let said: Vec<_> = [0.0, 0.954, 12.34, 123.4, 64_600.0, 1_234_567.0].map(short).to_vec();
        assert_eq!(said, ["0.0", "0.95", "12.3", "123", "64.6 k", "1.235 M"]);
    }

    #[test]
    fn bars_and_curves_become_pictures() {
        let directory = tempfile::tempdir().unwrap();
        let spread = Spread { median: 2.0, min: 1.0, max: 3.0 };
        let path = directory.path().join("bars.svg");
        bars(&path, "title", &[Bar { name: "one", spread, ours: true }]).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("one"));
        let path = directory.path().join("curves.svg");
        curves(&path, "title", "ns", &[("hit".to_owned(), vec![(10.0, 1.0), (100.0, 2.0)])])
            .unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("hit"));
    }
}
