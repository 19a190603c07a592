//! Vectors from the sensor's description, and kernels against the reference.

use super::scalar::{self, Vector};
use super::*;
use proptest::prelude::*;
use std::sync::OnceLock;

/// A sensor as described in libfreenect2's issues, with made-up P0 tables: the border constants, smooth rows between.
fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| Tables::from_parts([&p0(0), &p0(1), &p0(2)], &LENS).unwrap())
}

const LENS: Intrinsics = Intrinsics {
    fx: 365.456,
    fy: 365.456,
    cx: 254.878,
    cy: 205.395,
    k1: 0.090_547_4,
    k2: -0.268_19,
    k3: 0.095_086_2,
    p1: 0.0,
    p2: 0.0,
};

fn p0(table: usize) -> Vec<u16> {
    let border: u16 = [0x2c9a, 0x08ec, 0x42e8][table];
    let value = |i: usize| match i % WIDTH {
        0 | 511 => border,
        column => border.wrapping_add((column * 160 + (i / WIDTH) * 37) as u16),
    };
    (0..PIXELS).map(value).collect()
}

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
}

/// A row of 704 bytes with these codes.
fn pack(codes: impl Fn(usize) -> u16) -> Vec<u8> {
    let mut row = vec![0_u8; ROW_BYTES];
    for column in 0..WIDTH {
        let bit = 11 * ((column >> 2) + 128 * (column & 3));
        let spread = u32::from(codes(column)) << (bit % 8);
        for (byte, spread) in row[bit / 8..].iter_mut().zip(spread.to_le_bytes()) {
            *byte |= spread;
        }
    }
    row
}

/// One frame with the same nine codes in every pixel.
fn uniform(codes: [u16; 9]) -> Vec<u8> {
    codes.iter().flat_map(|code| pack(|_| *code).repeat(HEIGHT)).collect()
}

/// The last frame's f32 images.
fn images(decoder: &mut Decoder) -> (Vec<f32>, Vec<f32>) {
    let (mut depth, mut infrared) = (vec![f32::NAN; PIXELS], vec![f32::NAN; PIXELS]);
    decoder.finish_f32(&mut depth, Some(&mut infrared)).unwrap();
    (depth, infrared)
}

mod unpacking {
    use super::*;

    #[test]
    fn bytes_of_a_ramp() {
        let row = pack(|x| x as u16);
        assert_eq!(row[..11], [0x00, 0x20, 0x00, 0x02, 0x18, 0x00, 0x01, 0x0a, 0x60, 0x80, 0x03]);
        assert_eq!(row[176..187], [0x01, 0x28, 0x40, 0x02, 0x1a, 0x10, 0x81, 0x0a, 0x64, 0xa0, 0x03]);
        assert_eq!(row[693..], [0xe3, 0x39, 0xcf, 0x7a, 0xde, 0x33, 0x9f, 0xfb, 0xec, 0xe7, 0x3f]);
    }

    #[test]
    fn bytes_of_mixed_codes() {
        let row = pack(|x| ((37 * x + 11) % 2048) as u16);
        assert_eq!(row[..11], [0x0b, 0xf8, 0xc4, 0x4c, 0x8e, 0xb3, 0xa5, 0x77, 0x0d, 0xee, 0x82]);
        assert_eq!(row[176..187], [0x30, 0x20, 0x06, 0x56, 0xd8, 0x03, 0x28, 0x8a, 0xa1, 0x8e, 0x87]);
        assert_eq!(row[352..363], [0x55, 0x48, 0x47, 0x5f, 0x22, 0x54, 0xaa, 0x9c, 0x35, 0x2f, 0x8c]);
        assert_eq!(row[528..539], [0x7a, 0x70, 0x88, 0x68, 0x6c, 0xa4, 0x2c, 0xaf, 0xc9, 0xcf, 0x90]);
        assert_eq!(crc32(&row), 0x11be_0077);
        for column in 0..WIDTH {
            assert_eq!(scalar::code(&row, column), ((37 * column + 11) % 2048) as u16);
        }
    }

