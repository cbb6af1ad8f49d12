//! Curves on logarithmic scales, as SVG. Knows numbers and labels only.

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    pub(crate) label: String,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;
const COLORS: [&str; 4] = ["#1b6ca8", "#d1495b", "#3c8d40", "#8a5fbf"];

/// One axis: from the logarithm of the least to that of the most, a decade at least.
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let least = values.clone().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let most = values.fold(f64::NEG_INFINITY, f64::max);
        let (from, to) = (least.log10().floor(), most.log10().ceil());
        Self { from, to: to.max(from + 1.0) }
    }

    fn share(&self, value: f64) -> f64 {
        (value.log10() - self.from) / (self.to - self.from)
    }

    fn decades(&self) -> Vec<f64> {
        let mut all = Vec::new();
        let mut at = self.from;
        while at <= self.to {
            all.push(10_f64.powf(at));
            at += 1.0;
        }
        all
    }
}

/// The picture.
pub(crate) fn draw(title: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let (x, y) = (Axis::over(points().map(|point| point.0)), Axis::over(points().map(|point| point.1)));
    let across = |value: f64| LEFT + x.share(value) * (WIDTH - LEFT - RIGHT);
    let up = |value: f64| HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"22\" \
         font-size=\"14\">{title}</text>\n"
    );
    let mut line = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    for value in x.decades() {
        let at = across(value);
        line(format!("<path d=\"M{at:.1} {TOP}V{:.1}\" stroke=\"#ddd\"/>", HEIGHT - BOTTOM));
        line(format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value}</text>", HEIGHT - BOTTOM + 18.0));
    }
    for value in y.decades() {
        let at = up(value);
        line(format!("<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\"/>", WIDTH - RIGHT));
        line(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            short(value)
        ));
    }
    for ((place, curve), color) in curves.iter().enumerate().zip(COLORS) {
        let mut path = String::new();
        for (at, (size, value)) in curve.points.iter().enumerate() {
            let verb = if at == 0 { 'M' } else { 'L' };
            path.push_str(&format!("{verb}{:.1} {:.1}", across(*size), up(*value)));
            line(format!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{color}\"/>", across(*size), up(*value)));
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful of curves")]
        let label = TOP + 14.0 + 18.0 * place as f64;
        line(format!("<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"));
        line(format!("<text x=\"{:.1}\" y=\"{label}\" fill=\"{color}\">{}</text>", WIDTH - RIGHT + 12.0, curve.label));
    }
    svg + "</svg>\n"
}

fn short(value: f64) -> String {
    if value >= 1.0 { format!("{value:.0}") } else { format!("{value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_inside_the_picture() {
        let curve = Curve { label: "x".to_owned(), points: vec![(10.0, 0.3), (18_000.0, 6.0)] };
        let svg = draw("t", &[curve]);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("<circle cx=\"60.0\""), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
