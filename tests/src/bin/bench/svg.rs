// SPDX-License-Identifier: GPL-3.0-or-later
//! Drawings: curves over a logarithmic axis, and bars. Readable on light and
//! on dark ground, by colour and by the text at each curve's end.

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 385.0;

/// Mid tones that stand out from white and from black.
const COLOURS: [&str; 7] = ["#d9480f", "#b8860b", "#2f80ed", "#9b51e0", "#219653", "#d6336c", "#6b7785"];

/// A curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Its name.
    pub label: String,
    /// Which colour.
    pub colour: usize,
    /// Points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Its name.
    pub label: String,
    /// Which colour.
    pub colour: usize,
    /// How long.
    pub value: f64,
}

/// Time against the number of machines; both axes are logarithmic, for the slowest are a
/// hundred times slower. `bound` is a dashed line.
pub fn curves(title: &str, machines: &[usize], curves: &[Curve], bound: f64) -> String {
    let values = || curves.iter().flat_map(|c| &c.points).map(|p| p.1).chain([bound]);
    let low = values().fold(f64::MAX, f64::min) * 0.8;
    let high = values().fold(f64::MIN, f64::max) * 1.25;
    let most = machines.iter().copied().max().unwrap_or(2).max(2) as f64;
    let x = |n: f64| LEFT + (RIGHT - LEFT) * n.ln() / most.ln();
    let y = |s: f64| BOTTOM - (BOTTOM - TOP) * (s / low).ln() / (high / low).ln();
    let mut out = head(title, HEIGHT);
    for seconds in ticks(low, high) {
        let at = y(seconds);
        out.push_str(&format!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>"));
        text(&mut out, LEFT - 8.0, at + 4.0, "end", &format!("{seconds} s"));
    }
    for n in machines {
        let at = x(*n as f64);
        out.push_str(&format!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{BOTTOM}\"/>"));
        text(&mut out, at, BOTTOM + 20.0, "middle", &n.to_string());
    }
    text(&mut out, (LEFT + RIGHT) / 2.0, BOTTOM + 42.0, "middle", "machines that start together");
    let at = y(bound);
    out.push_str(&format!("<path class=\"bound\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>"));

    let mut ends = vec![(RIGHT, at, "bound: size / link".to_owned(), None)];
    for curve in curves {
        let colour = COLOURS[curve.colour % COLOURS.len()];
        let points: Vec<String> =
            curve.points.iter().map(|(n, s)| format!("{:.1},{:.1}", x(*n), y(*s))).collect();
        out.push_str(&format!("<g fill=\"{colour}\"><title>{}</title>", escape(&curve.label)));
        out.push_str(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
            points.join(" ")
        ));
        for (n, s) in &curve.points {
            out.push_str(&format!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>", x(*n), y(*s)));
        }
        out.push_str("</g>\n");
        if let Some((n, s)) = curve.points.last() {
            ends.push((x(*n), y(*s), curve.label.clone(), Some(colour)));
        }
    }
    legend(&mut out, ends);
    out.push_str("</svg>\n");
    out
}

/// The names right of the curves, at the height of their ends and never over one another.
fn legend(out: &mut String, mut ends: Vec<(f64, f64, String, Option<&str>)>) {
    ends.sort_by(|a, b| a.1.total_cmp(&b.1));
    // From the bottom up, each at least a line above the one below it.
    let mut below = BOTTOM + 16.0;
    for (x, y, label, colour) in ends.into_iter().rev() {
        let at = y.min(below - 16.0);
        below = at;
        let (colour, label) = (colour.unwrap_or("currentColor"), escape(&label));
        out.push_str(&format!(
            "<path d=\"M{:.1} {y:.1}L{:.1} {at:.1}\" stroke=\"{colour}\" stroke-dasharray=\"1 3\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" style=\"fill:{colour}\">{label}</text>\n",
            x + 6.0,
            RIGHT + 14.0,
            RIGHT + 18.0,
            at + 4.0
        ));
    }
}