    #[test]
    fn measurements_of_codes() {
        for (code, value) in [
            (0, 0),
            (255, 255),
            (256, 256),
            (257, 258),
            (383, 510),
            (384, 512),
            (511, 1020),
            (512, 1024),
            (640, 2048),
            (768, 4096),
            (896, 8192),
            (1023, 16_320),
            (1024, 32_767),
            (1025, -1),
            (1280, -256),
            (2047, -16_320),
        ] {
            assert_eq!(scalar::linearise(code), value, "code {code}");
        }
    }

    #[test]
    fn all_codes_in_all_columns_of_all_kernels() {
        #[cfg(target_arch = "x86_64")]
        {
            check(sse2::Sse2::detect());
            if let Some(avx2) = avx2::Avx2::detect() {
                check(avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        check(neon::Neon::detect());
    }

    fn check<S: simd::Simd>(s: S) {
        for first in 0..2048 {
            let code = |x: usize| ((first + 37 * x) % 2048) as u16;
            let mut packed = [0xff; simd::PACKED];
            packed[..ROW_BYTES].copy_from_slice(&pack(code));
            let mut row = simd::Row::filled(0_i16);
            for plane in 0..4 {
                s.unpack(&packed, plane, row.plane_mut(plane));
            }
            for column in 0..WIDTH {
                assert_eq!(row.get(column), scalar::linearise(code(column)), "column {column} of {first}");
            }
        }
    }

    /// As in zlib.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8)
                .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    }
}

mod describing {
    use super::*;

    #[test]
    fn rays_of_known_pixels() {
        for (row, column, x, z) in [
            (0, 1, -6102.585, 1504.3665),
            (0, 256, 36.175_01, 1819.3906),
            (100, 400, 3239.4531, 1872.7693),
            (205, 254, -8.473_18, 2083.332),
            (300, 60, -4344.082, 1794.0328),
            (423, 510, 6253.042, 1470.6371_f32),
        ] {
            let i = row * WIDTH + column;
            assert!((tables().x()[i] - x).abs() < 2e-3_f32, "x at {row}, {column}: {}", tables().x()[i]);
            assert!((tables().z()[i] - z).abs() < 1e-3, "z at {row}, {column}: {}", tables().z()[i]);
        }
    }

    #[test]
    fn replies_at_odd_addresses() {
        let mut reply = vec![0xa5; 1 + P0_REPLY_MIN + 9];
        for (table, offset) in [34, 434_214, 868_394].into_iter().enumerate() {
            for (i, p0) in p0(table).iter().enumerate() {
                reply[1 + offset + 2 * i..][..2].copy_from_slice(&p0.to_le_bytes());
            }
        }
        let read = Tables::from_p0_reply(&reply[1..], &LENS).unwrap();
        assert!(read == *tables());
        let short = Tables::from_p0_reply(&reply[..P0_REPLY_MIN - 1], &LENS).unwrap_err();
        assert_eq!(short, TablesError::P0Length(P0_REPLY_MIN - 1));
        assert!(short.to_string().contains("P0"));
    }

    fn lens_reply(values: [f32; 10]) -> Vec<u8> {
        let mut reply: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        reply.resize(92, 0);
        reply
    }

    const REPLY: [f32; 10] = [365.861, 365.861, 0.0, 254.502, 205.253, 0.0964, -0.2757, 0.0, 0.0, 0.0921];

    #[test]
    fn lens_reply_in_its_order() {
        let lens = Intrinsics::from_reply(&lens_reply(REPLY)).unwrap();
        assert_eq!((lens.fx, lens.cx, lens.cy), (365.861, 254.502, 205.253));
        assert_eq!((lens.k1, lens.k2, lens.p1, lens.p2, lens.k3), (0.0964, -0.2757, 0.0, 0.0, 0.0921));
        let short = Intrinsics::from_reply(&lens_reply(REPLY)[..39]);
        assert_eq!(short, Err(TablesError::IntrinsicsLength(39)));
    }

    #[test]
    fn a_bad_lens_is_named() {
        for (at, name) in [
            (0, "fx"),
            (1, "fy"),
            (3, "cx"),
            (4, "cy"),
            (5, "k1"),
            (6, "k2"),
            (7, "p1"),
            (8, "p2"),
            (9, "k3"),
        ] {
            for bad in [f32::NAN, f32::INFINITY, -1e30, 1e30] {
                let mut values = REPLY;
                values[at] = bad;
                let error = Intrinsics::from_reply(&lens_reply(values)).unwrap_err();
                assert!(
                    matches!(error, TablesError::Intrinsic { name: named, .. } if named == name),
                    "{error}"
                );
                assert!(error.to_string().contains(name));
            }
        }
    }

    #[test]
    fn a_lens_that_folds_the_image_is_refused() {
        let folded = Intrinsics { k1: -5.0, ..LENS };
        let error = Tables::from_parts([&p0(0), &p0(1), &p0(2)], &folded).unwrap_err();
        assert!(matches!(error, TablesError::Distortion { .. }), "{error}");
        let short = Tables::from_parts([&p0(0), &p0(1)[1..], &p0(2)], &LENS).unwrap_err();
        assert_eq!(short, TablesError::P0TableLength { table: 1, length: PIXELS - 1 });
    }

    proptest! {
        #[test]
        fn any_lens_is_tables_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(lens) = Intrinsics::from_reply(&bytes) {
                prop_assert_eq!(lens.check(), Ok(()));
            }
        }
    }
}

mod single_pixels {
    use super::*;

