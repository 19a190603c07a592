//! When each row is worked on, and what is kept of it.
//!
//! Rows come in two halves that meet in the middle of the image (`image_row`). The filters need the row above and the one
//! below, so each works a row behind, in both directions, and the seam is closed with the very last row. Between
//! stages a row lives in one of eight slots, four for each half: what is needed again is still in the cache.

use super::bilateral::{self, Columns, Likeness};
use super::edge::{self, Extremes};
use super::kernels::{self, NotEdge, Units, Vectors, Waves};
use super::simd::{PACKED, Row, Simd};
use super::unwrapping::{self, Phases, Rays, Surface};
use super::{HEIGHT, PIXELS, ROW_BYTES, Settings, Tables, UNAMBIGUOUS_MM, WIDTH, image_row};

/// First row of the lower half.
const SEAM: usize = HEIGHT / 2;
const SLOTS: usize = 8;

/// Where a row's intermediate results are kept: rows within two of each other never share a slot.
const fn slot(row: usize) -> usize {
    (if row < SEAM { 0 } else { SLOTS / 2 }) + row % (SLOTS / 2)
}

/// All memory of a decoder.
pub(super) struct Pipeline {
    // Once per sensor.
    waves: [Vec<Waves>; 3],
    rays: Vec<Rays>,
    // Unpacking.
    packed: [u8; PACKED],
    /// The first two exposures of the frequency that is coming in, by image row.
    exposures: [Vec<Row<i16>>; 2],
    last_exposure: Row<i16>,
    // Bilateral filter.
    vectors: Vec<Vectors>,
    units: Vec<Units>,
    likeness: Vec<Likeness>,
    columns: Columns,
    /// Filtered vectors of the first two frequencies.
    filtered: [Vec<Vectors>; 2],
    last_filtered: Vectors,
    not_edge: Vec<NotEdge>,
    // Unwrapping and edge filter.
    phases: Phases,
    surfaces: Vec<Surface>,
    extremes: Extremes,
    // Outputs, by image row.
    depth: Vec<Row<f32>>,
    infrared: Vec<Row<f32>>,
}

impl Pipeline {
    pub(super) fn new(tables: &Tables) -> Self {
        let waves = [0, 1, 2].map(|frequency| {
            tables.p0(frequency).chunks_exact(WIDTH).map(|row| Waves::new(frequency, row)).collect()
        });
        let rays = tables.x().chunks_exact(WIDTH).zip(tables.z().chunks_exact(WIDTH));
        Pipeline {
            waves,
            rays: rays.map(|(x, z)| Rays::new(x, z)).collect(),
            packed: [0; PACKED],
            exposures: [(); 2].map(|()| vec![Row::filled(0); HEIGHT]),
            last_exposure: Row::filled(0),
            vectors: vec![Vectors::ZERO; SLOTS],
            units: vec![Units::ZERO; SLOTS],
            likeness: vec![Likeness::ZERO; SLOTS],
            columns: Columns::ZERO,
            filtered: [(); 2].map(|()| vec![Vectors::ZERO; HEIGHT]),
            last_filtered: Vectors::ZERO,
            not_edge: vec![[0; WIDTH / 4]; HEIGHT],
            phases: Phases::ZERO,
            surfaces: vec![Surface::ZERO; SLOTS],
            extremes: Extremes::ZERO,
            depth: vec![Row::filled(0.0); HEIGHT],
            infrared: vec![Row::filled(0.0); HEIGHT],
        }
    }

    /// The outputs in image order, unrounded.
    pub(super) fn finish_f32(&self, depth: &mut [f32], infrared: Option<&mut [f32]>) {
        let copy = |from: &[Row<f32>], to: &mut [f32]| {
            for (from, to) in from.iter().zip(to.chunks_exact_mut(WIDTH)) {
                for (column, to) in to.iter_mut().enumerate() {
                    *to = from.get(column);
                }
            }
        };
        copy(&self.depth, depth);
        if let Some(infrared) = infrared {
            copy(&self.infrared, infrared);
        }
    }
}

/// Works on rows as far as they and what came before them allow. The caller has checked the order and the lengths.
#[inline(always)]
pub(super) fn rows<S: Simd>(
    s: S,
    p: &mut Pipeline,
    settings: &Settings,
    sub_image: usize,
    first_row: usize,
    bytes: &[u8],
) {
    let (frequency, step) = (sub_image / 3, sub_image % 3);
    for (number, bytes) in bytes.chunks_exact(ROW_BYTES).enumerate() {
        let row = image_row(first_row + number);
        p.packed[..ROW_BYTES].copy_from_slice(bytes);
        let exposure = match step {
            0 | 1 => &mut p.exposures[step][row],
            _ => &mut p.last_exposure,
        };
        for plane in 0..4 {
            s.unpack(&p.packed, plane, exposure.plane_mut(plane));
        }
        // The outermost columns hold no measurement.
        exposure.set(0, 0);
        exposure.set(WIDTH - 1, 0);
        if step < 2 {
            continue;
        }
        arrive(s, p, settings, frequency, row);
        let (complete, count) = complete_after(row, [SEAM + 1, SEAM, SEAM - 1]);
        for &row in &complete[..count] {
            smooth(s, p, settings, frequency, row);
            if frequency < 2 {
                continue;
            }
            resolve(s, p, settings, row);
            if !settings.edge {
                continue;
            }
            // The rows come in this loop's order, hence another one at the seam.
            let (complete, count) = match row {
                SEAM => ([SEAM + 1, 0, 0], 1),
                LAST_OF_UPPER => ([SEAM - 2, SEAM, SEAM - 1], 3),
                _ => complete_after(row, [0; 3]),
            };
            for &row in &complete[..count] {
                clean(s, p, settings, row);
            }
        }
    }
}