/// Bars with their values, and `bound` as a dashed line through them.
pub fn bars(title: &str, bars: &[Bar], bound: f64) -> String {
    let longest = bars.iter().map(|b| b.value).fold(bound, f64::max);
    let (left, step) = (250.0, 32.0);
    let x = |v: f64| left + (WIDTH - 90.0 - left) * v / longest;
    let foot = TOP + step * bars.len() as f64;
    let mut out = head(title, foot + 34.0);
    for (i, bar) in bars.iter().enumerate() {
        let (y, colour) = (TOP + step * i as f64, COLOURS[bar.colour % COLOURS.len()]);
        out.push_str(&format!(
            "<rect x=\"{left}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>\n",
            y + 4.0,
            x(bar.value) - left,
            step - 8.0
        ));
        text(&mut out, left - 10.0, y + 20.0, "end", &bar.label);
        text(&mut out, x(bar.value) + 8.0, y + 20.0, "start", &format!("{:.1} s", bar.value));
    }
    let at = x(bound);
    out.push_str(&format!("<path class=\"bound\" d=\"M{at:.1} {}V{foot}\"/>\n", TOP - 4.0));
    text(&mut out, at, foot + 18.0, "middle", &format!("bound {bound:.1} s"));
    out.push_str("</svg>\n");
    out
}

fn head(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n<style>\
         svg{{color:#24292f}}text{{font:13px sans-serif;fill:currentColor}}\
         .grid{{stroke:currentColor;stroke-opacity:.15}}\
         .bound{{stroke:currentColor;stroke-dasharray:6 4;stroke-width:1.5}}\
         @media(prefers-color-scheme:dark){{svg{{color:#e6edf3}}}}</style>\n\
         <text x=\"{LEFT}\" y=\"26\" style=\"font-size:15px;font-weight:bold\">{title}</text>\n"
    )
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, what: &str) {
    let what = escape(what);
    out.push_str(&format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>\n"));
}

/// 1, 2, 5, 10, 20, … that lie between.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (-3..6).map(|d| 10f64.powi(d));
    decades.flat_map(|d| [d, 2.0 * d, 5.0 * d]).filter(|t| (low..=high).contains(t)).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags open and close in order; attributes are in quotes.
    fn well_formed(svg: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = svg;
        while let Some(at) = rest.find('<') {
            assert!(!rest[..at].contains('>'), "a stray > before {}", &rest[at..]);
            let end = at + rest[at..].find('>').expect("an end of the tag");
            let tag = &rest[at + 1..end];
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(tag.split([' ', '\n']).next().unwrap());
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "left open: {open:?}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn curves_are_well_formed() {
        let curve = |label: &str, points: &[(f64, f64)]| Curve {
            label: label.into(),
            colour: 0,
            points: points.to_vec(),
        };
        let some = [curve("a < b & \"c\"", &[(1.0, 11.0), (2.0, 12.5)]), curve("none", &[])];
        let svg = curves("Time", &[1, 2], &some, 10.7);
        well_formed(&svg);
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;") && svg.contains("<title>Time</title>"));
        well_formed(&curves("Nothing", &[], &[], 1.0));
    }

    #[test]
    fn bars_are_well_formed() {
        let svg = bars("A", &[Bar { label: "one".into(), colour: 9, value: 12.34 }], 10.0);
        well_formed(&svg);
        assert!(svg.contains(">12.3 s<") && svg.contains(">bound 10.0 s<"));
        well_formed(&bars("Nothing", &[], 1.0));
    }

    #[test]
    fn names_at_the_ends_do_not_overlap() {
        let mut out = String::new();
        let end = |y: f64| (RIGHT, y, "name".to_owned(), None);
        legend(&mut out, vec![end(384.0), end(384.5), end(380.0), end(100.0)]);
        let heights: Vec<f64> = out
            .split("<text ")
            .skip(1)
            .map(|t| t.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!(heights.windows(2).all(|w| w[0] - w[1] >= 16.0), "{heights:?}");
    }

    #[test]
    fn round_ticks() {
        assert_eq!(ticks(8.0, 120.0), [10.0, 20.0, 50.0, 100.0]);
    }
}