    struct Case {
        x: f32,
        z: f32,
        p0: [u16; 3],
        codes: [u16; 9],
        vectors: [(f32, f32); 3],
        amplitudes: [f32; 3],
        infrared: f32,
        p: f32,
        mm: f32,
    }

    /// Computed in double precision from the published formulas.
    const CASES: [Case; 4] = [
        Case {
            x: 3239.45,
            z: 1872.77,
            p0: [11_500, 2300, 17_200],
            codes: [1296, 224, 64, 274, 1330, 63, 118, 142, 1282],
            vectors: [(-83.988, -594.12), (346.94, 451.20), (528.75, 342.39)],
            amplitudes: [400.018, 379.446, 419.950],
            infrared: 6396.87,
            p: 0.654_926_4,
            mm: 1233.758,
        },
        Case {
            x: -4344.08,
            z: 1794.03,
            p0: [11_480, 2260, 17_140],
            codes: [18, 27, 1069, 1066, 1045, 63, 1029, 32, 1050],
            vectors: [(89.780, -3.9644), (-77.363, 57.237), (81.891, -4.8770)],
            amplitudes: [59.9116, 64.1561, 54.6909],
            infrared: 953.379,
            p: 1.794_042_3,
            mm: 3209.747,
        },
        Case {
            x: -8.473_18,
            z: 2083.33,
            p0: [11_420, 2284, 17_128],
            codes: [1042, 15, 3, 1031, 29, 1046, 1031, 1031, 14],
            vectors: [(-3.4843, -38.105), (-0.497_66, -45.396), (-27.549, -19.705)],
            amplitudes: [25.509, 30.2655, 22.5806],
            infrared: 417.894,
            p: 3.360_849_9,
            mm: 7001.743,
        },
        Case {
            x: 36.3575,
            z: 2083.02,
            p0: [11_420, 2284, 17_128],
            codes: [1079, 150, 1118, 129, 1221, 67, 1145, 84, 37],
            vectors: [(202.00, -222.16), (138.78, 265.80), (93.775, -284.98)],
            amplitudes: [200.174, 199.898, 200.009],
            infrared: 3200.43,
            p: 5.280_478_7,
            mm: 10_999.454,
        },
    ];

    #[test]
    fn of_the_reference() {
        for case in &CASES {
            let mut vectors = [Vector::default(); 3];
            let mut sum = 0.0;
            for (frequency, made) in vectors.iter_mut().enumerate() {
                let m = [0, 1, 2].map(|step| scalar::linearise(case.codes[3 * frequency + step]));
                let waves = scalar::waves(case.p0[frequency]);
                let (vector, amplitude) = scalar::vector(frequency, m, &waves);
                let (a, b) = case.vectors[frequency];
                assert!(
                    (vector.a - a).abs() < 1e-4 * amplitude.max(10.0)
                        && (vector.b - b).abs() < 1e-4 * amplitude.max(10.0),
                    "{vector:?} for {a}, {b}"
                );
                assert!((amplitude - case.amplitudes[frequency]).abs() < 1e-5 * amplitude);
                *made = vector;
                sum += amplitude;
            }
            assert!((scalar::infrared(sum) - case.infrared).abs() < 1e-5 * case.infrared);
            let (p, _) = scalar::phase(vectors);
            assert!((p - case.p).abs() < 1e-5, "{p} for {}", case.p);
            let mm = scalar::depth(p, case.x, case.z);
            assert!((mm - case.mm).abs() < 0.02, "{mm} for {}", case.mm);
        }
    }

