//! A histogram of times with fixed bounds: counting is one comparison a bound, and nothing is ever allocated.

use std::fmt::{self, Write};
use std::time::Duration;

/// Bounds for work: 0.1 to 100 ms. A frame at 30 fps leaves 33 ms for all work together.
pub const WORK: &[u32] = &[100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000];

/// Bounds for the age of pictures: 5 ms to 10 s. A viewer on a thin link is promised one second.
pub const AGE: &[u32] =
    &[5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];

/// Most bounds that a histogram has.
const BOUNDS: usize = 11;

/// How often times fell below each of some bounds.
#[derive(Clone, Copy, Debug)]
pub struct Histogram {
    /// Upper bounds in microseconds, inclusive and rising.
    bounds: &'static [u32],
    /// Times in each bucket, not cumulated; the last is for what exceeds every bound.
    counts: [u64; BOUNDS + 1],
    sum: Duration,
}

impl Histogram {
    /// An empty one with these bounds in microseconds, rising, at most 11.
    pub const fn new(bounds: &'static [u32]) -> Self {
        assert!(bounds.len() <= BOUNDS, "room is set aside for eleven bounds");
        Self { bounds, counts: [0; BOUNDS + 1], sum: Duration::ZERO }
    }

    /// Counts one time.
    pub fn observe(&mut self, time: Duration) {
        let bucket = self.bounds.iter().position(|&us| time <= Duration::from_micros(us.into()));
        self.counts[bucket.unwrap_or(self.bounds.len())] += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// Times counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Writes the samples of metric `name` in Prometheus' text format.
    ///
    /// * `labels`: further labels, each followed by a comma: `format="png",`; or empty.
    ///
    /// # Errors
    /// When `out` is full.
    pub fn write(&self, out: &mut impl Write, name: &str, labels: &str) -> fmt::Result {
        let mut below = 0;
        for (us, count) in self.bounds.iter().zip(self.counts) {
            below += count;
            writeln!(out, "{name}_bucket{{{labels}le=\"{}\"}} {below}", f64::from(*us) / 1e6)?;
        }
        let count = self.count();
        writeln!(out, "{name}_bucket{{{labels}le=\"+Inf\"}} {count}")?;
        let braced = Braced(labels);
        writeln!(out, "{name}_sum{braced} {}", self.sum.as_secs_f64())?;
        writeln!(out, "{name}_count{braced} {count}")
    }
}

/// Labels in braces; nothing if there are none.
struct Braced<'a>(&'a str);

impl fmt::Display for Braced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim_end_matches(',') {
            "" => Ok(()),
            labels => write!(f, "{{{labels}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_at_a_bound_is_below_it() {
        let mut histogram = Histogram::new(&[100, 2500]);
        for us in [0, 100, 101, 2500, 2501, 90_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut out = String::new();
        histogram.write(&mut out, "x_seconds", "format=\"png\",").expect("a String");
        assert_eq!(
            out,
            "x_seconds_bucket{format=\"png\",le=\"0.0001\"} 2\nx_seconds_bucket{format=\"png\",le=\"0.0025\"} 4\n\
             x_seconds_bucket{format=\"png\",le=\"+Inf\"} 6\nx_seconds_sum{format=\"png\"} 90.005202\n\
             x_seconds_count{format=\"png\"} 6\n"
        );
        out.clear();
        Histogram::new(&[]).write(&mut out, "y", "").expect("a String");
        assert_eq!(out, "y_bucket{le=\"+Inf\"} 0\ny_sum 0\ny_count 0\n");
    }

    proptest! {
        /// Buckets are cumulative, never fall, and the last equals the count.
        #[test]
        fn buckets_rise(times in prop::collection::vec(0u64..20_000_000, 0..50)) {
            let mut histogram = Histogram::new(AGE);
            times.iter().for_each(|&us| histogram.observe(Duration::from_micros(us)));
            let mut out = String::new();
            histogram.write(&mut out, "x", "").expect("a String");
            let values = |part: &str| -> Vec<u64> {
                let lines = out.lines().filter(|line| line.starts_with(part));
                lines.map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number")).collect()
            };
            let buckets = values("x_bucket");
            prop_assert_eq!(buckets.len(), AGE.len() + 1);
            prop_assert!(buckets.is_sorted());
            prop_assert_eq!(&buckets[AGE.len()..], values("x_count"));
            for (us, bucket) in AGE.iter().zip(&buckets) {
                prop_assert_eq!(*bucket as usize, times.iter().filter(|&&t| t <= u64::from(*us)).count());
            }
        }
    }
}