/// The last row to be smoothed.
const LAST_OF_UPPER: usize = SEAM - 1;

/// Rows that have both neighbours (or are the first or last of the image) since `row` came, and how many they are.
/// `at_seam` are those that the row at the seam completes.
#[inline(always)]
fn complete_after(row: usize, at_seam: [usize; 3]) -> ([usize; 3], usize) {
    match row {
        0 => ([0; 3], 0),
        SEAM => (at_seam, 3),
        _ if row == HEIGHT - 1 => ([0; 3], 0),
        _ if row < SEAM => ([row - 1, 0, 0], 1),
        _ => ([row + 1, 0, 0], 1),
    }
}

/// Exposures to vectors, and what the bilateral filter wants to know of the row and those that came before.
#[inline(always)]
fn arrive<S: Simd>(s: S, p: &mut Pipeline, settings: &Settings, frequency: usize, row: usize) {
    let exposures = [&p.exposures[0][row], &p.exposures[1][row], &p.last_exposure];
    let infrared = settings.infrared.then_some(&mut p.infrared[row]);
    let at = slot(row);
    let units = settings.bilateral.then_some(&mut p.units[at]);
    kernels::vectors(s, frequency, exposures, &p.waves[frequency][row], &mut p.vectors[at], units, infrared);
    if !settings.bilateral {
        return;
    }
    bilateral::like_right(s, &p.units[at], &mut p.likeness[at]);
    // Upper rows of the pairs that this row completes: with the row before it, and at the seam with the upper half.
    let (pairs, count) = match row {
        0 => ([0, 0], 0),
        SEAM => ([SEAM, SEAM - 1], 2),
        _ if row == HEIGHT - 1 => ([0, 0], 0),
        _ if row < SEAM => ([row - 1, 0], 1),
        _ => ([row, 0], 1),
    };
    for &upper in &pairs[..count] {
        let (above, below) = (&p.units[slot(upper)], &p.units[slot(upper + 1)]);
        bilateral::like_down(s, above, below, &mut p.likeness[slot(upper)]);
    }
}

/// The bilateral filter of a row, or a copy.
#[inline(always)]
fn smooth<S: Simd>(s: S, p: &mut Pipeline, settings: &Settings, frequency: usize, row: usize) {
    let out = match frequency {
        0 | 1 => &mut p.filtered[frequency][row],
        _ => &mut p.last_filtered,
    };
    let not_edge = &mut p.not_edge[row];
    if frequency == 0 {
        not_edge.fill(u8::MAX);
    }
    if !settings.bilateral || row == 0 || row == HEIGHT - 1 {
        out.clone_from(&p.vectors[slot(row)]);
        return;
    }
    let at = [slot(row - 1), slot(row), slot(row + 1)];
    bilateral::bilateral(
        s,
        at.map(|at| &p.vectors[at]),
        at.map(|at| &p.units[at]),
        [&p.likeness[at[0]], &p.likeness[at[1]]],
        &mut p.columns,
        out,
        not_edge,
    );
}

/// Phases to depth.
#[inline(always)]
fn resolve<S: Simd>(s: S, p: &mut Pipeline, settings: &Settings, row: usize) {
    let vectors = [&p.filtered[0][row], &p.filtered[1][row], &p.last_filtered];
    let surface = &mut p.surfaces[slot(row)];
    unwrapping::surface(s, vectors, &p.rays[row], &p.not_edge[row], &mut p.phases, surface);
    if !settings.edge {
        p.depth[row] = surface.depth;
    }
}

/// The edge filter of a row.
#[inline(always)]
fn clean<S: Simd>(s: S, p: &mut Pipeline, settings: &Settings, row: usize) {
    if row == 0 || row == HEIGHT - 1 {
        edge::range(s, settings, &p.surfaces[slot(row)].depth, &mut p.depth[row]);
        return;
    }
    let rows = [&p.surfaces[slot(row - 1)], &p.surfaces[slot(row)], &p.surfaces[slot(row + 1)]];
    edge::edge(s, settings, rows, &p.not_edge[row], &mut p.extremes, &mut p.depth[row]);
}

/// Hands out the frame as integers.
#[inline(always)]
pub(super) fn finish<S: Simd>(
    s: S,
    p: &mut Pipeline,
    settings: &Settings,
    depth: &mut [u16],
    infrared: Option<&mut [u16]>,
) {
    debug_assert!(depth.len() == PIXELS && settings.max_mm <= UNAMBIGUOUS_MM);
    let (least, most) = (f32::from(settings.min_mm), f32::from(settings.max_mm));
    let add = 0.5 - f32::from(settings.offset_mm);
    for (row, out) in p.depth.iter().zip(depth.chunks_exact_mut(WIDTH)) {
        kernels::emit(s, row, least, most, add, out);
    }
    for (row, out) in
        p.infrared.iter().zip(infrared.into_iter().flat_map(|image| image.chunks_exact_mut(WIDTH)))
    {
        kernels::emit(s, row, 0.0, f32::from(u16::MAX), 0.5, out);
    }
}