    #[test]
    fn of_every_kernel() {
        for case in &CASES {
            let p0 = case.p0.map(|p0| vec![p0; PIXELS]);
            let tables = Tables::from_parts([&p0[0], &p0[1], &p0[2]], &LENS).unwrap();
            // The pixels where this lens has the case's ray.
            let close = |i: &usize| {
                (tables.x()[*i] - case.x).abs() < 0.004 && (tables.z()[*i] - case.z).abs() < 0.004
            };
            let Some(pixel) = (0..PIXELS).find(close) else {
                continue;
            };
            for kernel in kernels() {
                let settings =
                    Settings { bilateral: false, edge: false, max_mm: 12_000, ..Settings::default() };
                let mut decoder = Decoder::with_kernel(&tables, settings, kernel).unwrap();
                decoder.feed(&uniform(case.codes)).unwrap();
                let (depth, infrared) = images(&mut decoder);
                assert!(
                    (depth[pixel] - case.mm).abs() < 0.02,
                    "{kernel:?}: {} for {}",
                    depth[pixel],
                    case.mm
                );
                assert!((infrared[pixel] - case.infrared).abs() < 1e-5 * case.infrared);
                let mut whole = vec![0; PIXELS];
                decoder.finish(&mut whole, None).unwrap();
                assert_eq!(whole[pixel], case.mm.round() as u16);
            }
        }
    }
}

mod feeding {
    use super::*;

    /// Rows that look like something: a slanted plane of phases with noise, dark, saturated and empty patches.
    fn lively(seed: u64) -> Vec<u8> {
        let mut random = seed.wrapping_mul(2).wrapping_add(1);
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut frame = Vec::new();
        for sub_image in 0..9 {
            for row in 0..HEIGHT {
                let codes: Vec<u16> = (0..WIDTH)
                    .map(|x| {
                        let patch = (x / 64 + image_row(row) / 64 * 8 + seed as usize) % 11;
                        let angle = (x + 2 * row) as f32 * 0.01 + sub_image as f32 * 2.1;
                        let noise = (next() % 9) as f32 - 4.0;
                        match patch {
                            0 => (next() % 2048) as u16,
                            1 => 0,
                            2 if next() % 5 == 0 => 1024,
                            3 => 5 + (next() % 2) as u16,
                            4 => noise.abs() as u16 | (1024 * (next() % 2) as u16),
                            _ => {
                                let value = angle.cos() * 150.0 + noise;
                                value.abs() as u16 | if value < -1.0 { 1024 } else { 0 }
                            }
                        }
                    })
                    .collect();
                frame.extend(pack(|x| codes[x]));
            }
        }
        frame
    }

    fn any_settings() -> impl Strategy<Value = Settings> {
        (1_u16..3000, 0_u16..15_000, any::<bool>(), any::<bool>(), -100_i16..2000).prop_map(
            |(min_mm, span, bilateral, edge, offset_mm)| Settings {
                min_mm,
                max_mm: min_mm + span,
                bilateral,
                edge,
                offset_mm,
                infrared: true,
            },
        )
    }

