//! The constants of the sensor's depth arithmetic, by their usual names.
//!
//! Source of every value: libfreenect2 (commit fd64c5d), `src/depth_packet_processor.cpp` (`Parameters`),
//! `src/cpu_depth_packet_processor.cpp` and `src/libfreenect2.cpp`, where they were recovered from
//! Microsoft's decoder. Depth is in mm, phases in rad, amplitudes in the sensor's own unit.
#![allow(clippy::approx_constant)] // With upstream's digits, not with all of them.

/// Turns of phase per unit of the P0 tables, halved: the angle is -P0 · `P0_SCALE` · π. Not exactly 1/32768;
/// every published decoder but one has this figure.
pub(crate) const P0_SCALE: f64 = 0.000_031;
/// Amplitude scale of each frequency (80, 16 and 120 MHz): `ab_multiplier_per_frq`.
pub(crate) const FREQUENCY_SCALE: [f32; 3] = [1.322_581, 1.0, 1.612_903];
/// Amplitude per length of a complex vector: `ab_multiplier`.
pub(crate) const AMPLITUDE_SCALE: f32 = 0.666_666_7;
/// Phase steps of the three exposures of a frequency, rad: `phase_in_rad`.
pub(crate) const PHASE_STEPS: [f32; 3] = [0.0, 2.094_395, 4.188_79];
/// Infrared output per mean amplitude: `ab_output_multiplier`.
pub(crate) const INFRARED_SCALE: f32 = 16.0;
/// The measurement that stands for a saturated code.
pub(crate) const SATURATED: i16 = 32_767;
/// Amplitude and infrared value of a saturated pixel.
pub(crate) const SATURATED_AMPLITUDE: f32 = 65_535.0;

/// Squared length below which a vector is weak: `joint_bilateral_ab_threshold`² / `ab_multiplier`².
pub(crate) const STRONG_SQUARED: f32 = 20.25;
/// Sum of eight distances from which a pixel lies on an edge: `joint_bilateral_max_edge`.
pub(crate) const MAX_EDGE: f32 = 2.5;
/// Weight is exp(-`DISTANCE_DECAY` · distance): `joint_bilateral_exp` (5) times the 1.442695 that upstream left
/// in front of a natural exponential.
pub(crate) const DISTANCE_DECAY: f32 = 1.442_695 * 5.0;
/// Gaussian weights of the 3x3 window: `gaussian_kernel`.
pub(crate) const GAUSS_CORNER: f32 = 0.106_997_3;
pub(crate) const GAUSS_SIDE: f32 = 0.113_109_8;
pub(crate) const GAUSS_CENTRE: f32 = 0.119_571_6;

/// Least amplitude of each frequency, and of the three together: `individual_ab_threshold`, `ab_threshold`.
pub(crate) const MIN_AMPLITUDE: f32 = 3.0;
pub(crate) const MIN_AMPLITUDE_SUM: f32 = 10.0;
/// Unit lengths (of 625 mm) after which each frequency's phase repeats.
pub(crate) const LAPS: [f32; 3] = [3.0, 15.0, 2.0];
/// Allowed disagreement of the three phases, rad, by amplitude: `ab_confidence_slope`, `ab_confidence_offset`
/// (for base-10 and base-2 logarithms written as natural ones), `min_dealias_confidence`, `max_dealias_confidence`.
pub(crate) const CONFIDENCE_SLOPE: f32 = -0.533_057_8;
pub(crate) const CONFIDENCE_OFFSET: f32 = 0.769_489_4;
pub(crate) const LOG10_2: f32 = 0.301_030;
pub(crate) const LOG2_10: f32 = 3.321_928;
pub(crate) const MIN_DISAGREEMENT: f32 = 0.349_065_9;
pub(crate) const MAX_DISAGREEMENT: f32 = 0.610_865_3;
/// The direction in which three right phases lie, as the cross product's coefficients.
pub(crate) const IDEAL_PHASE: [f32; 3] = [0.826_977, 0.551_318, 0.110_264];

/// Half the travel path of one unit of phase, mm: `unambigious_dist`.
pub(crate) const UNIT_DISTANCE: f32 = 2083.333;
/// Scale of the X table, and twice the distance from emitter to lens in mm.
pub(crate) const X_SCALE: f64 = 8192.0;
pub(crate) const BASELINE_TWICE: f32 = 90.0;

/// Edge filter: `edge_ab_avg_min_value`, `edge_ab_std_dev_threshold`, `edge_close_delta_threshold`,
/// `edge_far_delta_threshold`, `edge_max_delta_threshold`. (`edge_avg_delta_threshold` is 0 and follows from
/// the others.)
pub(crate) const EDGE_MIN_MEAN: f32 = 50.0;
pub(crate) const EDGE_DEVIATION: f32 = 0.05;
pub(crate) const EDGE_CLOSE_DELTA: f32 = 50.0;
pub(crate) const EDGE_FAR_DELTA: f32 = 30.0;
pub(crate) const EDGE_MAX_DELTA: f32 = 100.0;
