//! Lines in an SVG: named series of points arrive, a drawing leaves.

use plotters::prelude::*;

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// From 0, evenly.
    Linear,
    /// By powers of ten; points at or below 0 are left out.
    Logarithmic,
    /// Shares, ever closer to 1: 90 %, 99 %, 99.9 % at equal distances.
    Nines,
}

impl Axis {
    /// Where a value is drawn.
    fn place(self, value: f64) -> Option<f64> {
        match self {
            Self::Linear => Some(value),
            Self::Logarithmic => (value > 0.0).then(|| value.log10()),
            Self::Nines => (value < 1.0).then(|| -(1.0 - value).log10()),
        }
        .filter(|place| place.is_finite())
    }

    /// What is written at a place.
    fn label(self, place: f64) -> String {
        match self {
            Self::Linear => crate::report::scaled(place).trim_end().replace(".00", ""),
            Self::Logarithmic => {
                crate::report::scaled(10_f64.powf(place)).trim_end().replace(".00", "")
            }
            Self::Nines => {
                let percent = 100.0 - 100.0 * 10_f64.powf(-place);
                format!("{percent:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
                    + " %"
            }
        }
    }
}

/// A drawing.
#[derive(Clone, Debug)]
pub struct Plot<'a> {
    /// Its heading.
    pub title: &'a str,
    /// What the horizontal axis shows, and how.
    pub x: (&'a str, Axis),
    /// What the vertical axis shows, and how.
    pub y: (&'a str, Axis),
    /// Whether points are joined; else each is a dot.
    pub is_joined: bool,
    /// Names and points.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
}

const SIZE: (u32, u32) = (760, 340);

impl Plot<'_> {
    /// Draws it; none if there are not at least two points to draw.
    ///
    /// # Errors
    /// The drawing library refuses.
    pub fn svg(&self) -> Result<Option<String>, String> {
        let series: Vec<(&str, Vec<(f64, f64)>)> = self
            .series
            .iter()
            .map(|(name, points)| {
                let place = |&(x, y): &(f64, f64)| Some((self.x.1.place(x)?, self.y.1.place(y)?));
                (name.as_str(), points.iter().filter_map(place).collect())
            })
            .collect();
        if series.iter().map(|(_, points)| points.len()).sum::<usize>() < 2 {
            return Ok(None);
        }
        let mut svg = String::new();
        self.draw(&mut svg, &series).map_err(|error| error.to_string())?;
        Ok(Some(svg))
    }

    fn draw(
        &self,
        svg: &mut String,
        series: &[(&str, Vec<(f64, f64)>)],
    ) -> Result<(), Box<dyn std::error::Error>> {
        let points = || series.iter().flat_map(|(_, points)| points);
        let (x, y) =
            (range(points().map(|p| p.0), self.x.1), range(points().map(|p| p.1), self.y.1));
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(78)
            .build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(labels(&x, self.x.1))
            .y_labels(labels(&y, self.y.1))
            .x_desc(self.x.0)
            .y_desc(self.y.0)
            .x_label_formatter(&|&place| self.x.1.label(place))
            .y_label_formatter(&|&place| self.y.1.label(place))
            .draw()?;
        for (number, (name, points)) in series.iter().enumerate() {
            let colour = Palette99::pick(number).to_rgba();
            let drawn = if self.is_joined {
                chart
                    .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            } else {
                let dot = |&point: &(f64, f64)| Circle::new(point, 3, colour.filled());
                chart.draw_series(points.iter().map(dot))?
            };
            drawn.label(*name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled())
            });
        }
        if series.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .draw()?;
        }
        root.present()?;
        Ok(())
    }
}

/// From the least to the largest place, never empty; a linear axis starts at 0.
fn range(places: impl Iterator<Item = f64> + Clone, axis: Axis) -> std::ops::Range<f64> {
    let least = places.clone().fold(f64::INFINITY, f64::min);
    let largest = places.fold(f64::NEG_INFINITY, f64::max);
    let from = if axis == Axis::Logarithmic { least.floor() } else { least.min(0.0) };
    let to = if axis == Axis::Linear { largest * 1.05 } else { largest.ceil() };
    if to - from > f64::EPSILON { from..to } else { from..from + 1.0 }
}

/// How many labels an axis has: one for each power of ten, where it goes by those.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few powers of ten")]
fn labels(range: &std::ops::Range<f64>, axis: Axis) -> usize {
    if axis == Axis::Linear { 11 } else { (range.end - range.start).ceil() as usize + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> Option<String> {
        Plot {
            title: "a <title>",
            x: ("share", Axis::Nines),
            y: ("us", Axis::Logarithmic),
            is_joined: true,
            series: vec![("one".to_owned(), points.clone()), ("two".to_owned(), points)],
        }
        .svg()
        .unwrap()
    }

    #[test]
    fn points_become_a_drawing_and_too_few_do_not() {
        let svg = plot(vec![(0.0, 5.0), (0.9, 50.0), (0.999, 700.0)]).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(svg.contains("99.9 %") && svg.contains("a &lt;title&gt;"), "{svg}");
        assert!(svg.contains("polyline"));
        assert_eq!(plot(vec![]), None);
        assert_eq!(plot(vec![(1.0, 5.0), (0.5, 0.0)]), None, "neither has a place");
    }

    #[test]
    fn equal_points_do_not_make_an_empty_axis() {
        assert!(plot(vec![(0.0, 10.0), (0.0, 10.0)]).is_some());
    }

    #[test]
    fn labels_are_for_people() {
        assert_eq!(Axis::Nines.label(3.0), "99.9 %");
        assert_eq!(Axis::Logarithmic.label(3.0), "1 k");
        assert_eq!(Axis::Linear.label(2_500_000.0), "2.50 M");
    }
}
