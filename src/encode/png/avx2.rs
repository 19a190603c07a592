//! AVX2: the plain filters compiled once more, for vectors twice as wide.
#![allow(unsafe_code)] // A function compiled for AVX2 may be called only where there is AVX2.

/// [`super::up_plainly`]; `None` where there is no AVX2, and nothing was done.
pub(super) fn up(out: &mut [u8], pixels: &[u8], above: &[u8]) -> Option<()> {
    #[target_feature(enable = "avx2")]
    fn wide(out: &mut [u8], pixels: &[u8], above: &[u8]) {
        super::up_plainly(out, pixels, above);
    }
    // SAFETY: the processor was just asked.
    is_x86_feature_detected!("avx2").then(|| unsafe { wide(out, pixels, above) })
}

/// [`super::up16_plainly`]; `None` where there is no AVX2, and nothing was done.
pub(super) fn up16(out: &mut [u8], samples: &[u16], above: &[u16]) -> Option<()> {
    #[target_feature(enable = "avx2")]
    fn wide(out: &mut [u8], samples: &[u16], above: &[u16]) {
        super::up16_plainly(out, samples, above);
    }
    // SAFETY: the processor was just asked.
    is_x86_feature_detected!("avx2").then(|| unsafe { wide(out, samples, above) })
}
