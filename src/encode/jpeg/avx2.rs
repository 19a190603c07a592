//! AVX2: all lanes of a batch at a time.
//!
//! No instruction is named here: the plain code is compiled once more for processors that have them, so that there is but
//! one rule.
#![allow(unsafe_code)] // A function compiled for AVX2 may be called only where there is AVX2.

use super::scan::{self, Plan, Scratch};
use super::units::Colours;

/// [`scan::plainly`]; `None` where there is no AVX2, and nothing was done.
pub(super) fn scan(
    plan: &Plan,
    scratch: &mut Scratch,
    colours: &Colours,
    index: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe")]
    fn wide(plan: &Plan, scratch: &mut Scratch, colours: &Colours, index: &[u8], out: &mut [u8]) -> usize {
        scan::plainly(plan, scratch, colours, index, out)
    }
    let all = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe");
    // SAFETY: the processor was just asked.
    all.then(|| unsafe { wide(plan, scratch, colours, index, out) })
}