    /// Differences where both have a depth, and pixels where one has none.
    fn disagreements(ours: &[f32], reference: &[f32]) -> (usize, usize) {
        let (mut off, mut flips) = (0, 0);
        for (ours, reference) in ours.iter().zip(reference) {
            assert!(ours.is_finite() && *ours >= 0.0, "{ours} left the decoder");
            if (*ours > 0.0) != (*reference > 0.0) {
                flips += 1;
            } else if (ours - reference).abs() > 0.01 + 1e-6 * reference {
                off += 1;
            }
        }
        (off, flips)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn kernels_equal_the_reference(seed in any::<u64>(), settings in any_settings()) {
            let frame = lively(seed);
            let mut reference = Decoder::with_kernel(tables(), settings, Kernel::Scalar).unwrap();
            reference.feed(&frame).unwrap();
            let (depth, infrared) = images(&mut reference);
            for kernel in kernels() {
                let mut decoder = Decoder::with_kernel(tables(), settings, kernel).unwrap();
                decoder.feed(&frame).unwrap();
                let (ours, our_infrared) = images(&mut decoder);
                let (off, flips) = disagreements(&ours, &depth);
                // Noise puts many more pixels near a threshold than a scene does, and off by a lap those of the unwrapping: at
                // most 11 of them in 1,500 frames.
                prop_assert!(off + flips <= 50, "{:?}: {} off, {} flips with {:?}", kernel, off, flips, settings);
                for (ours, theirs) in our_infrared.iter().zip(&infrared) {
                    // Of large exposures that cancel nothing but rounding is left.
                    prop_assert!((ours - theirs).abs() <= 0.05 + 1e-5 * theirs);
                }
            }
        }

        #[test]
        fn slicing_makes_no_difference(seed in any::<u64>(), settings in any_settings(), cuts in proptest::collection::vec(1_usize..100, 1..20)) {
            let frame = lively(seed);
            let mut decoder = Decoder::new(tables(), settings).unwrap();
            let (mut whole, mut sliced) = (vec![1; PIXELS], vec![2; PIXELS]);
            let (mut whole_ir, mut sliced_ir) = (vec![1; PIXELS], vec![2; PIXELS]);
            decoder.decode(&frame, &mut whole, Some(&mut whole_ir)).unwrap();
            // Another frame and half a frame between leave no trace.
            decoder.decode(&lively(!seed), &mut sliced, None).unwrap();
            decoder.begin();
            decoder.rows(0, 0, &frame[..SUB_IMAGE_BYTES]).unwrap();
            decoder.begin();
            let mut cuts = cuts.into_iter().cycle();
            for (sub_image, bytes) in frame.chunks(SUB_IMAGE_BYTES).enumerate() {
                let mut row = 0;
                while row < HEIGHT {
                    let count = cuts.next().unwrap().min(HEIGHT - row);
                    decoder.rows(sub_image, row, &bytes[row * ROW_BYTES..(row + count) * ROW_BYTES]).unwrap();
                    row += count;
                }
            }
            decoder.finish(&mut sliced, Some(&mut sliced_ir)).unwrap();
            prop_assert!(whole == sliced && whole_ir == sliced_ir);
        }

        #[test]
        fn random_bytes_give_finite_depths_in_range(seed in any::<u64>(), settings in any_settings()) {
            let mut state = seed;
            let bytes: Vec<u8> = (0..9 * SUB_IMAGE_BYTES).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            }).collect();
            for kernel in kernels() {
                let mut decoder = Decoder::with_kernel(tables(), settings, kernel).unwrap();
                decoder.feed(&bytes).unwrap();
                let (depth, infrared) = images(&mut decoder);
                prop_assert!(depth.iter().all(|z| z.is_finite() && *z >= 0.0));
                prop_assert!(infrared.iter().all(|ir| (0.0..=65_535.0).contains(ir)));
                let mut whole = vec![0; PIXELS];
                decoder.finish(&mut whole, None).unwrap();
                let (least, most) = (i32::from(settings.min_mm), i32::from(settings.max_mm));
                let offset = i32::from(settings.offset_mm);
                prop_assert!(whole.iter().all(|z| *z == 0 || (least - offset..=most - offset).contains(&i32::from(*z))));
            }
        }
    }

    #[test]
    fn nothing_and_saturation() {
        for kernel in kernels() {
            for (codes, white) in [
                ([0; 9], 0.0),
                ([1024; 9], 65_535.0),
                ([7; 9], 0.0),
                ([1023, 0, 0, 1024, 0, 0, 0, 0, 0], 65_535.0),
            ] {
                let mut decoder = Decoder::with_kernel(tables(), Settings::default(), kernel).unwrap();
                decoder.feed(&uniform(codes)).unwrap();
                let (depth, infrared) = images(&mut decoder);
                assert!(depth.iter().all(|z| *z == 0.0), "{kernel:?} {codes:?}");
                let inner = infrared.iter().enumerate().filter(|(i, _)| !matches!(i % WIDTH, 0 | 511));
                assert!(inner.map(|(_, ir)| *ir).all(|ir| (ir - white).abs() < 0.01), "{kernel:?} {codes:?}");
            }
        }
    }

    #[test]
    fn an_offset_is_subtracted() {
        let frame = lively(5);
        for kernel in kernels() {
            let settings = Settings { edge: false, ..Settings::default() };
            let mut decoder = Decoder::with_kernel(tables(), settings, kernel).unwrap();
            let (mut plain, mut shifted, mut ir) = (vec![0; PIXELS], vec![0; PIXELS], vec![0; PIXELS]);
            decoder.decode(&frame, &mut plain, None).unwrap();
            decoder.set(Settings { offset_mm: 24, ..settings }).unwrap();
            decoder.decode(&frame, &mut shifted, Some(&mut ir)).unwrap();
            for (plain, shifted) in plain.iter().zip(&shifted) {
                assert_eq!(plain.saturating_sub(24), *shifted);
            }
        }
    }

    #[test]
    fn rows_out_of_order_change_nothing() {
        let frame = lively(1);
        for kernel in kernels() {
            let mut decoder = Decoder::with_kernel(tables(), Settings::default(), kernel).unwrap();
            let rows = |count: usize| &frame[..count * ROW_BYTES];
            let (mut depth, mut ir) = (vec![9; PIXELS], vec![9; PIXELS]);
            assert_eq!(decoder.rows(1, 0, rows(1)), Err(RowsError::Order { sub_image: 0, row: 0 }));
            assert_eq!(decoder.rows(0, 1, rows(1)), Err(RowsError::Order { sub_image: 0, row: 0 }));
            assert_eq!(decoder.rows(10, 0, rows(1)), Err(RowsError::SubImage(10)));
            assert_eq!(decoder.rows(0, 0, &frame[..703]), Err(RowsError::Length(703)));
            let far = RowsError::TooMany { first_row: usize::MAX, count: 1 };
            assert_eq!(decoder.rows(0, usize::MAX, rows(1)), Err(far));
            let many = RowsError::TooMany { first_row: 400, count: 25 };
            assert_eq!(decoder.rows(0, 400, rows(25)), Err(many));
            decoder.rows(0, 0, rows(24)).unwrap();
            decoder.rows(9, 0, rows(424)).unwrap();
            assert_eq!(decoder.expected(), (0, 24));
            let incomplete = FinishError::Incomplete { sub_image: 0, row: 24 };
            assert_eq!(decoder.finish(&mut depth, Some(&mut ir)), Err(incomplete));
            assert!(depth.iter().chain(&ir).all(|value| *value == 9));
            let length = FinishError::FrameLength(frame.len() - 1);
            assert_eq!(decoder.decode(&frame[1..], &mut depth, None), Err(length));
            decoder.feed(&frame).unwrap();
            assert_eq!(decoder.rows(0, 0, rows(1)), Err(RowsError::Order { sub_image: 9, row: 0 }));
            assert_eq!(decoder.finish(&mut depth[1..], None), Err(FinishError::Shape));
            assert_eq!(decoder.finish(&mut depth, Some(&mut ir[1..])), Err(FinishError::Shape));
            decoder.set(Settings { infrared: false, ..Settings::default() }).unwrap();
            decoder.feed(&frame).unwrap();
            assert_eq!(decoder.finish(&mut depth, Some(&mut ir)), Err(FinishError::NoInfrared));
        }
    }

    #[test]
    fn settings_are_checked() {
        for (min_mm, max_mm) in [(0, 4500), (4500, 500), (500, 18_751)] {
            let settings = Settings { min_mm, max_mm, ..Settings::default() };
            let refused = SettingsError::Range { min_mm, max_mm };
            assert_eq!(Decoder::new(tables(), settings).err(), Some(refused));
            let mut decoder = Decoder::new(tables(), Settings::default()).unwrap();
            assert_eq!(decoder.set(settings), Err(refused));
        }
        for kernel in Kernel::ALL {
            let made = Decoder::with_kernel(tables(), Settings::default(), kernel);
            assert_eq!(made.is_ok(), kernel.is_available());
        }
    }
}

#[test]
fn stored_rows_are_their_own_inverse() {
    let mut seen = [false; HEIGHT];
    for row in 0..HEIGHT {
        assert_eq!(image_row(image_row(row)), row);
        seen[image_row(row)] = true;
    }
    assert!(seen.iter().all(|seen| *seen));
    assert_eq!((image_row(0), image_row(211), image_row(212), image_row(423)), (0, 211, 423, 212));
}
